"""Simulated gains of several searches, with the share that is luck, and of P(tuned > equal)."""

import itertools

import numpy as np
from scipy import special  # type: ignore[import-untyped, unused-ignore]
from shares import COVERAGE, MOST_FALSE, percent, told
from simulated_divisions import Pool

from mtlsearch.evidence.probability import probability
from mtlsearch.evidence.searches import split
from mtlsearch.evidence.statistics import ALPHA, Array, estimate


def over_searches(values: Array, luck: float, overlap: float = 0.0) -> tuple[int, int, int]:
    """Of simulated gains (n, K, S) around zero: how many are called better, cover the gain, cover the share of luck."""
    pairs, better, gain, share = values.shape[-1], 0, 0, 0
    truth = luck**2 / (luck**2 + 1 / pairs)
    for searches in values:
        found = split([estimate(each, 1 - ALPHA) for each in searches], overlap=overlap)
        assert found.gain.low is not None
        assert found.gain.high is not None
        assert found.p is not None
        better += found.p <= ALPHA and found.gain.mean > 0
        gain += found.gain.low <= 0 <= found.gain.high
        share += found.luck is not None and found.luck.low <= truth <= found.luck.high
    return better, gain, share


def search_row(searches: int, pairs: int, divided: bool, n: int, rng: np.random.Generator) -> list[object]:
    """The worst settings of K searches, whose luck has an sd of 0 to 3 of that of a pair; on divisions of one pool."""
    counts = []
    for luck in (0.0, 0.5, 1.0, 3.0):
        lucky = luck * rng.standard_normal((n, searches, 1))
        if divided:
            pool = Pool(searches * pairs, 0.5, 1.0)
            differences = pool.differences(n, rng).reshape(n, searches, pairs)
            values = differences + lucky * differences.std()
            counts.append(over_searches(values, luck, pool.test / pool.train))
        else:
            counts.append(over_searches(lucky + rng.standard_normal((n, searches, pairs)), luck))
    better, gain, share = np.array(counts).T
    worst, least, most, lucky_least = (
        percent(int(hits), n) for hits in (better.max(), gain.min(), gain.max(), share.min())
    )
    held = "yes" if worst[1] <= MOST_FALSE and least[2] >= COVERAGE[0] and lucky_least[2] >= COVERAGE[0] else "no"
    kind = "new divisions" if divided else "seeds"
    return [f"K={searches} searches, {pairs} {kind}", *map(told, (worst, least, most, lucky_least)), held]


def probability_row(pairs: int, n: int, rng: np.random.Generator) -> list[object]:
    """How often the interval of P(tuned > equal) holds the true probability, on seeds and on new divisions."""
    seeds = []
    for truth in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        draws = special.ndtri(truth) + rng.standard_normal((n, pairs))
        seeds.append(_holds(draws, truth))
    divisions = []
    for influence, noise in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(pairs, influence, noise)
        divisions.append(_holds(pool.differences(n, rng), 0.5, pool.test / pool.train))
    ends = [percent(end, n) for found in (seeds, divisions) for end in (min(found), max(found))]
    held = "yes" if min(ends[0][2], ends[2][2]) >= COVERAGE[0] else "no"
    return [f"{pairs} pairs", *map(told, ends), held]


def _holds(differences: Array, truth: float, overlap: float = 0.0) -> int:
    found = (probability(each, overlap=overlap) for each in differences)
    return sum(each is not None and each.low <= truth <= each.high for each in found)

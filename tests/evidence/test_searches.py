"""The gain over searches: its interval, the share of luck, and the sentences."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from mtlsearch.evidence.searches import Searched, agreement, evidence_over, split
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.statistics import Estimate, estimate

POINTS = Unit(100.0, "points")
MARGIN = 0.002


def searched(gains: Sequence[Sequence[float]], weights: Sequence[float] = (0.3, 0.35, 0.4)) -> list[Searched]:
    return [
        Searched(f"s{k}", k, 100, 7, {"a": w, "b": 1 - w}, estimate(gain, 0.95))
        for k, (gain, w) in enumerate(zip(gains, weights, strict=True))
    ]


def drawn(searches: int, pairs: int, luck: float, rng: np.random.Generator) -> list[Estimate]:
    """Gains around zero, whose pairs have sd 1 and whose searches have sd `luck`."""
    return [estimate(luck * each + rng.normal(size=pairs), 0.95) for each in rng.normal(size=searches)]


def test_the_interval_over_searches_is_the_t_interval_of_their_gains() -> None:
    gains = drawn(4, 5, 1.0, np.random.default_rng(0))
    found, means = split(gains), [gain.mean for gain in gains]
    reference = stats.ttest_1samp(means, 0)
    low, high = reference.confidence_interval(0.95)
    assert (found.gain.low, found.gain.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p == pytest.approx(reference.pvalue)


def test_luck_is_that_of_the_one_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 6)) + 2 * rng.normal(size=(4, 1))
    found = split([estimate(row, 0.95) for row in values])
    f = stats.f_oneway(*values).statistic
    assert found.luck is not None
    assert found.luck.mean == pytest.approx(1 - 1 / f)
    high = 1 - stats.f.ppf(0.025, 3, 20) / f
    assert (found.luck.low, found.luck.high) == (pytest.approx(1 - stats.f.ppf(0.975, 3, 20) / f), pytest.approx(high))
    assert found.within == pytest.approx(math.sqrt(values.var(axis=1, ddof=1).mean()))


@pytest.mark.parametrize("luck", [0.0, 0.5, 2.0])
def test_intervals_cover_the_gain_and_the_share_of_luck(luck: float) -> None:
    rng, share = np.random.default_rng(2), luck**2 / (luck**2 + 1 / 5)
    found = [split(drawn(4, 5, luck, rng)) for _ in range(400)]
    gains = [s.gain.low <= 0 <= s.gain.high for s in found if s.gain.low is not None and s.gain.high is not None]
    shares = [s.luck.low <= share <= s.luck.high for s in found if s.luck is not None]
    assert len(gains) == len(shares) == 400
    assert 0.92 < np.mean(gains) < 0.98
    assert np.mean(shares) > 0.92


def test_divisions_that_all_searches_share_widen_the_interval() -> None:
    gains = drawn(4, 5, 1.0, np.random.default_rng(0))
    plain, shared = split(gains), split(gains, overlap=1 / 3)
    assert plain.gain.half is not None
    assert shared.gain.half is not None
    assert shared.gain.half > plain.gain.half
    assert shared.luck == plain.luck


def test_a_search_all_of_whose_pairs_failed_is_left_out() -> None:
    gains = drawn(3, 5, 1.0, np.random.default_rng(0))
    assert split([*gains, estimate([math.nan] * 5, 0.95)]) == split(gains)
    assert split(gains[:1]).gain.low is None


SENTENCES: Mapping[str, tuple[Sequence[Sequence[float]], str]] = {
    "better": ([[0.010, 0.012], [0.011, 0.012], [0.009, 0.011]], "tuned weights beat equal ones by 0.9 to 1.3 points"),
    "worse": ([[-0.010, -0.012], [-0.011, -0.012], [-0.009, -0.011]], "equal weights are better by 0.9 to 1.3 points"),
    "same": ([[0.0001, 0.0]] * 3, "equal weights are as good"),
    "undecided": ([[0.01, 0.02], [-0.01, 0.0], [0.0, 0.01]], "points: undecided"),
}


@pytest.mark.parametrize(("gains", "said"), SENTENCES.values(), ids=SENTENCES)
def test_the_sentence_follows_from_the_interval(gains: Sequence[Sequence[float]], said: str) -> None:
    line = evidence_over(searched(gains), MARGIN, POINTS)["lines"][0]
    assert line.startswith("over 3 searches of 100 trials: ")
    assert line.endswith(said)


def test_no_gain_in_any_search_is_no_gain() -> None:
    evidence = evidence_over(searched([[0.0, 0.0]] * 3, (0.5,) * 3), MARGIN, POINTS)
    assert evidence["lines"][0].endswith("equal weights are those of the best config of each: keep them")
    assert evidence["lines"][1].endswith("0.00, 0.00, 0.00 points")
    assert evidence["luck"] is None


def test_weights_of_all_winners_stand_side_by_side() -> None:
    line = evidence_over(searched([[0.01, 0.02]] * 3), MARGIN, POINTS)["lines"][2]
    assert line == "weights of each winner: a 0.30, 0.35, 0.40; b 0.70, 0.65, 0.60: all raise b, all lower a"
    assert agreement([{"a": 0.3, "b": 0.7}, {"a": 0.6, "b": 0.4}]) == "they disagree on a and b"
    assert agreement([{"a": 0.5, "b": 0.5}, {"a": 0.49, "b": 0.51}]) == "all leave a and b about equal"
    many = [{f"t{i}": (0.04, 0.16)[i > 4] for i in range(10)}] * 2
    found = [Searched(f"s{k}", k, 10, 1, weights, estimate([0.01, 0.02], 0.95)) for k, weights in enumerate(many)]
    line = evidence_over(found, MARGIN, POINTS)["lines"][2]
    assert line.startswith("weights of each winner: t5 0.16, 0.16; t6 ")
    assert "; … 5 more: all raise t5, t6, t7 and others, all lower t0, t1, t2 and others" in line

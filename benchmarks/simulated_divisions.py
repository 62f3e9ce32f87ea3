"""Simulated confirmations on new divisions of the same data: corrected and plain intervals, and several seeds each."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import special  # type: ignore[import-untyped, unused-ignore]
from shares import COVERAGE, MOST_FALSE, percent, told

from mtlsearch.evidence.statistics import ALPHA, Array, t_interval


@dataclass(frozen=True)
class Pool:
    """Data of `rows` examples that are divided anew for each of R trainings, 60, 20 and 20 %.

    `influence` is the sd of what a training example adds, `seeds` that of the seed's noise times the root of the test
    part's size, both in sds of a test example's difference.
    """

    divisions: int
    influence: float
    seeds: float
    rows: int = 200

    @property
    def test(self) -> int:
        return self.rows // 5

    @property
    def train(self) -> int:
        return 3 * self.test

    def differences(self, n: int, rng: np.random.Generator) -> Array:
        """The differences (n, R) of n data sets, whose true value is 0."""
        scored, trained = rng.standard_normal((2, n, self.rows), dtype=np.float32)
        found = np.empty((n, self.divisions))
        for division in range(self.divisions):
            ends = self.test, self.test + self.train
            rows = np.argpartition(rng.random((n, self.rows), dtype=np.float32), ends, axis=1)
            test, train = rows[:, : self.test], rows[:, self.test : ends[1]]
            found[:, division] = np.take_along_axis(scored, test, 1).mean(1)
            found[:, division] += self.influence * np.take_along_axis(trained, train, 1).mean(1)
            found[:, division] += self.seeds * rng.standard_normal(n) / np.sqrt(self.test)
        return found


def division_row(divisions: int, n: int, rng: np.random.Generator) -> list[object]:
    """The worst settings of confirmations on new divisions, corrected and not."""
    false, covered, plain = [], [], []
    for influence, seeds in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(divisions, influence, seeds)
        differences = pool.differences(n, rng)
        found = t_interval(differences, overlap=pool.test / pool.train)
        naive = t_interval(differences)
        false.append(int(((found.p <= ALPHA) & (found.mean > 0)).sum()))
        covered.append(int(((found.low <= 0) & (found.high >= 0)).sum()))
        plain.append(int(((naive.low <= 0) & (naive.high >= 0)).sum()))
    worst, least, most, uncorrected = (
        percent(hits, n) for hits in (max(false), min(covered), max(covered), min(plain))
    )
    wrong = {"more false": worst[1] > MOST_FALSE, "covers less": least[2] < COVERAGE[0]}
    held = ", ".join(name for name, found in wrong.items() if found) or "yes"
    return [f"R={divisions} divisions", told(worst), told(least), told(most), told(uncorrected), held]


def several_seeds_row(divisions: int, seeds: int, n: int, rng: np.random.Generator) -> list[object]:
    """Coverage where each division has several seeds: corrected as a whole, and its division part alone.

    With mean squares B between divisions and W within them, the variance of the mean is B / (R m) + overlap · d, where
    d = max(0, (B − W) / m) is the part that divisions make; the degrees of freedom are Satterthwaite's.
    """
    whole, part, narrower = [], [], []
    for influence, noise in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(divisions, influence, 0.0)
        overlap = pool.test / pool.train
        own = noise * rng.standard_normal((n, divisions, seeds)) / np.sqrt(pool.test)
        values = pool.differences(n, rng)[..., None] + own
        cells = values.mean(2)
        between, within = seeds * cells.var(1, ddof=1), values.var(2, ddof=1).mean(1)
        found = t_interval(cells, overlap=overlap)
        variance = between / (divisions * seeds) + overlap * np.maximum(0, between - within) / seeds
        pieces = (1 / (divisions * seeds) + overlap / seeds) * between, overlap / seeds * within
        below = pieces[0] ** 2 / (divisions - 1) + pieces[1] ** 2 / (divisions * (seeds - 1) or 1)
        df = np.where(between > within, np.maximum(variance**2 / below, 1.0), divisions - 1)
        half = special.stdtrit(df, 1 - ALPHA / 2) * np.sqrt(variance)
        whole.append(int(((found.low <= 0) & (found.high >= 0)).sum()))
        part.append(int((np.abs(cells.mean(1)) <= half).sum()))
        narrower.append(float(np.median(2 * half / (found.high - found.low))))
    ends = [percent(end(found), n) for found in (whole, part) for end in (min, max)]
    held = "yes" if ends[2][2] >= COVERAGE[0] and ends[3][1] <= COVERAGE[1] else "no"
    widths = f"{min(narrower):.2f} to {max(narrower):.2f}"
    return [f"R={divisions} divisions, {seeds} seeds each", *map(told, ends), widths, held]

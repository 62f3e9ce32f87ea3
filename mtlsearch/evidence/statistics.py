"""Statistics over seeds or new divisions: paired t intervals, Holm, power, and the choice of the winner; on arrays.

Trainings on R divisions of the same data share most of it, so their mean varies more than R independent ones would.
The `overlap` of divisions is the number of test examples over that of training ones, and the variance of the mean is
taken as σ² (1/R + overlap) (Nadeau and Bengio 2003, Inference for the generalization error, section 4). Trainings on
one division differ by seed alone: their overlap is 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ALPHA, POWER = 0.05, 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its t interval; no interval (None) below two seeds."""

    mean: float
    low: float | None
    high: float | None
    sd: float | None
    n: int

    @property
    def half(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def __neg__(self) -> "Estimate":
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Estimate(-self.mean, low, high, self.sd, self.n)

    def within(self, least: float, most: float) -> "Estimate":
        """The estimate with an interval that ends at what its metric can reach."""
        low, high = (None if end is None else min(max(end, least), most) for end in (self.low, self.high))
        return Estimate(self.mean, low, high, self.sd, self.n)

    def stored(self) -> dict[str, float | None]:
        """The estimate in a stored comparison; an unknown number is None."""
        return {"mean": self.mean if self.n else None, "low": self.low, "high": self.high}

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> "Estimate":
        """The estimate in a stored comparison or verdict; an unknown mean is NaN again."""
        mean = math.nan if stored["mean"] is None else float(stored["mean"])
        least = 0 if stored["mean"] is None else 1 if stored["low"] is None else 2
        return cls(mean, stored["low"], stored["high"], stored.get("sd"), stored.get("n", least))


@dataclass(frozen=True)
class Claim:
    """A paired difference, its p-value as it is and after Holm; None where there is no interval."""

    difference: Estimate
    p: float | None
    p_holm: float | None


class Intervals(NamedTuple):
    """Student's t over the last axis of an array; sd, low, high and p are NaN below two finite values."""

    mean: Array
    low: Array
    high: Array
    sd: Array
    n: NDArray[np.int64]
    p: Array


def t_interval(
    values: ArrayLike, floor: ArrayLike = 0.0, level: float = 1 - ALPHA, overlap: ArrayLike = 0.0
) -> Intervals:
    """Mean, t interval and two-sided p against zero over the last axis; NaN is left out.

    `floor` is the least sd to believe: counts that happen to agree in every seed are not free of noise.
    """
    from scipy import special  # type: ignore[import-untyped, unused-ignore]

    x = np.asarray(values, dtype=np.float64)
    there = np.isfinite(x)
    n = there.sum(-1)
    mean = np.where(n > 0, np.where(there, x, 0).sum(-1) / np.maximum(n, 1), np.nan)
    df = np.maximum(n - 1, 1)
    squares = np.where(there, x - mean[..., None], 0) ** 2
    sd = np.where(n > 1, np.maximum(np.sqrt(squares.sum(-1) / df), floor), np.nan)
    error = sd / np.sqrt(np.maximum(n, 1)) * np.sqrt(1 + n * np.asarray(overlap))
    half = special.stdtrit(df, (1 + level) / 2) * error
    t = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error != 0)
    return Intervals(mean, mean - half, mean + half, sd, n, 2 * special.stdtr(df, -t))


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p-values over the last axis; NaN counts as 1."""
    p = np.nan_to_num(np.asarray(p, dtype=np.float64), nan=1.0)
    order = p.argsort(-1)
    steps = np.arange(p.shape[-1], 0, -1) * np.take_along_axis(p, order, -1)
    adjusted = np.minimum(np.maximum.accumulate(steps, -1), 1.0)
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, -1)
    return result


def interval_level(configs: int) -> float:
    """The nominal level that covers at least 93 % for the winner among so many configs."""
    return 1 - ALPHA * min(1.0, 3 / configs)


def choose(validation: ArrayLike) -> NDArray[np.int64]:
    """The winner's index by the mean over seeds, of scores (…, configs, seeds).

    Seeds that failed in one config are left out of all, unless none would be left.
    """
    scores = np.asarray(validation, dtype=np.float64)
    there = np.isfinite(scores)
    common = there.all(-2, keepdims=True)
    used = np.where(common.any(-1, keepdims=True), common, there)
    n = used.sum(-1)
    mean = np.where(used, scores, 0).sum(-1) / np.maximum(n, 1)
    return np.asarray(np.where(n > 0, mean, -np.inf).argmax(-1))


def detectable(seeds: int, sd: float, alpha: float = ALPHA, power: float = POWER, overlap: float = 0.0) -> float:
    """The true difference that a two-sided paired t test at `alpha` calls positive with this power."""
    from scipy import special  # type: ignore[import-untyped, unused-ignore]

    critical = special.stdtrit(seeds - 1, 1 - alpha / 2)
    return float(
        special.nctdtrinc(seeds - 1, 1 - power, critical) * sd / math.sqrt(seeds) * math.sqrt(1 + seeds * overlap)
    )


def seeds_needed(
    difference: float, sd: float, alpha: float = ALPHA, power: float = POWER, overlap: float = 0.0
) -> int | None:
    """The fewest seeds that see this difference; None where 1,000 do not."""
    for seeds in range(2, MOST_SEEDS + 1):
        if detectable(seeds, sd, alpha, power, overlap) <= difference:
            return seeds
    return None


def sampling_error(accuracy: float, examples: int) -> float:
    """The binomial standard error of an accuracy, sqrt(p(1 - p)/n)."""
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / examples)


def rounding_sd(step: float) -> float:
    """The sd that rounding to multiples of a step hides, step/√12: the least sd to believe of counts."""
    return step / math.sqrt(12)


def estimate(values: ArrayLike, level: float, floor: float = 0.0, overlap: float = 0.0) -> Estimate:
    """The mean of `values` over seeds with its interval; `floor` is the least sd to believe."""
    return _at(t_interval(values, floor, level, overlap))


def _at(found: Intervals, index: int | tuple[()] = ()) -> Estimate:
    mean, low, high, sd = (float(a[index]) for a in found[:4])
    n = int(found.n[index])
    return Estimate(mean, low, high, sd, n) if n > 1 else Estimate(mean, None, None, None, n)


def claims_of(found: Intervals, p_holm: Array) -> tuple[Claim, ...]:
    """Each interval with its p-values as a claim."""

    def claim(i: int) -> Claim:
        difference = _at(found, i)
        known = difference.n > 1
        return Claim(difference, float(found.p[i]) if known else None, float(p_holm[i]) if known else None)

    return tuple(map(claim, range(len(p_holm))))

"""The verdict in words: rounding by the interval, units, and the sentences of the rule in `verdict`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from mtlsearch.evidence.metric import Score, TaskMetric
from mtlsearch.evidence.statistics import (
    ALPHA,
    MOST_SEEDS,
    Claim,
    Estimate,
    detectable,
    sampling_error,
    seeds_needed,
)
from mtlsearch.wording import MANY_TASKS

Kind = Literal["tuned", "equal", "undecided"]


def decimals(half: float | None, without: int = 1) -> int:
    """Digits after the point: up to the first significant one of the interval's half width, and none beyond.

    `without` is their number where one seed gives no interval, or the interval has no width.
    """
    if half is None or half <= 0:
        return without
    return max(0, -math.floor(math.log10(half)))


def shown(estimate: Estimate, scale: float = 1.0, unit: str = "") -> str:
    """A mean and its interval, `98.2 % (98.1 to 98.3)`, rounded by `decimals`."""
    if estimate.n == 0:
        return "unknown (every seed failed)"
    digits = _digits(estimate, scale, 2 if unit else 4)
    interval = "one seed, no interval" if estimate.low is None else _span(estimate, scale, digits)
    return f"{_number(estimate.mean * scale, digits)}{unit} ({interval})"


class Unit(NamedTuple):
    """A factor that makes a number readable, and the words behind the number."""

    scale: float
    word: str

    @classmethod
    def of(cls, metrics: Sequence[TaskMetric], score: Score = "mean") -> "Unit":
        if not callable(score) and all(metric.fraction for metric in metrics):
            return cls(100.0, "points")
        return cls(1.0, f"in {metrics[0].name}" if not callable(score) and len(metrics) == 1 else "in score")

    def span(self, estimate: Estimate) -> str:
        """`0.2 to 0.6`, of an estimate that has an interval."""
        return _span(estimate, self.scale, _digits(estimate, self.scale, 2 if self.scale > 1 else 4))

    def gain(self, estimate: Estimate) -> str:
        """`by 0.2 to 0.6 points`, of an interval above zero; an end that rounds to zero is not zero."""
        low, high = self.span(estimate).split(" to ")
        return f"by {low if float(low) > 0 else 'just over 0'} to {high} {self.word}"


@dataclass(frozen=True)
class Finding:
    """The verdict's kind, and the numbers of its sentence; `claim` is the winner minus its twin."""

    kind: Kind
    claim: Claim
    margin: float
    configs: int
    unit: Unit

    @property
    def difference(self) -> Estimate:
        return self.claim.difference

    @property
    def target(self) -> float:
        """The larger of the observed difference and the margin."""
        return max(abs(self.difference.mean), self.margin)

    @cached_property
    def detectable(self) -> float | None:
        """The difference that these seeds call tuned 80 % of the time."""
        if self.difference.sd is None:
            return None
        return detectable(self.difference.n, self.difference.sd, ALPHA / self.configs)

    @cached_property
    def seeds_needed(self) -> int | None:
        """The seeds that would see the target; None for over 1,000, or without an interval."""
        if self.difference.sd is None:
            return None
        return seeds_needed(self.target, self.difference.sd, ALPHA / self.configs)

    def sentence(self) -> str:
        """The first line of the verdict's rule that applies."""
        found, bound = self.difference, f"{self.margin * self.unit.scale:.2g} {self.unit.word}"
        if found.low is None or found.high is None:
            left = "no pair of seeds is left, which" if found.n == 0 else "one seed"
            return f"undecided: {left} gives no interval; confirm with 5 seeds or more"
        if self.kind == "tuned":
            return f"tuned weights beat equal ones {self.unit.gain(found)}"
        between = f"tuned minus equal is {self.unit.span(found)} {self.unit.word}"
        if self.kind == "undecided":
            return f"{self._limit()}; {between}{self._adjusted()}; {self._enough()}"
        if found.low >= -self.margin:
            return f"equal weights are as good, keep them: {between}, within the margin of {bound}"
        if found.high < 0:
            return f"equal weights are better {self.unit.gain(-found)}, keep them"
        return f"equal weights are as good or better, keep them: {between}, below the margin of {bound}"

    def _limit(self) -> str:
        limit = (self.detectable or 0.0) * self.unit.scale
        above = f"{_number(limit, _digits(self.difference, self.unit.scale, 2))} {self.unit.word}"
        return f"undecided: {self.difference.n} seeds can only see differences above {above}"

    def _adjusted(self) -> str:
        if (self.difference.low or 0.0) <= 0 or self.claim.p_holm is None:
            return ""
        return f" (p = {self.claim.p_holm:.2g} after Holm over {self.configs} configs)"

    def _enough(self) -> str:
        many = f"over {MOST_SEEDS:,}" if self.seeds_needed is None else f"{self.seeds_needed:,}"
        target = self.target * self.unit.scale
        digits = max(decimals(target), _digits(self.difference, self.unit.scale, 0))
        return f"{many} seeds would see {_number(target, digits)} {self.unit.word}"


@dataclass(frozen=True)
class Limits:
    """The limits of the data: the pairs of seeds that are left of `seeds`, and the intervals' nominal level.

    `sampling_error` is the standard error by the test set's size, for tasks that are measured by accuracy.
    """

    pairs: int
    seeds: int
    level: float
    sampling_error: Mapping[str, float]

    @classmethod
    def of(
        cls,
        pairs: int,
        seeds: int,
        level: float,
        means: Mapping[str, float],
        metrics: Mapping[str, TaskMetric],
    ) -> "Limits":
        """The limits where the tasks' metrics have these `means` on test, NaN where every seed failed."""
        counted = {task: m for task, m in metrics.items() if m.step and math.isfinite(means[task])}
        errors = {task: sampling_error(means[task], metric.test_examples) for task, metric in counted.items()}
        return cls(pairs, seeds, level, errors)

    def sentence(self, metrics: Mapping[str, TaskMetric]) -> str:
        """The sentence that says what the intervals cover and what they do not."""
        lost = f" ({self.seeds - self.pairs} of {self.seeds} seeds failed, {self.pairs} left)"
        randomness = "the randomness of training on this split, not what new data would change"
        if self.seeds == 1:
            text = f"one seed shows nothing of {randomness.partition(',')[0]}"
        else:
            text = f"{100 * self.level:.3g} % t intervals over {self.seeds} fresh seeds"
            text += f"{lost if self.pairs < self.seeds else ''} cover {randomness}"
        errors = {task: _points(error) for task, error in self.sampling_error.items()}
        if len(errors) > MANY_TASKS:
            low, high = (_points(extreme(self.sampling_error.values())) for extreme in (min, max))
            text += f"; the size of the test sets adds a standard error of {low} to {high} points of each task"
        elif errors:
            sizes = (
                f"{error} points of {task} ({metrics[task].test_examples:,} examples)" for task, error in errors.items()
            )
            text += f"; the size of the test set adds a standard error of {', '.join(sizes)}"
        return text


def _span(estimate: Estimate, scale: float, digits: int) -> str:
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{_number(estimate.low * scale, digits)} to {_number(estimate.high * scale, digits)}"


def _points(error: float) -> str:
    return _number(100 * error, max(1, decimals(100 * error)))


def _digits(estimate: Estimate, scale: float, without: int) -> int:
    return decimals(None if estimate.half is None else estimate.half * scale, without)


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0

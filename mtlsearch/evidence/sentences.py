"""Numbers of a verdict in words: rounding by the interval, units, and what intervals cover."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.statistics import Estimate, sampling_error
from mtlsearch.study.score import CALLABLE, LOG_ERROR, Score
from mtlsearch.wording import MANY_TASKS


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
    digits = digits_of(estimate, scale, 2 if unit else 4)
    interval = "one seed, no interval" if estimate.low is None else _span(estimate, scale, digits)
    return f"{number(estimate.mean * scale, digits)}{unit} ({interval})"


DIGITS = "digits"  # −log₁₀ of an error: one more is a tenth of the error


class Unit(NamedTuple):
    """A factor that makes a number readable, and the words behind the number."""

    scale: float
    word: str

    @classmethod
    def of_metric(cls, metric: TaskMetric) -> "Unit":
        """The unit of differences in one task's metric."""
        return cls(100.0, "points") if metric.fraction else cls(1.0, f"in {metric.name}")

    @classmethod
    def of_score(cls, score: Score, metrics: Mapping[str, TaskMetric]) -> "Unit":
        """The unit of differences in score: points where all scored metrics are fractions."""
        scored = [metrics[task] for task in score.weights(list(metrics))]
        if score.kind == CALLABLE:
            return cls(1.0, "in score")
        if score.kind == LOG_ERROR:
            return cls(1.0, DIGITS)
        if len(scored) == 1:
            return cls.of_metric(scored[0])
        return cls(100.0, "points") if all(metric.fraction for metric in scored) else cls(1.0, "in score")

    def span(self, estimate: Estimate) -> str:
        """`0.2 to 0.6`, of an estimate that has an interval."""
        return _span(estimate, self.scale, digits_of(estimate, self.scale, 2 if self.scale > 1 else 4))

    def gain(self, estimate: Estimate) -> str:
        """`by 0.2 to 0.6 points`, of an interval above zero; an end that rounds to zero is not zero.

        Digits are told as factors too: `by 0.3 to 1.1 digits (a factor of 2 to 13 in the error)`.
        """
        low, high = self.span(estimate).split(" to ")
        told = f"by {low if float(low) > 0 else 'just over 0'} to {high} {self.word}"
        if self.word != DIGITS:
            return told
        least, most = (f"{float(f'{10**end:.2g}'):,g}" for end in (estimate.low or 0.0, estimate.high or 0.0))
        return f"{told} (a factor of {least} to {most} in the error)"


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
        if any(metric.overlap for metric in metrics.values()):
            return self._of_divisions()
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

    def _of_divisions(self) -> str:
        """The sentence on intervals over new divisions; the size of their test sets is part of them."""
        if self.seeds == 1:
            return "one division shows nothing of what new data would change"
        lost = f" ({self.seeds - self.pairs} of {self.seeds} failed, {self.pairs} left)"
        text = f"{100 * self.level:.3g} % t intervals over {self.seeds} new divisions of train, validation and test"
        text += lost if self.pairs < self.seeds else ""
        return f"{text}, each with a fresh seed, hold on new data of this kind: they allow for what divisions share"


def _span(estimate: Estimate, scale: float, digits: int) -> str:
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{number(estimate.low * scale, digits)} to {number(estimate.high * scale, digits)}"


def _points(error: float) -> str:
    return number(100 * error, max(1, decimals(100 * error)))


def digits_of(estimate: Estimate, scale: float, without: int) -> int:
    """The decimals that a scaled estimate's interval allows; `without` where it has none."""
    return decimals(None if estimate.half is None else estimate.half * scale, without)


def number(value: float, digits: int) -> str:
    """A number with so many decimals, never a negative zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0

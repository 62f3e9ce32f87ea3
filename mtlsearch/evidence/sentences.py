"""The verdict in words: rounding by the interval, units, and the sentences of the rule in `verdict`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mtlsearch.evidence.statistics import (
    ALPHA,
    MOST_SEEDS,
    Claim,
    Estimate,
    detectable,
    seeds_needed,
    t_interval,
)
from mtlsearch.wording import MANY_TASKS

Kind = Literal["tuned", "equal", "undecided"]

Score = str | Callable[[Mapping[str, float]], float]  # "mean", "min", or a callable of oriented metrics

FRACTION_MARGIN, RELATIVE_MARGIN = 0.002, 0.01

FRACTIONS = frozenset({"accuracy", "macro_f1", "macro_auroc", "span_f1", "r2"})

ONE_TASK = "one task has one weight: there is nothing to hold against equal weights"


@dataclass(frozen=True)
class TaskMetric:
    """How one task is measured: the metric's name, its direction, and the test set's size (0: unknown)."""

    name: str = "accuracy"
    higher_is_better: bool = True
    test_examples: int = 0

    @property
    def fraction(self) -> bool:
        return self.name in FRACTIONS

    @property
    def scale(self) -> float:
        """The factor that makes a value readable: 100 for a fraction, which is shown in percent."""
        return 100.0 if self.fraction else 1.0

    @property
    def unit(self) -> str:
        """The unit behind a scaled value: " %" or nothing."""
        return " %" if self.fraction else ""

    @property
    def step(self) -> float:
        """The smallest change the test set can show; 0 where it is unknown or there is none."""
        return 1 / self.test_examples if self.name == "accuracy" and self.test_examples else 0.0

    @property
    def sign(self) -> int:
        return 1 if self.higher_is_better else -1

    def margin(self, equal: Sequence[float]) -> float:
        """The difference that does not matter, at the values of `equal` weights over seeds."""
        if self.fraction:
            return FRACTION_MARGIN
        mean = float(t_interval(equal).mean)
        return RELATIVE_MARGIN * abs(mean) if math.isfinite(mean) else 0.0


def decimals(half: float | None, without: int = 1) -> int:
    """Digits after the point: up to the first significant one of the interval's half width, and none beyond.

    `without` an interval (one seed) or with one of no width there is nothing to go by.
    """
    if half is None or half <= 0:
        return without
    return max(0, -math.floor(math.log10(half)))


def shown(estimate: Estimate, scale: float = 1.0, unit: str = "") -> str:
    """A mean and its interval, `98.2 % (98.1 to 98.3)`, rounded by `decimals`."""
    if estimate.n == 0:
        return "unknown (every seed failed)"
    digits = _digits(estimate, scale, 2 if unit else 4)
    mean = f"{_number(estimate.mean * scale, digits)}{unit}"
    if estimate.low is None or estimate.high is None:
        return f"{mean} (one seed, no interval)"
    return f"{mean} ({_number(estimate.low * scale, digits)} to {_number(estimate.high * scale, digits)})"


class Unit(NamedTuple):
    """What a number is multiplied by to be read, and the words behind it."""

    scale: float
    word: str

    @classmethod
    def of(cls, metrics: Sequence[TaskMetric], score: Score = "mean") -> "Unit":
        if not callable(score) and all(metric.fraction for metric in metrics):
            return cls(100.0, "points")
        return cls(1.0, f"in {metrics[0].name}" if not callable(score) and len(metrics) == 1 else "in score")

    def span(self, estimate: Estimate) -> str:
        """`0.2 to 0.6`, of an estimate that has an interval."""
        assert estimate.low is not None
        assert estimate.high is not None
        digits = _digits(estimate, self.scale, 2 if self.scale > 1 else 4)
        return (
            f"{_number(estimate.low * self.scale, digits)} to {_number(estimate.high * self.scale, digits)}"
        )

    def gain(self, estimate: Estimate) -> str:
        """`by 0.2 to 0.6 points`, of an interval above zero; an end that rounds to zero is not zero."""
        low, high = self.span(estimate).split(" to ")
        return f"by {low if float(low) > 0 else 'just over 0'} to {high} {self.word}"


class Finding(NamedTuple):
    """What the winner's sentence is made of."""

    kind: Kind
    claim: Claim
    margin: float
    configs: int
    unit: Unit
    target: float  # the larger of the observed difference and the margin
    seen: float | None  # what these seeds can see
    needed: int | None  # the seeds that would see the target

    @classmethod
    def of(cls, kind: Kind, claim: Claim, margin: float, configs: int, unit: Unit) -> "Finding":
        found, alpha = claim.difference, ALPHA / configs
        target = max(abs(found.mean), margin)
        if found.sd is None:
            return cls(kind, claim, margin, configs, unit, target, None, None)
        seen, needed = detectable(found.n, found.sd, alpha), seeds_needed(target, found.sd, alpha)
        return cls(kind, claim, margin, configs, unit, target, seen, needed)

    def sentence(self) -> str:
        """The first line of the module's rule that applies."""
        found, bound = self.claim.difference, f"{self.margin * self.unit.scale:.2g} {self.unit.word}"
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
            return f"equal weights are better {self.unit.gain(_negative(found))}, keep them"
        return f"equal weights are as good or better, keep them: {between}, below the margin of {bound}"

    def _limit(self) -> str:
        found, scale = self.claim.difference, self.unit.scale
        limit = _number((self.seen or 0.0) * scale, _digits(found, scale, 2))
        return f"undecided: {found.n} seeds can only see differences above {limit} {self.unit.word}"

    def _adjusted(self) -> str:
        if (self.claim.difference.low or 0.0) <= 0 or self.claim.p_holm is None:
            return ""
        return f" (p = {self.claim.p_holm:.2g} after Holm over {self.configs} configs)"

    def _enough(self) -> str:
        many = f"over {MOST_SEEDS:,}" if self.needed is None else f"{self.needed:,}"
        target = self.target * self.unit.scale
        digits = max(decimals(target), _digits(self.claim.difference, self.unit.scale, 0))
        return f"{many} seeds would see {_number(target, digits)} {self.unit.word}"


def _negative(e: Estimate) -> Estimate:
    assert e.low is not None
    assert e.high is not None
    return Estimate(-e.mean, -e.high, -e.low, e.sd, e.n)


def _digits(estimate: Estimate, scale: float, without: int) -> int:
    return decimals(None if estimate.half is None else estimate.half * scale, without)


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def covers_text(
    pairs: int, seeds: int, level: float, errors: Mapping[str, float], metrics: Mapping[str, TaskMetric]
) -> str:
    """What the intervals cover and what not."""
    lost = f" ({seeds - pairs} of {seeds} seeds failed, {pairs} left)" if pairs < seeds else ""
    randomness = "the randomness of training on this split, not what new data would change"
    if seeds == 1:
        text = f"one seed shows nothing of {randomness.partition(',')[0]}"
    else:
        text = f"{100 * level:.3g} % t intervals over {seeds} fresh seeds{lost} cover {randomness}"
    found = errors.values()
    sizes = [
        f"{_number(100 * error, max(1, decimals(100 * error)))} points of {task} "
        f"({metrics[task].test_examples:,} examples)"
        for task, error in errors.items()
    ]
    if len(sizes) > MANY_TASKS:
        low, high = (f"{_number(100 * e, max(1, decimals(100 * e)))}" for e in (min(found), max(found)))
        text += f"; the size of the test sets adds a standard error of {low} to {high} points of each task"
    elif sizes:
        text += f"; the size of the test set adds a standard error of {', '.join(sizes)}"
    return text

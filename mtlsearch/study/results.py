"""Results of training: an epoch's metrics, and a trial's progress from epoch to epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Metrics = Mapping[str, Mapping[str, float]]  # {task: {metric: value}}
Shortfalls = Mapping[str, float]  # by task how far its metric is from what it must reach; above 0 where it is short
NOTHING_DUE: Shortfalls = {}


@dataclass(frozen=True)
class FoldValues:
    """A trial's values on each fold at its best epoch: `scores`, and the metrics of its tasks."""

    scores: Sequence[float]
    validation: Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class EpochResult:
    """One trial's result of one epoch, whose `epoch` counts from 0, and its best epoch so far.

    `reason` is set where the trial has failed: a loss was not finite, or no epoch had a finite score. `finished` is
    set where the budget is spent or the score has stopped rising; the best epoch is then the trial's result. Of a
    cross-validated trial all values are means over its `folds`.
    """

    number: int
    epoch: int
    score: float
    validation: Metrics
    best_epoch: int
    best_score: float
    best_validation: Metrics
    finished: bool
    reason: str | None = None
    best_shortfalls: Shortfalls = field(default_factory=dict)
    folds: FoldValues | None = None


@dataclass
class TrialProgress:
    """A trial's epochs so far: the best one, and whether another one follows."""

    number: int
    epochs: int
    patience: int | None
    entry_epoch: int
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_validation: Metrics = field(default_factory=dict)
    best_shortfalls: Shortfalls = field(default_factory=dict)

    def fail(self, reason: str) -> EpochResult:
        """Give the result of an epoch whose loss was not finite."""
        return self._result(math.nan, {}, finished=True, reason=reason)

    def update(
        self, score: float, validation: Metrics, shortfalls: Shortfalls = NOTHING_DUE
    ) -> tuple[EpochResult, bool]:
        """Record an epoch's score. Give the result, and whether this epoch is the best.

        An epoch that falls short of what its metrics must reach is never better than one that does not.
        """
        now, before = -shortfall(shortfalls), -shortfall(self.best_shortfalls)
        better = (now, score) > (before, self.best_score) if self.best_validation else True
        improved = score > -math.inf and better
        if improved:
            self.best_epoch, self.best_score, self.best_validation = self.epoch, score, validation
            self.best_shortfalls = shortfalls
        stale = self.patience is not None and self.epoch - self.best_epoch >= self.patience
        finished = stale or self.epoch + 1 == self.epochs
        reason = _no_score(validation, self.epoch) if finished and not self.best_validation else None
        result = self._result(score, validation, finished, reason)
        self.epoch += 1
        return result, improved

    def _result(self, score: float, validation: Metrics, finished: bool, reason: str | None) -> EpochResult:
        best = self.best_epoch, self.best_score, self.best_validation
        return EpochResult(self.number, self.epoch, score, validation, *best, finished, reason, self.best_shortfalls)


def shortfall(shortfalls: Shortfalls) -> float:
    """How far all metrics together are from what they must reach, 0 where they reach it."""
    return sum(max(short, 0.0) for short in shortfalls.values())


def _no_score(validation: Metrics, epoch: int) -> str:
    """Say why a trial without one finite score failed."""
    tasks = [task for task, values in validation.items() if not all(map(math.isfinite, values.values()))]
    of = f"the metric of {', '.join(tasks)}" if tasks else "the score"
    return f"{of} was not finite in any epoch up to {epoch}"


def failure_reason(bad_steps: Mapping[str, int], epoch: int, steps: int, rule: str = "finite") -> str | None:
    """Say why a trial failed, by the first step at which each task's loss broke the `rule`; S where none did."""
    first = min(bad_steps.values())
    if first == steps:
        return None
    tasks = ", ".join(task for task, step in bad_steps.items() if step == first)
    return f"the loss of {tasks} was not {rule} in epoch {epoch}, step {first}"

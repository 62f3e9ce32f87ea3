"""Results of training: an epoch's metrics, and how far a trial has come."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave one trial: its 0-based `epoch`, and what it has reached so far.

    `reason` is set where a loss was not finite: the trial has failed. `finished` says that the budget is spent
    or the score has stopped rising; the trial's result is then its best epoch's.
    """

    number: int
    epoch: int
    score: float
    validation: Values
    best_epoch: int
    best_score: float
    best_validation: Values
    finished: bool
    reason: str | None = None


@dataclass
class Progress:
    """How far one trial has come: its best epoch, and whether it goes on."""

    number: int
    epochs: int
    patience: int | None
    entry_epoch: int
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    best_validation: Values = field(default_factory=dict)

    def fail(self, reason: str) -> EpochResult:
        """The result of an epoch whose loss was not finite."""
        return EpochResult(
            self.number,
            self.epoch,
            math.nan,
            {},
            self.best_epoch,
            self.best_score,
            self.best_validation,
            True,
            reason,
        )

    def update(self, score: float, validation: Values) -> tuple[EpochResult, bool]:
        """Record an epoch's score; the result, and whether this epoch is the best."""
        improved = score > self.best_score
        if improved:
            self.best_epoch, self.best_score, self.best_validation = self.epoch, score, validation
        stale = self.patience is not None and self.epoch - self.best_epoch >= self.patience
        self.epoch += 1
        finished = stale or self.epoch == self.epochs
        result = EpochResult(
            self.number,
            self.epoch - 1,
            score,
            validation,
            self.best_epoch,
            self.best_score,
            self.best_validation,
            finished,
            reason=_no_score(validation, self.epoch - 1) if finished and not self.best_validation else None,
        )
        return result, improved


def _no_score(validation: Values, epoch: int) -> str:
    """Why a trial without one finite score failed."""
    tasks = [task for task, values in validation.items() if not all(map(math.isfinite, values.values()))]
    of = f"the metric of {', '.join(tasks)}" if tasks else "the score"
    return f"{of} was not finite in any epoch up to {epoch}"


def failure_reason(bad_steps: Mapping[str, int], epoch: int, steps: int, rule: str = "finite") -> str | None:
    """Why a trial failed, from the first step (S where none) at which each task's loss broke the `rule`."""
    first = min(bad_steps.values())
    if first == steps:
        return None
    tasks = ", ".join(task for task, step in bad_steps.items() if step == first)
    return f"the loss of {tasks} was not {rule} in epoch {epoch}, step {first}"

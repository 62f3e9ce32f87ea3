"""What the search asks of a trainer, and what every trainer does with an epoch's metrics.

A trainer holds members (trials in training), advances all of them by one epoch at a time, and keeps the
parameters of each member's best epoch. The search knows no difference between one that trains a single member
(`solo`) and one that trains a population as one program.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import torch
from torch import Tensor

from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy

Values = Mapping[str, Mapping[str, float]]
PRECISIONS = ("fp32", "tf32", "bf16")


class Interrupted(Exception):
    """Training was asked to stop in the middle of an epoch; no member has advanced."""


@dataclass(frozen=True)
class Training:
    """The complete value that a trainer is made from; `method` weighs the tasks (`balance`).

    `slots` is the most that a lane may have, None for what suits it.
    """

    loaded: LoadedStudy
    seed: int = 0
    precision: str = "fp32"
    dtype: torch.dtype = torch.float32
    method: str = "static"
    slots: int | None = None
    stop: Event = field(default_factory=Event)

    def check_stop(self) -> None:
        """Raise Interrupted where a stop was asked for; called between steps, it costs no device sync."""
        if self.stop.is_set():
            raise Interrupted

    def autocast(self) -> torch.autocast:
        """The context in which a step computes: bf16 matrix products where they are asked for."""
        return torch.autocast(self.loaded.device.type, torch.bfloat16, enabled=self.precision == "bf16")


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


class Trainer(Protocol):
    """Trains the members that it is given, an epoch at a time."""

    def room(self) -> int:
        """How many more members it takes now."""
        ...

    def add(
        self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None
    ) -> int:
        """Take trial `number` in, and give the epoch at which it enters, on which its batches depend.

        With `seed` another one than the training's drives its initialisation, batches and noise.
        """
        ...

    def advance(self) -> list[EpochResult]:
        """Train every member for one epoch and validate it. Raises Interrupted."""
        ...

    def drop(self, number: int) -> None:
        """Let trial `number` go, and free its room."""
        ...

    def conditions(self, number: int) -> dict[str, Any]:
        """How trial `number` is trained, as far as its last bits may depend on it."""
        ...

    def state(self, number: int) -> dict[str, Tensor]:
        """The parameters and buffers of the best epoch of trial `number`, on the CPU, as its own model names them."""
        ...


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

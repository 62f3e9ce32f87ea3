"""What the search asks of a trainer, and what every trainer does with an epoch's metrics.

A trainer holds members (trials in training), advances all of them by one epoch at a time, and keeps the
parameters of each member's best epoch. The search knows no difference between one that trains a single member
(`solo`) and one that trains a population as one program.
"""

from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import torch
from torch import Tensor

from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy

PRECISIONS = ("fp32", "tf32", "bf16")


class Interrupted(Exception):
    """Training was asked to stop in the middle of an epoch; no member has advanced."""


@dataclass(frozen=True)
class Training:
    """The complete value that a trainer is made from; `method` weighs the tasks (`weighting`).

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

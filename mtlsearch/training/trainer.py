"""The protocol of a trainer, and the value that every trainer is made from.

A trainer holds members (trials in training), advances all of them by one epoch at a time, and keeps the
parameters of each member's best epoch. The search treats one that trains a single member (`solo`) and one that
trains a population as one program alike.
"""

from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Protocol

import torch
from torch import Tensor

from mtlsearch.activity import Interrupted
from mtlsearch.study.results import EpochResult, TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.kept import Kept

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Training:
    """All that a trainer is made from; `method` names the weighting method (`weighting`).

    `slots` is the most that a lane may have; with None the trainer chooses. Where `mixes_seeds`, a lane holds members
    of any seed, each with batches of its own; else all members of a lane have one seed, and share its batches. With
    `folds`, of which `loaded` is the first, a member trains on one of them, which its number tells.
    """

    loaded: LoadedStudy
    seed: int = 0
    precision: str = "fp32"
    dtype: torch.dtype = torch.float32
    method: str = "static"
    slots: int | None = None
    mixes_seeds: bool = False
    folds: tuple[LoadedStudy, ...] = ()
    stop: Event = field(default_factory=Event)

    def fold_of(self, number: int) -> int:
        """The fold of member `number`; 0 without folds."""
        return number % len(self.folds) if self.folds else 0

    def of(self, number: int) -> "Training":
        """The training of member `number` by itself."""
        if not self.folds:
            return self
        return replace(self, loaded=self.folds[self.fold_of(number)], folds=(), mixes_seeds=False)

    def check_stop(self) -> None:
        """Raise Interrupted if `stop` is set. It is called between steps, and syncs with no device."""
        if self.stop.is_set():
            raise Interrupted

    def autocast(self) -> torch.autocast:
        """The context of a step: it takes matrix products in bf16 where that is the precision."""
        return torch.autocast(self.loaded.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def progress(self, number: int, entry_epoch: int) -> TrialProgress:
        """The progress of a new trial."""
        study = self.loaded.study
        return TrialProgress(number, study.epochs, study.patience, entry_epoch)

    def weights(self, config: Config) -> Tensor:
        """The task weights [T] of `config`, on the device."""
        weights = [config.task_weights[task] for task in self.loaded.study.weighted]
        return torch.tensor(weights, dtype=self.dtype, device=self.loaded.device)


class Trainer(Protocol):
    """Trains members, an epoch at a time; `kind` tells apart trainers whose last bits differ."""

    @property
    def kind(self) -> str: ...

    def room(self) -> int:
        """The number of members that can be added now."""

    def entry(self) -> int:
        """The entry epoch of a member that is added now without one."""

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        """Add trial `number`, and give its entry epoch, on which its batches depend.

        `seed` replaces the training's seed, which drives initialisation, batches and noise.
        """

    def advance(self) -> list[EpochResult]:
        """Train every member for one epoch and validate it. Raises Interrupted."""

    def drop(self, number: int) -> None:
        """Remove trial `number`, and free its room."""

    def conditions(self, number: int) -> dict[str, Any]:
        """The conditions of trial `number` that its last bits may depend on."""

    def state(self, number: int) -> dict[str, Tensor]:
        """The parameters and buffers of trial `number` at its best epoch, on the CPU, by the names in its model."""

    def keep(self) -> Kept:
        """The whole state between two epochs."""

    def restore(self, kept: Kept) -> None:
        """Take the state back that `keep` gave of an equal trainer; this one has no members yet."""

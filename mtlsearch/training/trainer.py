"""The protocol of a trainer, and the value that every trainer is made from.

A trainer holds members (trials in training), advances all of them by one epoch at a time, and keeps the
parameters of each member's best epoch. The search treats one that trains a single member (`solo`) and one that
trains a population as one program alike.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Event
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mtlsearch.activity import Interrupted
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult, TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.training.columns.study import StudyInColumns, in_columns, joined
from mtlsearch.training.gradient_weighting import GRADIENT_BASED
from mtlsearch.training.kept import Kept

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Training:
    """All that a trainer is made from; `method` names the weighting method (`weighting`).

    `slots` is the most that a lane may have; with None the trainer chooses. Where `mixes_seeds`, a lane holds members
    of any seed, each with batches of its own; else all members of a lane have one seed, and share its batches. With
    `folds`, of which `loaded` is the first, a member trains on one of them, which its number tells. Many tasks of one
    kind train as `columns` where the method allows that; without it, one after the other, as in earlier versions.
    """

    loaded: LoadedStudy
    seed: int = 0
    precision: str = "fp32"
    dtype: torch.dtype = torch.float32
    method: str = "static"
    slots: int | None = None
    mixes_seeds: bool = False
    folds: tuple[LoadedStudy, ...] = ()
    columns: bool = True
    stop: Event = field(default_factory=Event)

    def fold_of(self, number: int) -> int:
        """The fold of member `number`; 0 without folds."""
        return number % len(self.folds) if self.folds else 0

    def of(self, number: int) -> "Training":
        """The training of member `number` by itself."""
        if not self.folds:
            return self
        return replace(self, loaded=self.folds[self.fold_of(number)], folds=(), mixes_seeds=False)

    @cached_property
    def in_columns(self) -> "Training":
        """The same with the study in columns, as the trainers take it; itself where that changes nothing."""
        # Methods that combine the tasks' gradients need a graph of each.
        if not self.columns or self.method in GRADIENT_BASED:
            return self
        loaded, folds = in_columns(self.loaded), tuple(map(in_columns, self.folds))
        return self if loaded is self.loaded else replace(self, loaded=loaded, folds=folds)

    @property
    def conditions(self) -> dict[str, Any]:
        """What a trial records of it: that its tasks trained as columns."""
        return {"columns": True} if isinstance(self.loaded, StudyInColumns) else {}

    @property
    def suffix(self) -> str:
        """What the kind of a trainer says of it."""
        return ", tasks in columns" if isinstance(self.loaded, StudyInColumns) else ""

    def built(self, config: Config, seed: int) -> nn.Module:
        """The model of `config` as it is trained."""
        return self.joined(self.loaded.study.build(config, seed))

    def joined(self, model: nn.Module) -> nn.Module:
        """`model` with its heads as one product where the study's tasks lie in columns."""
        return joined(self.loaded, model)

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

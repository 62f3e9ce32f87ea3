"""A worker: it hosts trainers on one device, for a search in another process; a transport carries its calls.

A *crew* is a trainer with its members. A worker usually has one, and takes another over where a machine is lost for
which there is no replacement. Changes of members come with the next call, so that an epoch takes one.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from threading import Event
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from mtlsearch import __version__
from mtlsearch.activity import counted, current
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.training.device import use_device
from mtlsearch.training.first_step import take_first_step
from mtlsearch.training.kept import Kept
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.remote.parcel import Parcel, unpack
from mtlsearch.training.trainer import Trainer, Training


@dataclass(frozen=True)
class Recipe:
    """How a trainer is made, as `TrainerMaker` takes it; with a `plan` it is one of repeats."""

    population: int
    trials: int = 0
    compiles: bool | None = None
    epoch: float | None = None
    plan: Plan | None = None
    each: int = 1


@dataclass(frozen=True)
class Seat:
    """A member to be added."""

    number: int
    config: Config
    entry_epoch: int | None
    seed: int | None


@dataclass(frozen=True)
class Changes:
    """The members that leave a trainer, and those that enter it after them, in this order."""

    left: Sequence[int] = ()
    seats: Sequence[Seat] = ()


@dataclass(frozen=True)
class Standing:
    """What the search must know of a trainer to add members: its kind, its room, the entry epoch of the next one."""

    kind: str
    room: int
    entry: int


@dataclass(frozen=True)
class Turn:
    """An epoch of a trainer: the results and conditions of its members, and the lines that it told."""

    results: Sequence[EpochResult]
    conditions: Mapping[int, Mapping[str, Any]]
    standing: Standing
    notices: Sequence[str] = ()
    given_up: Sequence[str] = ()  # why the population was


@dataclass(frozen=True)
class KeptBytes:
    """A kept state as bytes (safetensors) and facts."""

    tensors: bytes
    facts: Mapping[str, Any]


def as_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as safetensors holds them."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(content: bytes) -> dict[str, Tensor]:
    """The tensors of `as_bytes`, on the CPU."""
    return load(content)


def versions() -> dict[str, str]:
    """What a driver and its workers must have in common."""
    return {"mtlsearch": __version__, "torch": version("torch")}


class Worker:
    """Hosts trainers on `device`, with so many CPU threads. Its methods are called one at a time, but for `stop`."""

    def __init__(self, device: str, threads: int, precision: str) -> None:
        self.conditions = use_device(device, threads, precision)
        self.stopped = Event()
        self.trainings: dict[str, Training] = {}  # by the key of their parcel
        self.trainers: dict[int, tuple[str, Trainer]] = {}  # by crew, with the key of its parcel
        self.notices: list[str] = []
        self.given_up: list[str] = []

    def about(self) -> dict[str, str]:
        """The versions that it runs, its host and its device."""
        return {**versions(), "host": socket.gethostname(), "device": str(self.conditions.device)}

    def open(self, crew: int, parcel: Parcel, recipe: Recipe) -> Standing:
        """Make the trainer of a crew. Raises MtlsearchError where its study or its data cannot be had here."""
        if parcel.key not in self.trainings:
            training = unpack(parcel.open(), self.conditions.device)
            self.trainings[parcel.key] = replace(training, stop=self.stopped)
        training = self.trainings[parcel.key]
        make = self._maker(training.loaded, recipe)
        trainer = make.of_search(training) if recipe.plan is None else make.again(training, recipe.plan)
        self.trainers[crew] = parcel.key, trainer
        return standing(trainer)

    def _maker(self, loaded: LoadedStudy, recipe: Recipe) -> TrainerMaker:
        return TrainerMaker(
            loaded,
            recipe.population,
            recipe.trials,
            self.notices.append,
            compiles=recipe.compiles,
            epoch=recipe.epoch,
            give_up=self.given_up.append,
            each=recipe.each,
        )

    def try_step(self, parcel: Parcel) -> None:
        """Take a first step. Raises whatever keeps this process from training the study."""
        take_first_step(unpack(parcel.open(), self.conditions.device))

    def advance(self, crew: int, changes: Changes) -> Turn:
        """Train every member of a crew for one epoch, after its changes."""
        trainer = self._changed(crew, changes)
        results = trainer.advance()
        conditions = {result.number: trainer.conditions(result.number) for result in results}
        turn = Turn(results, conditions, standing(trainer), tuple(self.notices), tuple(self.given_up))
        self.notices.clear()
        self.given_up.clear()
        return turn

    def _changed(self, crew: int, changes: Changes) -> Trainer:
        trainer = self.trainers[crew][1]
        for number in changes.left:
            trainer.drop(number)
        for seat in changes.seats:
            trainer.add(seat.number, seat.config, entry_epoch=seat.entry_epoch, seed=seat.seed)
        return trainer

    def state(self, crew: int, number: int) -> bytes:
        """The parameters and buffers of a member at its best epoch."""
        return as_bytes(self.trainers[crew][1].state(number))

    def keep(self, crew: int, changes: Changes) -> KeptBytes:
        """The whole state of a crew, after its changes."""
        kept = self._changed(crew, changes).keep()
        return KeptBytes(as_bytes(kept.tensors), kept.facts)

    def restore(self, crew: int, kept: KeptBytes) -> Standing:
        """Let a new trainer have the members of a kept one."""
        trainer = self.trainers[crew][1]
        trainer.restore(Kept(from_bytes(kept.tensors), kept.facts))
        return standing(trainer)

    def close(self, crew: int) -> None:
        """Forget a crew, and the data that no other one needs."""
        self.trainers.pop(crew, None)
        needed = {key for key, _ in self.trainers.values()}
        for key in [*self.trainings]:
            if key not in needed:
                del self.trainings[key]

    def stop(self) -> None:
        """Stop training at the next step: the epoch that is under way is lost."""
        self.stopped.set()


def standing(trainer: Trainer) -> Standing:
    """What the search must know of a trainer."""
    return Standing(trainer.kind, trainer.room(), trainer.entry())


def pulse() -> tuple[str, int, int]:
    """A sign of what this process is doing: it changes with every step of training."""
    activity, work = current(), counted()
    told = "" if activity is None else activity.text
    return (told, 0, 0) if work is None else (told, work.done, work.total)


def threads_each(threads: int, workers: int, cores: int) -> int:
    """The CPU threads of each of several workers on one machine: as many as one alone has, while there are cores."""
    return max(1, min(threads, cores // max(1, workers)))

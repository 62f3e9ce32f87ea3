"""Crews: what the loop of a search drives. A crew is a trainer with its keeper; here the one of this process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

from mtlsearch.store.record import Record
from mtlsearch.study.results import EpochResult
from mtlsearch.tuning.interruption.keeper import Keeper

K = TypeVar("K", bound=Keeper)
Ended = list[tuple[K, list[EpochResult]]]  # crews whose epochs have ended, with their results


class Crews(Protocol[K]):
    """The crews of one record. One that rests is between two epochs: trials may be added to it."""

    def resume(self) -> bool:
        """Let the crews that rest go on from what a dead run has left; whether there was anything."""

    def resting(self) -> list[K]:
        """The keepers of the crews that rest."""

    def begin(self, keeper: K) -> None:
        """Begin an epoch of a crew that rests; where nothing of it is in training, it goes on resting."""

    def is_training(self) -> bool:
        """Whether there is something to wait for."""

    def are_under_way(self) -> bool:
        """Whether epochs are being trained while the caller does something else."""

    def first(self) -> Ended[K]:
        """The crews whose epochs end next, with their results; none where a worker came or went. Raises Interrupted."""

    def refresh(self) -> list[int]:
        """Take in what other processes wrote; the numbers of the trials that they took over from this one."""

    def minding(self, keeper: K) -> AbstractContextManager[None, bool | None]:
        """A context in which the worker of a crew may be lost: its members then go on elsewhere."""

    def drop(self, number: int) -> None:
        """Remove a member that another process took over."""

    def keep(self) -> None:
        """Keep the states of all crews that rest."""

    def close(self) -> None:
        """End the crews; trials in training wait for the next run."""


class OwnCrew(Generic[K]):
    """The crew whose trainer is in this process."""

    def __init__(self, record: Record, keeper: K) -> None:
        self.record, self.keeper = record, keeper

    def resume(self) -> bool:
        return self.keeper.resume()

    def resting(self) -> list[K]:
        return [self.keeper]

    def begin(self, keeper: K) -> None:
        if keeper.trains():
            keeper.keep_if_due()
        else:
            keeper.drop_ghosts()

    def is_training(self) -> bool:
        return self.keeper.trains()

    def are_under_way(self) -> bool:
        return False

    def first(self) -> Ended[K]:
        return [(self.keeper, self.keeper.trainer.advance())]

    def refresh(self) -> list[int]:
        return self.record.refresh()

    @contextmanager
    def minding(self, keeper: K) -> Iterator[None]:
        yield

    def drop(self, number: int) -> None:
        self.keeper.drop(number)

    def keep(self) -> None:
        self.keeper.keep()

    def close(self) -> None:
        try:
            self.keeper.close()
        finally:
            self.record.interrupt()  # a trial that was asked, and has no seat yet

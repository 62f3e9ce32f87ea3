"""A trainer in a worker, as the search sees it: the `Trainer` protocol, with an epoch in two halves.

`begin` starts an epoch, and `advance` ends it, so that a driver can wait for many workers at once. Members that are
added or dropped meanwhile are changed with the next call.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.training.kept import Kept
from mtlsearch.training.remote.parcel import Parcel
from mtlsearch.training.remote.transport import Line
from mtlsearch.training.remote.worker import Changes, KeptBytes, Recipe, Seat, Standing, Turn, as_bytes, from_bytes

Answer = Callable[[Line], Any]  # waits for the end of the call on a line, and gives its value


class RemoteTrainer:
    """The trainer of crew `crew` in the worker at the end of `line`; `answer` waits for it.

    It is ready once it is `opened`. All methods but `begin` and `advance` are called between two epochs. They raise
    WorkerDied.
    """

    def __init__(self, line: Line, answer: Answer, crew: int, parcel: Parcel, recipe: Recipe) -> None:
        self.line, self.answer, self.crew = line, answer, crew
        self.left: list[int] = []
        self.seats: list[Seat] = []
        self.told: Mapping[int, Mapping[str, Any]] = {}  # the conditions of its members
        self.notices: list[str] = []
        self.given_up: list[str] = []
        self.is_training = False
        self.fetched: tuple[int, dict[str, Tensor]] | None = None  # the state that was asked for last
        self.standing = Standing("", 0, 0)
        self.capacity = self.members = 0
        line.call("open", crew, parcel, recipe)

    def opened(self) -> None:
        """Wait until the worker has made the trainer."""
        self.standing = self.answer(self.line)
        self.capacity = self.standing.room

    def _call(self, method: str, *arguments: Any) -> Any:
        self.line.call(method, self.crew, *arguments)
        return self.answer(self.line)

    @property
    def kind(self) -> str:
        return self.standing.kind

    def room(self) -> int:
        return self.standing.room + len(self.left) - len(self.seats)

    def entry(self) -> int:
        return self.standing.entry

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        # As a population has it: the first member decides at which epoch all begin.
        if entry_epoch is not None and not self.members:
            self.standing = Standing(self.standing.kind, self.standing.room, entry_epoch)
        self.members += 1
        self.seats.append(Seat(number, config, entry_epoch, seed))
        return self.standing.entry

    def drop(self, number: int) -> None:
        self.members -= 1
        before = len(self.seats)
        self.seats = [seat for seat in self.seats if seat.number != number]
        if len(self.seats) == before:  # else the worker does not know it yet
            self.left.append(number)

    def _changes(self) -> Changes:
        """The changes since the last call, which this one makes."""
        changes = Changes(tuple(self.left), tuple(self.seats))
        room = self.room()
        self.left, self.seats = [], []
        self.standing = Standing(self.standing.kind, room, self.standing.entry)
        return changes

    def begin(self) -> None:
        """Begin an epoch; it does not wait."""
        self.line.call("advance", self.crew, self._changes())
        self.is_training, self.fetched = True, None

    def advance(self) -> list[EpochResult]:
        if not self.is_training:
            self.begin()
        self.is_training = False
        turn: Turn = self.answer(self.line)
        self.standing, self.told = turn.standing, turn.conditions
        self.notices += turn.notices
        self.given_up += turn.given_up
        return list(turn.results)

    def conditions(self, number: int) -> dict[str, Any]:
        return dict(self.told[number])

    def state(self, number: int) -> dict[str, Tensor]:
        if self.fetched is None or self.fetched[0] != number:
            self.fetched = number, from_bytes(self._call("state", number))
        return self.fetched[1]

    def keep(self) -> Kept:
        kept: KeptBytes = self._call("keep", self._changes())
        return Kept(from_bytes(kept.tensors), kept.facts)

    def restore(self, kept: Kept) -> None:
        self.standing = self._call("restore", KeptBytes(as_bytes(kept.tensors), kept.facts))
        self.members = self.capacity - self.standing.room

    def close(self) -> None:
        """Let the worker forget the crew."""
        self._call("close")

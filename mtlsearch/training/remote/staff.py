"""The workers of a run: they are started, watched, and replaced where they die or hang."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from types import TracebackType
from typing import Any, Self

from mtlsearch.activity import Interrupted, doing
from mtlsearch.errors import MtlsearchError, WorkerError, kind_and_line
from mtlsearch.training.device import Conditions
from mtlsearch.training.remote.parcel import Parcel, pack
from mtlsearch.training.remote.transport import Line, Transport, WorkerDied
from mtlsearch.training.remote.worker import versions
from mtlsearch.training.trainer import Training

LOOK_S = 0.2  # between looks at the stop
HANGING_S = 1.0  # between looks for workers that hang
MOST_STARTS = 3  # of a worker in a row, none of which gets ready


class Staff:
    """Keeps a worker at each place of a transport; `lines` lead to those that are ready.

    They start when they are needed first: `begin`. `notice` is told of every loss. Use it as a context manager.
    """

    def __init__(self, transport: Transport, stop: Event, notice: Callable[[str], None]) -> None:
        self.transport, self.stop, self.notice = transport, stop, notice
        self.lines: list[Line] = []
        self.starting: dict[str, list[Line]] = {}  # by place
        self.place_of: dict[Line, str] = {}
        self.failed: Counter[str] = Counter()  # starts in a row, by place
        self.changes = 0  # how often a worker got ready or was lost
        self.looked = time.monotonic()  # for workers that hang

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()

    def begin(self) -> None:
        """Start the workers, where they are not yet, and wait until they are ready. Raises WorkerError."""
        if self.place_of:
            return
        with doing("starting workers"):
            self.follow()
            while not self.lines or self._starting():
                self.wait(())

    def _starting(self) -> list[Line]:
        return [line for lines in self.starting.values() for line in lines]

    def follow(self) -> None:
        """Start workers at the places that have none."""
        missing = Counter(self.transport.places())
        missing.subtract(self.place_of.values())
        for place in missing.elements():
            line = self.transport.start(place)
            self.place_of[line] = place
            self.starting.setdefault(place, []).append(line)

    def wanted(self) -> int:
        """How many workers there should be."""
        return len(self.transport.places())

    def wait(self, lines: Sequence[Line]) -> list[Line]:
        """The lines of `lines` whose call has ended or whose worker is lost, after LOOK_S at most.

        Workers that get ready meanwhile are added to `lines`. Raises Interrupted after a stop.
        """
        if self.stop.is_set():
            raise Interrupted
        starting = self._starting()
        ended = self.transport.wait([*lines, *starting], LOOK_S)
        for line in starting:
            if line in ended:
                self._started(line)
            elif (fault := line.signs.fault()) is not None:
                self._fails(line, fault)
        found = [line for line in ended if line not in starting]
        if time.monotonic() - self.looked > HANGING_S:
            self.looked = time.monotonic()
            found += [line for line in lines if line not in ended and line.signs.fault() is not None]
        return found

    def _started(self, line: Line) -> None:
        """Take a worker in whose first call has ended. Raises WorkerError where it differs, or never gets ready."""
        try:
            about = line.answer()
        except MtlsearchError as error:
            raise WorkerError(f"worker {line.name} cannot start: {error}") from None
        except WorkerDied as error:
            self._fails(line, str(error))
            return
        except Exception as error:
            raise WorkerError(f"worker {line.name} died at its start: {kind_and_line(error)}") from error
        differing = [f"{name} {about[name]}, here {here}" for name, here in versions().items() if about[name] != here]
        if differing:
            raise WorkerError(f"worker {line.name} has {'; '.join(differing)}: install the same versions there")
        self.failed[self.place_of[line]] = 0
        self.starting[self.place_of[line]].remove(line)
        self.lines.append(line)
        self.changes += 1

    def _fails(self, line: Line, why: str) -> None:
        """Try again after a worker that did not get ready. Raises WorkerError where no worker ever got ready.

        And after MOST_STARTS in a row at one place.
        """
        place = self.place_of.pop(line)
        self.starting[place].remove(line)
        line.kill()
        self.transport.gone(line)
        self.failed[place] += 1
        if not self.changes or self.failed[place] == MOST_STARTS:
            raise WorkerError(f"worker {line.name} died at its start: {why}")
        self.follow()

    def answer(self, line: Line) -> Any:
        """Wait for the end of the call on a line, and give its value. Raises its error, or WorkerDied."""
        while not self.transport.wait([line], LOOK_S):
            if (fault := line.signs.fault()) is not None:
                raise WorkerDied(fault)
            if self.stop.is_set():
                raise Interrupted
        return line.answer()

    def lose(self, line: Line, why: str) -> None:
        """Give a worker up, and start another one in its place."""
        self.notice(f"worker {line.name} is lost ({why}): another one is started")
        self.restart(line)

    def restart(self, line: Line) -> None:
        """End a worker, and start another one in its place."""
        self.lines.remove(line)
        self.changes += 1
        del self.place_of[line]
        line.kill()
        self.transport.gone(line)
        self.follow()

    def parcel(self, training: Training) -> Parcel:
        """The training as workers can open it, until it is discarded."""
        with doing("giving the data to the workers"):
            return self.transport.parcel(pack(training))

    def discard(self, parcel: Parcel) -> None:
        self.transport.discard(parcel)


def conditions_at(line: Line, conditions: Conditions) -> Conditions:
    """The conditions of trials that a worker trains."""
    import torch

    return replace(conditions, device=torch.device(line.device), worker=line.name)

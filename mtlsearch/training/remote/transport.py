"""What carries calls to workers: a transport starts them, and a line leads to each.

A line carries one call at a time. `Transport.wait` is where a driver waits for all of them at once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mtlsearch.training.remote.parcel import Packed, Parcel

# The limits after which a worker is taken for hanging, in seconds; docs/distributed.md tells them.
SILENT_S = 60.0  # without any sign of life
STUCK_S = 900.0  # with signs of life, but in a call without a step of training; compiling a step takes minutes
START_S = 180.0  # from its start until it is ready


class WorkerDied(Exception):
    """A worker is gone, or hangs; the message says how it ended."""


class RemoteTraceback(Exception):
    """The traceback of an error in a worker, shown as the cause of the error."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@dataclass
class Signs:
    """The signs of life of a worker on the driver's clock: when it last gave one, and when its work last changed."""

    begun: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)
    pulse: tuple[str, int, int] = "", 0, 0  # its activity, the steps of it that are done, and all of them
    is_ready: bool = False

    def take(self, pulse: tuple[str, int, int]) -> None:
        """Take in a pulse that has just come."""
        self.seen = time.monotonic()
        if pulse != self.pulse:
            self.pulse, self.moved = pulse, self.seen

    def begin(self) -> None:
        """Note that a call begins."""
        self.moved = time.monotonic()

    def fault(self) -> str | None:
        """Why the worker, which has a call to do, is taken for hanging; None where it is not."""
        now = time.monotonic()
        if not self.is_ready:
            return f"it was not ready {START_S:.0f} s after its start" if now - self.begun > START_S else None
        if now - self.seen > SILENT_S:
            return f"it gave no sign of life for {SILENT_S:.0f} s"
        if now - self.moved > STUCK_S:
            return f"it took no step for {STUCK_S:.0f} s"
        return None


class Line(Protocol):
    """Leads to one worker, called `name`, on a `device` of some machine."""

    name: str
    device: str
    signs: Signs

    def call(self, method: str, *arguments: Any) -> None:
        """Begin a call of a method of `Worker`; the line carries no other one now."""

    def answer(self) -> Any:
        """The value of the call that `Transport.wait` has found ended. Raises its error, or WorkerDied."""

    def stop(self) -> None:
        """Let training end at its next step."""

    def kill(self) -> None:
        """End the worker at once, whatever it does."""


class Transport(Protocol):
    """Starts workers of one kind, with so many CPU `threads` each."""

    threads: int

    def places(self) -> Sequence[str]:
        """The places at which workers should be now, one for each; the same place may be there several times."""

    def start(self, place: str) -> Line:
        """Start a worker; its first call, `about`, is begun."""

    def wait(self, lines: Sequence[Line], seconds: float) -> list[Line]:
        """The lines whose call has ended, or whose worker has died; after `seconds` none."""

    def gone(self, line: Line) -> None:
        """Take note that the worker of a line has ended."""

    def parcel(self, packed: Packed) -> Parcel:
        """The packed training as something that workers can open; it lasts until `discard`."""

    def discard(self, parcel: Parcel) -> None:
        """Free a parcel's memory."""

    def close(self) -> None:
        """End all workers, and free what is left."""

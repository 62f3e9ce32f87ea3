"""The activity of the program now, told by the code that does it; `Progress` shows it.

There is one program, so its activities are one stack: the deepest is shown. Importing this module is cheap.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Interrupted(Exception):
    """Training was stopped in the middle of an epoch; no member has advanced."""


@dataclass(eq=False)
class Activity:
    """Some work in words, since when it goes on, and how much of it is done; a `total` of 0 is unknown."""

    text: str
    began: float
    total: int = 0
    done: int = 0

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def __str__(self) -> str:
        share = f"{100 * self.share:.0f} %, " if self.total else ""
        return f"{self.text} ({share}{time.monotonic() - self.began:.0f} s)"


_activities: list[Activity] = []
_stoppable: list[None] = []


@contextmanager
def doing(text: str, total: int = 0) -> Iterator[None]:
    """Inside, `text` is what the program is doing; with a `total`, `advance` counts towards it."""
    activity = Activity(text, time.monotonic(), total)
    _activities.append(activity)
    try:
        yield
    finally:
        _activities.remove(activity)


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, an interruption may end the program at any point: nothing is in training, and nothing is being stored."""
    _stoppable.append(None)
    try:
        yield
    finally:
        _stoppable.pop()


def is_stoppable() -> bool:
    """Whether an interruption may end the program now."""
    return bool(_stoppable)


def advance(amount: int = 1) -> None:
    """Count `amount` more of the innermost work that has a total. It costs no more than an addition."""
    activity = counted()
    if activity is not None:
        activity.done += amount


def current() -> Activity | None:
    """The innermost activity."""
    return _activities[-1] if _activities else None


def counted() -> Activity | None:
    """The innermost activity that has a total."""
    return next((activity for activity in reversed(_activities) if activity.total), None)

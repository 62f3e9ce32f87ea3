"""The activity of the program now, told by the code that does it, and its pace; `Progress` shows both.

There is one program, so its activities are one stack: the deepest is shown. Importing this module is cheap.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

WINDOW_SECONDS = 20.0
LATER = 1.5  # times the time left, from which on a longer estimate replaces a shorter one


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
def doing(text: str, total: int = 0) -> Iterator[Activity]:
    """Inside, `text` is what the program is doing; with a `total`, `advance` counts towards it."""
    activity = Activity(text, time.monotonic(), total)
    _activities.append(activity)
    try:
        yield activity
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


class Pace:
    """Counts the epochs that trials train, from now on."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.trial_epochs = 0
        self.samples = deque([(self.began, 0)])  # times, and the trial-epochs until then
        self.trials_ended = self.epochs_of_ended = 0
        self.due: float | None = None

    def epoch_ended(self) -> None:
        """Count an epoch of a trial."""
        self.trial_epochs += 1
        now = time.monotonic()
        self.samples.append((now, self.trial_epochs))
        # One sample from before the window stays, so that epochs longer than the window have a rate too.
        while len(self.samples) > 1 and now - self.samples[1][0] > WINDOW_SECONDS:
            self.samples.popleft()

    def trial_ended(self, epochs: int) -> None:
        """Count a trial that ended after so many epochs."""
        self.trials_ended += 1
        self.epochs_of_ended += epochs

    def rate(self, under_way: float = 0.0) -> float:
        """Trial-epochs per second over the last seconds; `under_way` are trained since the last epoch ended."""
        since, before = self.samples[0]
        return (self.trial_epochs + under_way - before) / max(time.monotonic() - since, 1e-9)

    def rate_in_words(self, under_way: float = 0.0) -> str:
        """The rate with two digits or more; nothing before anything was trained."""
        rate = self.rate(under_way)
        if not rate:
            return ""
        return f"{rate:.1f} trial-epochs/s" if rate >= 1 else f"{rate:.2g} trial-epochs/s"

    def expect(self, not_begun: int, in_training: Mapping[int, int], epochs: int, most: float | None = None) -> None:
        """Estimate the end anew, from the trials not begun yet and how many are in training by their epochs.

        With a budget, `most` are the trial-epochs that it leaves.

        A trial is expected to train for as many epochs as those that ended and one that trains all `epochs`. An end
        that is a little later than expected before is taken as noise, so that the time left does not grow at each look.
        """
        now = time.monotonic()
        mean = (self.epochs_of_ended + epochs) / (self.trials_ended + 1)
        left_of = {done: max(mean - done, min(1.0, epochs - done)) for done in in_training}
        work = not_begun * mean + sum(many * left_of[done] for done, many in in_training.items())
        work = work if most is None else min(work, max(0.0, most))
        if not self.trial_epochs:
            return
        left = work * (now - self.began) / self.trial_epochs
        if self.due is None or now + left < self.due or left > LATER * (self.due - now):
            self.due = now + left

    def seconds_left(self) -> float | None:
        """The time until the expected end, None before the first epoch has ended."""
        return None if self.due is None else max(0.0, self.due - time.monotonic())

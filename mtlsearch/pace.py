"""The pace of a search: trial-epochs per second, and the time that is left."""

import time
from collections import deque
from collections.abc import Sequence

WINDOW_SECONDS = 20.0
LATER = 1.5  # times the time left, from which on a longer estimate replaces a shorter one


class Pace:
    """Counts the epochs that trials train, from now on."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.trial_epochs = 0
        self.samples = deque([(self.began, 0)])  # times, and the trial-epochs until then
        self.ended: list[int] = []  # the epochs of each trial that ended
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
        self.ended.append(epochs)

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

    def expect(self, not_begun: int, in_training: Sequence[int], epochs: int, most: float | None = None) -> None:
        """Estimate the end anew, from the trials not begun yet and the epochs of those in training.

        With a budget, `most` are the trial-epochs that it leaves.

        A trial is expected to train for as many epochs as those that ended and one that trains all `epochs`. An end
        that is a little later than expected before is taken as noise, so that the time left does not grow at each look.
        """
        now = time.monotonic()
        mean = (sum(self.ended) + epochs) / (len(self.ended) + 1)
        work = not_begun * mean + sum(max(mean - done, min(1.0, epochs - done)) for done in in_training)
        work = work if most is None else min(work, max(0.0, most))
        if not self.trial_epochs:
            return
        left = work * (now - self.began) / self.trial_epochs
        if self.due is None or now + left < self.due or left > LATER * (self.due - now):
            self.due = now + left

    def seconds_left(self) -> float | None:
        """The time until the expected end, None before the first epoch has ended."""
        return None if self.due is None else max(0.0, self.due - time.monotonic())

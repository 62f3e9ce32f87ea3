"""A watcher of a search that also tells trackers, in a thread of its own: a slow server does not hold the search up."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import one_line
from mtlsearch.report.tracking.tracker import SCORE, Tracker, begin, end, named
from mtlsearch.store.record import Record
from mtlsearch.study.results import EpochResult
from mtlsearch.wording import message_line

PATIENCE_S = 60.0  # for what is still to be told at the end
Tell = Callable[[Tracker], None]


class Tracked:
    """A watcher: all that it hears goes to `watcher`, and the trials of `record` to the trackers too.

    A tracker that fails is told nothing more; the search goes on, and the store has everything.
    """

    def __init__(self, watcher: Any, record: Record, trackers: Sequence[Tracker]) -> None:
        self.watcher, self.record, self.trackers = watcher, record, list(trackers)
        self.told: set[int] = set()  # trials that the trackers know
        self.news: queue.SimpleQueue[Tell | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="mtlsearch-tracking", daemon=True)
        self.thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.watcher, name)

    def reported(self, result: EpochResult) -> None:
        """An epoch of a trial is stored."""
        self.watcher.reported(result)
        self._know(result.number)
        values = {SCORE: result.score, **named(result.validation)}
        self.news.put(lambda tracker: tracker.epoch(result.number, result.epoch, values))

    def ended(self, trial: FrozenTrial) -> None:
        """A trial's outcome is in the store."""
        self.watcher.ended(trial)
        self._know(trial.number)
        if trial.state is not TrialState.RUNNING:
            self.news.put(lambda tracker: end(tracker, trial))

    def _know(self, number: int) -> None:
        """Tell of a trial before the first thing about it."""
        if number not in self.told:
            self.told.add(number)
            trial = self.record.trial(number)
            self.news.put(lambda tracker: begin(tracker, trial))

    def close(self, verdict: Mapping[str, Any] | None = None) -> None:
        """Tell the verdict where there is one, and that this is all."""
        if verdict is not None:
            self.news.put(lambda tracker: tracker.concluded(verdict))
        self.news.put(lambda tracker: tracker.close())
        self.news.put(None)
        self.thread.join(PATIENCE_S)
        if self.thread.is_alive():
            self.watcher.notice("tracking is too slow and was given up; `mtlsearch trials --to` tells the rest")

    def _work(self) -> None:
        while (tell := self.news.get()) is not None:
            for tracker in list(self.trackers):
                try:
                    tell(tracker)
                except Exception as error:
                    self.trackers.remove(tracker)
                    name, why = type(tracker).__name__, message_line(f"{type(error).__name__}: {one_line(error)}", 200)
                    self.watcher.notice(f"{name} is told nothing more ({why}); the store has all trials")

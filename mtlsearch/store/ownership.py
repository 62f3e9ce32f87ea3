"""A lease on the trials in training, for processes of other hosts, which cannot look whether the owner lives.

The owner counts up a `beat` in each of its running trials. Whoever watches takes a trial for dead whose beat
stood still for EXPIRY_S seconds on the watcher's own monotonic clock: nobody's time of day matters.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from mtlsearch.errors import StoreError

BEAT_S = 10.0
EXPIRY_S = 60.0
Running = Callable[[], Iterable[optuna.Trial]]


class Heart:
    """A thread that renews the lease of the trials that `running` gives, until it is stopped or forgotten."""

    def __init__(self, running: Running) -> None:
        self._stopped = threading.Event()
        arguments = (weakref.WeakMethod(running), self._stopped)
        self._thread = threading.Thread(target=_beat, args=arguments, name="mtlsearch-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def _beat(running: "weakref.WeakMethod[Running]", stopped: threading.Event) -> None:
    count = 0
    while not stopped.wait(BEAT_S):
        living = running()
        if living is None:
            return
        count += 1
        for trial in living():
            try:
                trial.storage.set_trial_user_attr(trial._trial_id, "beat", count)
            except (UpdateFinishedTrialError, KeyError):
                continue  # it has just ended
            except StoreError:
                break  # the search meets the same error, and tells it
        del living


class Watch:
    """What one process has seen of other hosts' beats."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}  # by trial id: the sign of life, and since when

    def expired(self, trial: FrozenTrial) -> bool:
        """Whether a running trial has shown no sign of life for EXPIRY_S seconds, as far as was looked."""
        sign = trial.user_attrs.get("beat"), len(trial.intermediate_values), len(trial.user_attrs)
        before, since = self._seen.get(trial._trial_id, (None, 0.0))
        if before != sign:
            self._seen[trial._trial_id] = sign, time.monotonic()
            return False
        return time.monotonic() - since > EXPIRY_S

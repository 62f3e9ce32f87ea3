"""The owner of a trial, and whether it still lives: known exactly on its own host, by a lease elsewhere.

The owner is the process that trains a trial. Processes of the same host look whether it still runs. Processes of
other hosts cannot, so the owner counts up a `beat` in each of its running trials, and a trial is taken for dead when
its beat stands still for EXPIRY_S seconds on the watcher's own monotonic clock: no clock of two hosts is compared.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mtlsearch.errors import StoreError
from mtlsearch.processes import Owner, is_alive, is_here

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

BEAT_S = 10.0
LEFT = "left"  # of an owner
EXPIRY_S = 60.0

Running = Callable[[], Iterable["Trial"]]


def leaving(owner: Owner) -> Owner:
    """The owner, who trains its trial no more although its process may live."""
    return {**owner, LEFT: True}


# The lease.


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
    from optuna.exceptions import (
        UpdateFinishedTrialError,
    )  # Optuna is slow to import, and an owner does not need it

    count, signs = 0, dict[int, tuple[int, int]]()
    while not stopped.wait(BEAT_S):
        living = running()
        if living is None:
            return
        count += 1
        before, signs = signs, {}
        for trial in living():
            try:
                stored, number = trial.storage.get_trial(trial._trial_id), trial._trial_id
                # One that has reported since the last beat has given a sign of life itself.
                signs[number] = len(stored.intermediate_values), len(stored.user_attrs)
                if before.get(number) == signs[number]:
                    trial.storage.set_trial_user_attr(number, "beat", count)
            except (UpdateFinishedTrialError, KeyError):
                continue  # the trial has just ended
            except StoreError:
                break  # the search meets the same error, and reports it
        del living


class Watch:
    """The signs of life that one process has seen of running trials."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}  # by trial id: the last sign, and when it came

    def lives(self, trial: "FrozenTrial") -> bool:
        """Whether the owner of a running trial lives, as far as this process can know."""
        owner = trial.user_attrs.get("owner")
        if owner is not None and owner.get(LEFT):
            return False
        if owner is not None and is_here(owner):
            return is_alive(owner)
        return not self.expired(trial)

    def expired(self, trial: "FrozenTrial") -> bool:
        """Whether a running trial has shown no sign of life for EXPIRY_S seconds, since the first look at it."""
        sign = trial.user_attrs.get("beat"), len(trial.intermediate_values), len(trial.user_attrs)
        before, since = self._seen.get(trial._trial_id, (None, 0.0))
        if before != sign:
            self._seen[trial._trial_id] = sign, time.monotonic()
            return False
        return time.monotonic() - since > EXPIRY_S

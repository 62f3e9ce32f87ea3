"""A lease on the trials in training, for processes of other hosts, which cannot look whether the owner lives.

The owner counts up a `beat` in each of its running trials. Whoever watches takes a trial for dead whose beat
stood still for EXPIRY_S seconds on the watcher's own monotonic clock: nobody's time of day matters.
"""

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

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


Owner = dict[str, Any]


def this_process() -> Owner:
    """This process: host, namespace and boot id, process id, and its start in clock ticks since the boot."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> Owner:
    # By process id, since a forked process inherits what its parent has cached.
    owner = {"host": socket.gethostname(), "boot_id": _boot_id(), "pid": pid, "started": _started(pid)}
    return {**owner, "namespace": _namespace()}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether `owner` ran on this host, in sight of this process, so that its life can be told exactly."""
    # Two containers may share a host name, and then neither sees the other's processes.
    return owner.get("host") == socket.gethostname() and owner.get("namespace") == _namespace()


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether a process of this host still runs: the same boot, process id and start."""
    started = _started(int(owner.get("pid", -1)))
    return owner.get("boot_id") == _boot_id() and started is not None and owner.get("started") == started


@cache
def _namespace() -> str:
    """The namespace of this process's ids; empty where the system has none."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """The start of process `pid`, None where there is none; −1 where the system does not tell starts."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return -1
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not looked yet.
    return None if state in "ZX" else int(fields[18])

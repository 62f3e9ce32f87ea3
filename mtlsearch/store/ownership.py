"""The owner of a trial, and whether it still lives: known exactly on its own host, by a lease elsewhere.

The owner is the process that trains a trial. Processes of the same host look whether it still runs. Processes of
other hosts cannot, so the owner counts up a `beat` in each of its running trials, and a trial is taken for dead when
its beat stands still for EXPIRY_S seconds on the watcher's own monotonic clock: no clock of two hosts is compared.
"""

import hashlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlsearch.errors import StoreError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

BEAT_S = 10.0
EXPIRY_S = 60.0

Owner = dict[str, Any]
Running = Callable[[], Iterable["Trial"]]

# The owner.


def this_process() -> Owner:
    """This process: host, boot id, process id, start in clock ticks since the boot, and namespace of ids."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> Owner:
    # By process id, since a forked process inherits what its parent has cached.
    owner = {"host": socket.gethostname(), "boot_id": _boot_id(), "pid": pid, "started": _started(pid)}
    return {**owner, "namespace": _namespace()}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether `owner` ran on this host and in this process's namespace, where its process can be looked for."""
    # Two containers may share a host name, and then neither sees the other's processes.
    return owner.get("host") == socket.gethostname() and owner.get("namespace") == _namespace()


def machine_of(owner: Mapping[str, Any]) -> str:
    """A short name, safe in a file's name, for the host, the boot and the namespace of an owner."""
    about = [str(owner.get(each)) for each in ("host", "boot_id", "namespace")]
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:16]


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

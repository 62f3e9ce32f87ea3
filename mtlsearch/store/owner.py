"""Who trains a running trial, and whether that process still lives."""

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

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

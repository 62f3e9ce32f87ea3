"""Who trains a running trial, and whether that process still lives."""

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

Owner = dict[str, Any]


def this_process() -> Owner:
    """This process: host, boot id, process id, and its start in clock ticks since the boot."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> Owner:
    # By process id, since a forked process inherits what its parent has cached.
    return {"host": socket.gethostname(), "boot_id": _boot_id(), "pid": pid, "started": _started(pid)}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether `owner` ran on this host, so that its life can be told exactly."""
    return owner.get("host") == socket.gethostname()


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether a process of this host still runs: the same boot, process id and start."""
    started = _started(int(owner.get("pid", -1)))
    return owner.get("boot_id") == _boot_id() and started is not None and owner.get("started") == started


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

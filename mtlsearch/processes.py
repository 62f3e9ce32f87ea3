"""Processes: who this one is, whether another still lives, and the folders in which one that died was writing."""

import contextlib
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

STALE_S = 86_400.0  # the age at which an unfinished folder is given up where its process cannot be looked for

Owner = dict[str, Any]


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


def same(one: object, other: Owner) -> bool:
    """Whether two owners are one process."""
    return isinstance(one, Mapping) and all(one.get(key) == value for key, value in other.items())


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


@contextlib.contextmanager
def unfinished(folder: Path, about: str) -> Iterator[Path]:
    """A folder below `folder` for what is being written; it is gone afterwards, or cleared after this process's death.

    Its name begins with `about` and tells the process: host and boot, process id, start.
    """
    import tempfile

    owner = this_process()
    prefix = f"{about}-{machine_of(owner)}-{owner['pid']}-{owner['started']}-"
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as name:
        yield Path(name)


def clear_unfinished(folder: Path, about: str) -> None:
    """Remove what dead processes left `unfinished` in a folder; what cannot be removed stays.

    Only folders of exactly that kind of name are removed: the folder may be a user's own.
    """
    import shutil

    name = re.compile(re.escape(about) + r"-([0-9a-f]{16})-(\d+)-(-?\d+)-\w{8}")
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            made_by = name.fullmatch(path.name)
            if made_by and path.is_dir() and not path.is_symlink() and _is_left(path, *made_by.groups()):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(unfinished: Path, machine: str, pid: str, started: str) -> bool:
    """Whether the process that made the folder has ended; by the folder's age where nobody here can know."""
    if machine == machine_of(this_process()):
        return not is_alive({**this_process(), "pid": pid, "started": int(started)})
    return time.time() - unfinished.stat().st_mtime > STALE_S

"""Two ways to make the k-th operation of a process fail, tear or kill: a preloaded shim, and a layer in Python.

The shim (`fault_shim.c`) sees each system call of SQLite and of every library that changes a file below a folder. The
layer needs no compiler: it sees the statements and commits of SQLite, and the files that mtlsearch writes.
"""

import ctypes
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHIM = Path(__file__).with_name("fault_shim.c")
MODES = ("count", "fail", "full", "tear", "kill")  # in the order of the shim's enum
FAULTS = MODES[1:]


def built_shim(folder: Path) -> Path | None:
    """The shim as a library in `folder`, None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "fault_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


class Shim:
    """The preloaded library; it must be in LD_PRELOAD of this process."""

    name = "shim"

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.fault_seen.restype = ctypes.c_long

    def arm(self, folder: Path, k: int, mode: str) -> None:
        self._library.fault_arm(f"{folder}/".encode(), ctypes.c_long(k), MODES.index(mode))

    def seen(self) -> int:
        return int(self._library.fault_seen())


class PythonLayer:
    """Replaces, in this process, what mtlsearch calls to change a store or a file. It cannot be taken off again."""

    name = "python"

    def __init__(self) -> None:
        self._seen, self._k, self._mode = 0, -1, "count"

    def seen(self) -> int:
        return self._seen

    def arm(self, folder: Path, k: int, mode: str) -> None:
        self._k, self._mode, layer = k, mode, self

        class Cursor(sqlite3.Cursor):
            def execute(self, *arguments: Any) -> Any:
                layer.step_of_sqlite(not arguments[0].lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")))
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> Any:
                layer.step_of_sqlite(True)
                return super().executemany(*arguments)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def commit(self) -> None:
                layer.step_of_sqlite(self.in_transaction)
                super().commit()

        connect = sqlite3.connect
        sqlite3.connect = lambda *arguments, **options: connect(*arguments, **{**options, "factory": Connection})
        for name in ("write_bytes", "write_text", "replace", "unlink", "mkdir"):
            setattr(Path, name, self._stepping(getattr(Path, name), folder, name.startswith("write")))

    def step_of_sqlite(self, changes: bool) -> None:
        """Count an operation on a store. Raises sqlite3.OperationalError as SQLite would."""
        error = self._fate() if changes else 0
        if error:
            raised = sqlite3.OperationalError("database or disk is full" if error == errno.ENOSPC else "disk I/O error")
            raised.sqlite_errorname = "SQLITE_FULL" if error == errno.ENOSPC else "SQLITE_IOERR"
            raise raised

    def _fate(self) -> int:
        k, self._seen = self._seen, self._seen + 1
        if self._mode == "full":
            return errno.ENOSPC if k >= self._k else 0
        if k != self._k:
            return 0
        if self._mode in ("kill", "tear"):
            os.kill(os.getpid(), signal.SIGKILL)
        return errno.EIO if self._mode == "fail" else 0

    def _stepping(self, method: Callable[..., Any], folder: Path, tears: bool) -> Callable[..., Any]:
        def step(path: Path, *arguments: Any, **options: Any) -> Any:
            if not path.absolute().is_relative_to(folder):
                return method(path, *arguments, **options)
            if tears and self._mode == "tear" and self._seen == self._k:
                method(path, arguments[0][: len(arguments[0]) // 2], *arguments[1:], **options)
            error = self._fate()
            if error and not (self._mode == "full" and method.__name__ in ("replace", "unlink")):
                raise OSError(error, os.strerror(error))
            return method(path, *arguments, **options)

        return step

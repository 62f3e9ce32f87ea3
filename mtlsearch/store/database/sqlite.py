"""SQLite files: look into a file without changing it, give a new file its tables, connect to it.

A file is opened read-only first, so that a file of another program stays as it is.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from optuna.storages import RDBStorage

from mtlsearch.errors import StoreError


@dataclass(frozen=True)
class Look:
    """The contents of a file: whether it exists, its tables, and the revision of Optuna's schema (None: no schema)."""

    exists: bool
    tables: frozenset[str] = frozenset()
    revision: str | None = None


def look(path: Path, timeout: float) -> Look:
    """Look into a file; neither the file nor its folder changes.

    Raises StoreError where it is not a file or not a SQLite database, sqlite3.Error where it cannot be read.
    """
    if not path.exists():
        return Look(exists=False)
    _check_readable(path)
    with closing(connect_read_only(path, timeout, read_only_mode(path))) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = frozenset(name for (name,) in rows if not name.startswith("sqlite_"))
        revision = None
        if "alembic_version" in tables and "studies" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            revision = row and str(row[0])
    return Look(True, tables, revision)


def _check_readable(path: Path) -> None:
    """Raise StoreError for what is no file, or may not be read; SQLite itself tells whether it is a database.

    The file is not opened here: closing it would drop the locks that SQLite holds on it for other connections of this
    process (POSIX), and then another process, which thinks itself the last one, removes the `-wal` in use.
    """
    if not path.is_file():
        raise StoreError(f"store {path}: it is not a file; name one, such as sqlite:///{path}/mtlsearch.db")
    if not os.access(path, os.R_OK):
        raise StoreError(f"store {path}: it cannot be read (permission denied); correct its permissions")


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that writes; a commit survives a crash of the process, not always a crash of the machine."""
    connection = sqlite3.connect(_uri(path, "mode=rw"), uri=True, timeout=timeout, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def read_only_mode(path: Path) -> str:
    """The mode in which all connections of one reader read the file; it is chosen before the first.

    Where there is a `-wal` file, `mode=ro` reads it and never moves its content into the database. Where there is
    none, `mode=ro` would leave an empty one behind, which `query_only` removes; and in a folder that is not
    writable only `immutable` can read a WAL database. A later connection would find the `-wal` of the first one, read
    with `mode=ro`, and leave it behind where it is the last to close.
    """
    if Path(f"{path}-wal").exists():
        return "mode=ro"
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return "mode=rw" if writable else "immutable=1"


def connect_read_only(path: Path, timeout: float, mode: str) -> sqlite3.Connection:
    """A connection in the mode of `read_only_mode`: it changes no byte of the file and leaves none beside it."""
    connection = sqlite3.connect(_uri(path, mode), uri=True, timeout=timeout, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    return connection


def use_wal(path: Path, timeout: float) -> None:
    """Let readers and the writer of this file work independently; the setting stays in the file.

    The file keeps its mode where the file system cannot do so (some network shares) or another program is reading.
    """
    with closing(connect(path, timeout)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            return


def make_schema(path: Path, timeout: float) -> None:
    """Give a new or empty file Optuna's tables; any number of processes may do so at once.

    One transaction checks and creates. A process that dies in it leaves an empty file, which the next one fills.
    Raises StoreError where the folder is missing or not writable.
    """
    if not path.parent.is_dir():
        raise StoreError(f"store {path}: its folder does not exist; run mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"store {path}: its folder is not writable; choose another with --storage")
    with closing(sqlite3.connect(path, timeout=timeout, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _schema():
                connection.execute(statement)
        connection.execute("COMMIT")


@lru_cache(maxsize=1)
def _schema() -> tuple[str, ...]:
    """The statements that make Optuna's own tables and version rows."""
    storage = RDBStorage("sqlite:///:memory:")
    with storage.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        statements = tuple(raw.iterdump())
    storage.engine.dispose()
    return tuple(s for s in statements if s not in ("BEGIN TRANSACTION;", "COMMIT;"))


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{mode}"

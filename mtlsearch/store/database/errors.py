"""Storage URLs that are allowed, and one line for each way in which a database fails.

`mask_password` and `parse_url` look at the URL; `store_error` turns a driver's exception into a StoreError.
"""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from mtlsearch.errors import StoreError
from mtlsearch.files import check_path

EXAMPLES = "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError, sqlite3.Error)
AGAIN = "then run the same command again: finished trials are kept"

# The beginning of SQLite's error name, and its meaning for a person who runs a search.
_SQLITE = {
    "SQLITE_FULL": f"its disk is full; free some space, {AGAIN}",
    "SQLITE_BUSY": "another process kept it locked for more than {timeout:g} s; end that process "
    f"(`fuser {{where}}` names it), {AGAIN}",
    "SQLITE_LOCKED": "another connection kept it locked for more than {timeout:g} s; close that one, " + AGAIN,
    "SQLITE_READONLY": f"it cannot be written; make the file and its folder writable, {AGAIN}",
    "SQLITE_PERM": f"access is denied; make the file and its folder writable, {AGAIN}",
    "SQLITE_CANTOPEN": "it cannot be opened; check that its folder exists and is writable",
    "SQLITE_IOERR": f"reading or writing its disk failed ({{detail}}); check the disk, {AGAIN}",
    "SQLITE_NOTADB": "it is not a SQLite database; choose another file with --storage sqlite:///FILE",
    "SQLITE_CORRUPT": "it is damaged; restore a copy, or choose another file with --storage sqlite:///FILE",
}
# PostgreSQL's SQLSTATE, or its class.
_POSTGRES = {
    "55P03": f"another session kept a row locked for more than {{timeout:g}} s; end that session, {AGAIN}",
    "53100": f"the server's disk is full; free some space, {AGAIN}",
    "25006": "it is read-only; use a server and a role that may write",
    "3D000": "that database does not exist; make it with `createdb`, or name another one",
    "28": "the server refused the login ({detail}); put the password into the file that PGPASSFILE names",
    "42501": "the role may not do that ({detail}); grant it the rights on the database",
}
# A failed login has no SQLSTATE in psycopg, only the server's words.
_LOGIN = {
    "does not exist": _POSTGRES["3D000"],
    "authentication": _POSTGRES["28"],
    "password": _POSTGRES["28"],
}
_UNREACHABLE = "the server cannot be reached ({detail}); start it or correct the address, " + AGAIN


def mask_password(url: str) -> str:
    """The URL with `***` for every password in it; works on broken URLs too."""
    url = re.sub(r"(://[^:/@]*:).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", url)


def parse_url(url: str) -> URL:
    """The parsed URL of a store.

    Raises StoreError for a plain path, for another kind of database, and where the driver is not installed.
    """
    if not url.isprintable():
        raise StoreError(f"a storage URL is one line of printable text, but got {mask_password(url)!r}")
    if "://" not in url:
        raise StoreError(f"--storage takes a URL, but got {url!r}: for that file write sqlite:///{url}")
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError) as e:
        raise StoreError(f"cannot read the storage URL {mask_password(url)!r}: write {EXAMPLES}") from e
    if kind not in ("sqlite", "postgresql"):
        raise StoreError(f"a store cannot be kept in {kind!r} ({mask_password(url)}): write {EXAMPLES}")
    _check_driver(parsed)
    if kind == "sqlite" and parsed.query:
        raise StoreError(f"a SQLite store's URL takes no options, but got {mask_password(url)!r}: write {EXAMPLES}")
    if kind == "sqlite" and (parsed.database or ":memory:").startswith((":memory:", "file:")):
        raise StoreError(f"a SQLite store is a file, but got {mask_password(url)!r}: write sqlite:///FILE")
    if kind == "sqlite":
        path = Path(str(parsed.database))
        check_path(path)
        if path.name in ("", "..") or path.is_dir():
            raise StoreError(f"a SQLite store is a file, but {path} is a folder: write sqlite:///FILE")
    return parsed


def _check_driver(url: URL) -> None:
    try:
        url.get_dialect().import_dbapi()
    except (NoSuchModuleError, ArgumentError) as e:
        raise StoreError(f"unknown database driver {url.drivername!r}: write {EXAMPLES}") from e
    except ImportError as e:
        if url.drivername == "postgresql+psycopg":
            raise StoreError("PostgreSQL needs a driver: run pip install 'mtlsearch[postgres]'") from e
        raise StoreError(
            f"the driver of {url.drivername!r} is not installed: run pip install 'mtlsearch[postgres]' "
            "and write postgresql+psycopg://USER@HOST/DATABASE"
        ) from e


def where(url: URL) -> str:
    """The store in a message: its file, or its URL without the password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return mask_password(url.render_as_string(hide_password=False))


def store_error(url: URL, error: BaseException, timeout: float) -> StoreError:
    """The StoreError for a driver's exception: in one line what is wrong, and what to do next."""
    driver_error = _driver_error(error)
    lines = str(driver_error).strip().splitlines() or [type(driver_error).__name__]
    detail = _without_password(lines[0], url)
    line = _line(driver_error).format(where=where(url), timeout=timeout, detail=detail)
    return StoreError(f"store {where(url)}: {line}")


def is_disconnect(url: URL, error: BaseException) -> bool:
    """Whether the connection to a server was lost or refused, so that another try can help."""
    if url.get_backend_name() == "sqlite":
        return False
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    # 57P: the server is stopping or starting. A failed connect has neither a state nor a statement.
    return error.connection_invalidated or state.startswith("57P") or (not state and error.statement is None)


def _driver_error(error: BaseException) -> BaseException:
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    return getattr(error, "orig", None) or error


def _line(error: Any) -> str:
    name, state = getattr(error, "sqlite_errorname", None), getattr(error, "sqlstate", None)
    if name:
        return _first(_SQLITE, name.startswith) or "the database reports: {detail}"
    if state:
        return _first(_POSTGRES, state.startswith) or "the server reports: {detail}"
    if type(error).__module__.startswith("psycopg"):
        return _first(_LOGIN, str(error).__contains__) or _UNREACHABLE
    return "the database reports: {detail}"


def _first(lines: dict[str, str], fits: Callable[[str], bool]) -> str | None:
    return next((line for prefix, line in lines.items() if fits(prefix)), None)


def _without_password(text: str, url: URL) -> str:
    for secret in {str(url.password or ""), unquote(str(url.password or ""))} - {""}:
        text = text.replace(secret, "***")
    return text

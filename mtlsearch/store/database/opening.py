"""Opening the store of a URL: `open_storage` gives a `Storage`.

A SQLite file is looked into before it is opened. Only `create=True` makes a store or changes one.
"""

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from mtlsearch.errors import StoreError
from mtlsearch.store.database import sqlite
from mtlsearch.store.database.buffered import BufferedStorage
from mtlsearch.store.database.errors import DATABASE_ERRORS, mask_password, parse_url, store_error, where
from mtlsearch.store.database.rows import tables_are_known
from mtlsearch.store.database.storage import RECONNECT_S, Storage, is_counted

__all__ = ["RECONNECT_S", "Storage", "is_counted", "mask_password", "open_storage"]

TIMEOUT_S = 30.0
_LOCK_KEY = 0x6D746C73  # any number that all mtlsearch processes share: "mtls"
_OPTUNA_TABLES = frozenset({"studies", "trials", "version_info", "alembic_version"})


def open_storage(url: str, *, create: bool, timeout: float = TIMEOUT_S) -> Storage:
    """The store at `sqlite:///FILE` or `postgresql+psycopg://USER@HOST/DATABASE`.

    With `create` a missing store is made, and the storage writes. Without it, a missing store is a StoreError, and
    the storage only reads: it changes nothing in the file. `timeout` is how many seconds it waits for a lock.
    """
    parsed = parse_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed, create, timeout)
        return _open_postgres(parsed, create, timeout)
    except DATABASE_ERRORS as e:
        raise store_error(parsed, e, timeout) from e


def _open_sqlite(url: URL, create: bool, timeout: float) -> Storage:
    path = Path(str(url.database))
    found = sqlite.look(path, timeout)
    if not found.exists and not create:
        raise StoreError(f"store {path}: there is no such file; `mtlsearch run` makes it, --storage names another")
    if not found.tables and create:
        sqlite.make_schema(path, timeout)
        found = sqlite.look(path, timeout)
    _check_contents(path, found)
    connect = partial(sqlite.connect, path, timeout)
    if not create:
        connect = partial(sqlite.connect_read_only, path, timeout, sqlite.read_only_mode(path))
    storage = _wrap(url, create, timeout, {"creator": connect}, found.revision)
    storage.check_store = _check_same_file(path)
    if create:
        storage.before_first_write = partial(sqlite.use_wal, path, timeout)
    return storage


def open_engine(url: str, timeout: float = TIMEOUT_S) -> sa.Engine:
    """Connections to the database of a store that exists, for tables beside Optuna's; they write.

    On SQLite the file is set to WAL, so that a reader and a writer do not wait for each other.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        settings = {"connect_timeout": 10, "options": f"-c lock_timeout={int(timeout * 1000)}"}
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=settings)
    path = Path(str(parsed.database))
    sqlite.use_wal(path, timeout)
    return sa.create_engine("sqlite://", creator=partial(sqlite.connect, path, timeout), poolclass=sa.QueuePool)


def _check_contents(path: Path, found: sqlite.Look) -> None:
    if not found.tables:
        raise StoreError(f"store {path}: it is empty; `mtlsearch run` fills it, --storage names another")
    if found.tables.isdisjoint(_OPTUNA_TABLES):
        raise StoreError(f"store {path}: it belongs to another program; choose another file with --storage")
    if not found.tables >= _OPTUNA_TABLES or found.revision is None:
        raise StoreError(f"store {path}: it is not a whole Optuna store; choose another file with --storage")


def _check_same_file(path: Path) -> Callable[[], None]:
    """A check that the file is still the one that was opened: SQLite would go on writing to a deleted file."""
    opened = path.stat()

    def check() -> None:
        try:
            same = os.path.samestat(path.stat(), opened)
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"store {path}: the file was deleted or replaced while it was in use; put it back, or run"
                " the same command again to begin a new one"
            )

    return check


def _open_postgres(url: URL, create: bool, timeout: float) -> Storage:
    settings = f"-c lock_timeout={int(timeout * 1000)}"
    if not create:
        settings += " -c default_transaction_read_only=on"
    connect_args: dict[str, Any] = {"connect_timeout": 10}
    if "options" not in url.query:
        connect_args["options"] = settings
    options = {"pool_pre_ping": True, "connect_args": connect_args}
    engine = sa.create_engine(url, **options)
    try:
        with engine.connect() as connection:
            if create:
                # A second process waits until the first has made the tables; the end of the session unlocks.
                connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK_KEY)))
            tables = set(sa.inspect(connection).get_table_names())
            if not create and not tables >= _OPTUNA_TABLES:
                raise StoreError(f"store {where(url)}: it holds no studies; `mtlsearch run` makes the store")
            revision = None
            if tables >= _OPTUNA_TABLES:
                revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return _wrap(url, create, timeout, options, revision)
    finally:
        engine.dispose()


def _wrap(url: URL, create: bool, timeout: float, options: dict[str, Any], revision: str | None) -> Storage:
    # Optuna takes the URL for a template.
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    try:
        rdb = RDBStorage(text, engine_kwargs=options, skip_table_creation=revision is not None)
    except RuntimeError as e:
        raise _schema_error(url, revision) from e
    fast = tables_are_known(rdb.get_current_version())
    if not fast:
        warnings.warn(
            f"store {where(url)}: mtlsearch does not know the tables of this Optuna, so it stores through"
            " Optuna's public API, which is slower",
            stacklevel=4,
        )
    storage = (BufferedStorage if fast else Storage)(rdb, url, timeout=timeout, read_only=not create)
    plain_url = url.render_as_string(hide_password=False)
    storage.open_again = partial(open_storage, plain_url, create=create, timeout=timeout)
    return storage


def _schema_error(url: URL, revision: str | None) -> StoreError:
    """The error for a schema that the installed Optuna does not use; its owner can upgrade an older one."""
    return StoreError(
        f"store {where(url)}: another version of Optuna made it (schema {revision}); make a copy, then"
        f" `optuna storage upgrade --storage {mask_password(url.render_as_string())}`, or update Optuna with"
        " pip install -U optuna if that says it is newer"
    )

"""The stores keep Optuna's contract and ours, on every database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage, get_storage
from postgres_server import PostgresServer
from storage_contract import Again, OptunaContract, StoreContract

import mtlsearch.store.database.opening
from mtlsearch.store.database.opening import Storage, open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without studies; copying it is quicker than making one for every test."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    open_storage(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture
def url(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    with open_storage(url, create=True) as storage:
        yield storage


@pytest.fixture
def again(url: str) -> Again:
    return lambda: open_storage(url, create=True)


class TestInMemory(OptunaContract):
    @pytest.fixture
    def storage(self) -> BaseStorage:
        return InMemoryStorage()


class TestPlainOptuna(OptunaContract):
    @pytest.fixture
    def storage(self) -> BaseStorage:
        return get_storage(RDBStorage("sqlite:///:memory:"))

    test_pickle_storage = None  # a copy of an in-memory database is an empty one


class TestSqlite(StoreContract):
    """The store that `run` uses by default."""


@pytest.mark.filterwarnings("ignore:.*public API:UserWarning")
class TestFallback(StoreContract):
    """Optuna's public API alone, for tables that we do not know."""

    @pytest.fixture(autouse=True)
    def unknown_tables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mtlsearch.store.database.opening, "tables_are_known", lambda revision: False)


class TestPostgres(StoreContract):
    @pytest.fixture
    def url(self, server: PostgresServer) -> str:
        open_storage(server.url(), create=True).close()
        engine = sa.create_engine(server.url())
        with engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE studies RESTART IDENTITY CASCADE"))
        engine.dispose()
        return server.url()

"""Opening a store: what a URL may say, and files that are missing, foreign, old, broken or only to be read."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import TrialState
from postgres_server import PASSWORD, PostgresServer

import mtlsearch.store.database.opening
from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import mask_password, open_engine, open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def plain_optuna_store(path: Path) -> None:
    """A store as `optuna.create_study` makes it, without mtlsearch."""
    rdb = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(study_name="theirs", storage=rdb)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    rdb.engine.dispose()


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def our_store(path: Path) -> None:
    with open_storage(f"sqlite:///{path}", create=True) as storage:
        study = optuna.create_study(study_name="ours", storage=storage)
        study.tell(study.ask(), 1.0)


def with_revision(revision: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        plain_optuna_store(path)
        run_sql(path, f"UPDATE alembic_version SET version_num = '{revision}'")

    return make


def wal_of_a_killed_process(path: Path) -> None:
    """A store whose last commits are still in the file `-wal`."""
    work = path.parent / "elsewhere"
    work.mkdir()
    storage = open_storage(f"sqlite:///{work / path.name}", create=True)
    optuna.create_study(study_name="ours", storage=storage).enqueue_trial({"x": 1})
    storage.flush()
    for file in work.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, path.parent)
    storage.close()
    shutil.rmtree(work)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("hello, this is a diary\n"), "it is not a SQLite database"),
    "short text": (lambda p: p.write_bytes(b"SQLite"), "it is not a SQLite database"),
    "half a database": (
        lambda p: p.write_bytes(b"SQLite format 3\0" + b"\7" * 5000),
        "it is not a SQLite database|it is damaged",
    ),
    "another program's": (lambda p: run_sql(p, "CREATE TABLE notes (text)"), "it belongs to another program"),
    "some of Optuna's tables": (
        lambda p: run_sql(p, "CREATE TABLE studies (x)", "CREATE TABLE mine (x)"),
        "it is not a whole Optuna store",
    ),
    "older Optuna": (with_revision("v2.4.0.a"), r"another version of Optuna made it \(schema v2\.4\.0\.a\)"),
    "newer Optuna": (with_revision("v9.0.0.a"), r"another version of Optuna made it \(schema v9\.0\.0\.a\)"),
    "folder": (lambda p: p.mkdir(), "a SQLite store is a file, but .* is a folder"),
}


@pytest.mark.parametrize("create", [False, True], ids=["reading", "writing"])
@pytest.mark.parametrize("kind", REFUSED)
def test_file_that_is_no_store_is_refused_in_one_line_and_left_as_it_is(
    path: Path, url: str, kind: str, create: bool
) -> None:
    make, message = REFUSED[kind]
    make(path)
    before = contents(path.parent)
    with pytest.raises(StoreError, match=message) as e:
        open_storage(url, create=create)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
    assert contents(path.parent) == before


@pytest.mark.parametrize("make", [plain_optuna_store, our_store, wal_of_a_killed_process])
def test_reading_changes_no_byte(path: Path, url: str, make: Callable[[Path], None]) -> None:
    make(path)
    before = contents(path.parent)
    with open_storage(url, create=False) as storage:
        (study,) = storage.get_all_studies()
        trials = storage.get_all_trials(study._study_id)
        assert trials
        assert storage.get_trial(trials[0]._trial_id) == trials[0]
    after = contents(path.parent)
    after.pop("store.db-shm", None)  # SQLite's index of a `-wal` file that somebody left behind
    assert after == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_store_in_a_folder_that_may_not_be_written_is_read(path: Path, url: str) -> None:
    our_store(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with open_storage(url, create=False) as storage:
            assert len(storage.get_all_studies()) == 1
    finally:
        path.parent.chmod(0o755)


def test_reader_writes_nothing_and_says_so(path: Path, url: str) -> None:
    our_store(path)
    with open_storage(url, create=False) as storage:
        study = optuna.load_study(study_name="ours", storage=storage)
        with pytest.raises(StoreError, match="open for reading only"):
            study.ask()
        with pytest.raises(StoreError, match="open for reading only"):
            study.set_user_attr("key", 1)
        with pytest.raises(StoreError, match="open for reading only"):
            storage.create_new_study([StudyDirection.MAXIMIZE])


def test_reader_follows_a_writer(path: Path, url: str) -> None:
    with open_storage(url, create=True) as writer:
        study = optuna.create_study(study_name="ours", storage=writer)
        with open_storage(url, create=False) as reader:
            assert reader.get_all_trials(study._study_id) == []
            trial = study.ask()
            trial.report(0.5, 0)
            writer.flush()
            assert reader.get_trial(trial._trial_id).intermediate_values == {0: 0.5}
            study.tell(trial, 1.0)
            study.set_user_attr("key", 1)
            assert reader.get_all_trials(study._study_id)[0].value == 1.0
            assert reader.get_study_user_attrs(study._study_id) == {"key": 1}


def test_plain_optuna_store_is_written_beside_its_studies(path: Path, url: str) -> None:
    plain_optuna_store(path)
    with open_storage(url, create=True) as storage:
        before = contents(path.parent)
        theirs = optuna.load_study(study_name="theirs", storage=storage).trials
        assert contents(path.parent) == before  # looking at it is no consent to change it
        our_study = optuna.create_study(study_name="ours", storage=storage)
        our_study.tell(our_study.ask(), 1.0)
        assert optuna.load_study(study_name="theirs", storage=storage).trials == theirs


def test_missing_file_is_named_and_not_made(path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="there is no such file; `mtlsearch run` makes it"):
        open_storage(url, create=False)
    assert contents(path.parent) == {}


def test_missing_folder_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"run mkdir -p {tmp_path}/no/where"):
        open_storage(f"sqlite:///{tmp_path}/no/where/store.db", create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="its folder is not writable"):
        open_storage(f"sqlite:///{tmp_path}/store.db", create=True)


def test_empty_file_becomes_a_store_only_where_one_is_made(path: Path, url: str) -> None:
    path.touch()
    with pytest.raises(StoreError, match="it is empty"):
        open_storage(url, create=False)
    assert path.read_bytes() == b""
    with open_storage(url, create=True) as storage:
        assert storage.get_all_studies() == []


@pytest.mark.parametrize("name", ["plain.db", "with space.db", "100%.db", "{braces}.db", "què#.db"])
def test_relative_and_odd_paths_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # In a URL a question mark begins the options, in a path it is a letter like any other.
    folder = tmp_path / "why? #1, 100%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with open_storage(f"sqlite:///{name}", create=True) as storage:
        storage.create_new_study([StudyDirection.MAXIMIZE])
    with open_storage(f"sqlite:///{name}", create=False) as storage:
        assert len(storage.get_all_studies()) == 1
    assert [path.name for path in folder.iterdir()] == [name]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_file_that_is_deleted_under_a_run_is_told(path: Path, url: str, how: str) -> None:
    with pytest.raises(StoreError, match="was deleted or replaced") as e:  # noqa: PT012, SIM117
        with open_storage(url, create=True) as storage:
            study = optuna.create_study(storage=storage)
            trial = study.ask()
            path.unlink()
            if how == "replaced":
                plain_optuna_store(path)
            study.tell(trial, 1.0)
    assert "\n" not in str(e.value)


def test_study_that_is_deleted_under_a_run_is_told(url: str) -> None:
    with open_storage(url, create=True) as storage, open_storage(url, create=True) as dashboard:
        study = optuna.create_study(study_name="ours", storage=storage)
        trial = storage.ask(study, 2)
        assert trial is not None
        optuna.delete_study(study_name="ours", storage=dashboard)
        with pytest.raises(StoreError, match="the study was deleted while it was in use"):
            study.tell(trial, 1.0)
        with pytest.raises(StoreError, match="the study was deleted while it was in use"):
            trial.report(1.0, 0)


def test_a_reader_with_several_connections_leaves_no_file_beside_the_store(path: Path, url: str) -> None:
    with open_storage(url, create=True) as storage:
        optuna.create_study(storage=storage, study_name="s")
    with open_storage(url, create=False) as storage:
        engine = storage._rdb.engine
        with engine.connect() as first, engine.connect() as second:
            for connection in (first, second):
                connection.execute(sa.text("SELECT * FROM studies")).all()
    assert [file.name for file in path.parent.glob(f"{path.name}*")] == [path.name]


def test_study_that_is_deleted_is_told_by_each_later_call(url: str) -> None:
    """Also where the thread that flushes is the first to notice, while several trials are in training."""
    with open_storage(url, create=True) as storage, open_storage(url, create=True) as theirs:
        study = optuna.create_study(storage=storage, study_name="s")
        trials = [study.ask() for _ in range(3)]
        for trial in trials:
            trial.report(0.5, 0)
        optuna.delete_study(study_name="s", storage=theirs)
        storage.flush()
        later: list[Callable[[], object]] = [
            lambda: trials[0].report(0.5, 1),
            lambda: trials[1].suggest_float("x", 0, 1),
            lambda: study.tell(trials[2], 1.0),
            lambda: storage.get_trial(trials[0]._trial_id),
            lambda: storage.get_all_trials(study._study_id),
            lambda: storage.refresh(study._study_id),
            lambda: storage.interrupt(trials[0]._trial_id),
            lambda: storage.reserve(study._study_id, 9),
            lambda: study.user_attrs,
        ]
        for call in later:
            with pytest.raises(StoreError, match="the study was deleted while it was in use"):
                call()
        again = optuna.create_study(storage=storage, study_name="s")  # SQLite gives it the same ids
        again.tell(again.ask(), 1.0)
        assert [trial.value for trial in again.trials] == [1.0]


def test_study_that_was_deleted_before_the_next_trial_is_told(url: str) -> None:
    with open_storage(url, create=True) as storage, open_storage(url, create=True) as dashboard:
        study = optuna.create_study(study_name="ours", storage=storage)
        optuna.delete_study(study_name="ours", storage=dashboard)
        with pytest.raises(StoreError, match="the study was deleted while it was in use"):
            storage.ask(study, 2)


def test_closed_store_says_so(url: str) -> None:
    storage = open_storage(url, create=True)
    trial_id = storage.create_new_trial(storage.create_new_study([StudyDirection.MAXIMIZE]))
    storage.close()
    storage.close()
    with pytest.raises(StoreError, match="it was closed"):
        storage.set_trial_user_attr(trial_id, "key", 1)


def test_unknown_tables_are_told_and_stored_through_the_public_api(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mtlsearch.store.database.opening, "tables_are_known", lambda revision: False)
    with pytest.warns(UserWarning, match="public API, which is slower"):
        storage = open_storage(url, create=True)
    with storage:
        study = optuna.create_study(study_name="study", storage=storage)
        trial = storage.ask(study, 1)
        assert trial is not None
        study.tell(trial, 1.0)
    monkeypatch.undo()
    with open_storage(url, create=False) as reader:
        assert [t.state for t in reader.get_all_trials(study._study_id)] == [TrialState.COMPLETE]


def test_reports_and_suggestions_never_wait_for_the_database(url: str) -> None:
    with open_storage(url, create=True) as storage:
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(n_startup_trials=1))
        for value in (1.0, 2.0, 3.0):
            trial = storage.ask(study, 10)
            assert trial is not None
            trial.suggest_float("x", 0, 1)
            study.tell(trial, value)
        trial = storage.ask(study, 10)
        assert trial is not None
        caller, statements = threading.get_ident(), []

        def record(*args: object) -> None:
            if threading.get_ident() == caller:
                statements.append(args[2])

        sa.event.listen(storage._rdb.engine, "before_cursor_execute", record)
        trial.suggest_float("x", 0, 1)
        trial.report(0.5, 0)
        trial.should_prune()
        trial.set_user_attr("key", 1)
        assert statements == []
        study.tell(trial, 1.0)
        assert 0 < len(statements) < 10


def test_buffer_is_written_in_the_background(path: Path, url: str) -> None:
    with open_storage(url, create=True) as storage:
        study = optuna.create_study(study_name="ours", storage=storage)
        trial = study.ask()
        trial.report(0.5, 0)
        end = time.time() + 5.0
        count = 0
        with closing(sqlite3.connect(path)) as other:
            while count == 0 and time.time() < end:
                time.sleep(0.05)
                (count,) = other.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()
        assert count == 1


# URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("my.db", "for that file write sqlite:///my.db"),
        ("mysql://u:secret@h/d", r"a store cannot be kept in 'mysql' \(mysql://u:\*\*\*@h/d\)"),
        ("redis://h", "a store cannot be kept in 'redis'"),
        ("sqlite://", "a SQLite store is a file"),
        ("sqlite:///:memory:", "a SQLite store is a file"),
        ("postgresql+nothing://u:secret@h/d", "unknown database driver 'postgresql.nothing'"),
        ("postgresql+pg8000://u:secret@h/d", "write postgresql.psycopg://USER@HOST/DATABASE"),
        ("://u:secret@h", "cannot read the storage URL"),
        ("postgresql+psycopg://u:secret@h:port/d", "cannot read the storage URL"),
    ],
)
def test_url_that_cannot_be_a_store_is_explained_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as e:
        open_storage(url, create=True)
    assert "secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_missing_postgres_driver_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"run pip install 'mtlsearch\[postgres\]'"):
        open_storage("postgresql+psycopg://u:secret@h/d", create=True)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql+psycopg://u:secret@h:5432/d", "postgresql+psycopg://u:***@h:5432/d"),
        ("postgresql+psycopg://u:se@cr/et:@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgresql+psycopg://:secret@h/d", "postgresql+psycopg://:***@h/d"),
        ("postgresql+psycopg://u@h/d?password=secret&a=b", "postgresql+psycopg://u@h/d?password=***&a=b"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////home/a:b@c.db", "sqlite:////home/a:b@c.db"),
    ],
)
def test_password_is_masked(url: str, masked: str) -> None:
    assert mask_password(url) == masked


@given(st.text(min_size=1).map(lambda text: f"<{text}>"))
def test_no_password_survives_the_mask(password: str) -> None:
    assert password not in mask_password(f"postgresql+psycopg://u:{password}@h/d")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.text().map("sqlite://".__add__), st.text().map("postgresql+psycopg".__add__)))
def test_any_text_as_url_is_refused_in_one_line_or_names_a_missing_store(tmp_path: Path, text: str) -> None:
    with pytest.raises(StoreError) as e:
        open_storage(text.replace("postgresql+psycopg://", ""), create=False, timeout=0.1)
    assert "\n" not in str(e.value)


# PostgreSQL


def test_reading_an_empty_database_makes_no_tables_in_it(server: PostgresServer) -> None:
    engine = sa.create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE empty"))
    engine.dispose()
    with pytest.raises(StoreError, match="it holds no studies"):
        open_storage(server.url("empty"), create=False)
    engine = sa.create_engine(server.url("empty"))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.parametrize(
    ("database", "password", "message"),
    [
        ("postgres", "wr0ng-s3cret", "the server refused the login"),
        ("nowhere", PASSWORD, "that database does not exist"),
    ],
)
def test_refused_login_is_told_without_the_password(
    server: PostgresServer, database: str, password: str, message: str
) -> None:
    with pytest.raises(StoreError, match=message) as e:
        open_storage(server.url(database, password), create=True)
    assert password not in str(e.value)
    assert "\n" not in str(e.value)


def test_reader_of_a_server_writes_nothing(server: PostgresServer) -> None:
    open_storage(server.url(), create=True).close()
    with (
        open_storage(server.url(), create=False) as storage,
        pytest.raises(StoreError, match="open for reading only"),
    ):
        storage.create_new_study([StudyDirection.MAXIMIZE])


def test_opening_a_store_again_leaves_the_writes_of_this_process_to_be_seen(tmp_path: Path) -> None:
    """SQLite's locks belong to a process: closing any other handle of the file would drop them."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    elsewhere = (
        f"import sqlite3; c = sqlite3.connect({str(tmp_path / 'store.db')!r}); print(c.execute({{!r}}).fetchall())"
    )

    def ask(statement: str) -> str:
        command = [sys.executable, "-c", elsewhere.format(statement)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    open_storage(url, create=True).close()
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (n INTEGER)")
    open_storage(url, create=False).close()
    ask("SELECT 1 FROM mine")  # the last of the other processes to close the file
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO mine VALUES (7)")
    assert ask("SELECT n FROM mine") == "[(7,)]"
    engine.dispose()
    assert ask("SELECT n FROM mine") == "[(7,)]"

"""Stores that another Optuna or another program wrote, by the commands: read where they can be, never altered."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from commands import SHORT, command, contents, done, refused

RUN = ("run", "digits", *SHORT, "--quiet")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written_by(optuna_version: str, study_name: str) -> list[tuple[str, float]]:
    """A store of plain Optuna, and its (state, value) rows.

    Optuna 4.9 makes the same tables as 5.0, statement for statement; the version that it notes is what differs.
    """
    storage = optuna.storages.RDBStorage("sqlite:///mtlsearch.db")
    study = optuna.create_study(storage=storage, study_name=study_name, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    storage.remove_session()
    storage.engine.dispose()
    with closing(sqlite3.connect("mtlsearch.db")) as connection:
        connection.execute("UPDATE version_info SET library_version = ?", (optuna_version,))
        connection.commit()
    return trials_of(study_name)


def trials_of(study_name: str) -> list[tuple[str, float]]:
    storage = optuna.storages.RDBStorage("sqlite:///mtlsearch.db")
    trials = optuna.load_study(storage=storage, study_name=study_name).trials
    storage.remove_session()
    storage.engine.dispose()
    return [(trial.state.name, trial.value or 0.0) for trial in trials]


@pytest.mark.parametrize("version", ["4.9.0", "5.0.0"])
def test_study_of_the_same_name_by_another_program_is_refused_and_no_byte_is_changed(empty: Path, version: str) -> None:
    written_by(version, "digits")
    before = contents(empty)
    for arguments in (RUN, ("best", "digits"), ("export", "digits"), ("trials", "digits")):
        assert "'digits' in the store was not written by mtlsearch" in refused(*arguments)
        assert contents(empty) == before


@pytest.mark.parametrize("version", ["4.9.0", "5.0.0"])
def test_search_goes_into_a_plain_optuna_store_beside_its_studies(empty: Path, version: str) -> None:
    theirs = written_by(version, "theirs")
    assert "holds no study of mtlsearch yet" in refused("best")
    done(*RUN, "--trials", "1")
    assert trials_of("theirs") == theirs
    assert "digits" in done("best", "digits").out
    assert command("best").status == 0


def test_store_of_an_optuna_with_an_older_schema_is_told_with_the_upgrade(empty: Path) -> None:
    written_by("2.10.0", "theirs")
    with closing(sqlite3.connect("mtlsearch.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        connection.commit()
    before = contents(empty)
    for arguments in (RUN, ("best",)):
        assert "optuna storage upgrade --storage sqlite:///mtlsearch.db" in refused(*arguments)
        assert contents(empty) == before

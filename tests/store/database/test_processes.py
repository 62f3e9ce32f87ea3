"""Several processes on one store, and processes that are killed: nothing is lost, nothing is done twice."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import optuna
import pytest
import storage_workers as workers
from optuna.trial import FrozenTrial, TrialState
from postgres_server import PostgresServer

import mtlsearch.store.database.storage
from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def read_as_plain_optuna(url: str) -> list[FrozenTrial]:
    rdb = optuna.storages.RDBStorage(url)
    trials = optuna.load_study(study_name="study", storage=rdb).trials
    rdb.engine.dispose()
    return trials


def search_in_two_processes(url: str, total: int) -> list[tuple[int, float, float]]:
    pipes = [workers.start(workers.search, url, total, seed, 0.01)[1] for seed in (1, 2)]
    return [told for pipe in pipes for told in iter(pipe.recv, None)]


def check_shared_total(url: str, told: list[tuple[int, float, float]], total: int) -> None:
    assert sorted(number for number, _, _ in told) == list(range(total))
    trials = read_as_plain_optuna(url)
    assert [(t.number, t.params["x"], t.value) for t in trials] == sorted(told)
    assert all(len(t.intermediate_values) == 5 for t in trials)


def test_eight_processes_open_one_new_file_at_once(url: str) -> None:
    at = time.time() + 1.0
    pipes = [workers.start(workers.open_and_record, url, at)[1] for _ in range(8)]
    assert sorted(str(pipe.recv()) for pipe in pipes) == [str(i) for i in range(8)]


def test_two_searches_share_a_total_on_sqlite(url: str) -> None:
    check_shared_total(url, search_in_two_processes(url, 31), 31)


def test_two_searches_share_a_total_on_postgres(server: PostgresServer) -> None:
    check_shared_total(server.url(), search_in_two_processes(server.url(), 31), 31)


def test_running_trial_is_visible_within_two_seconds(url: str) -> None:
    process, pipe = workers.start(workers.report_then_train, url)
    begun = pipe.recv()
    trial = read_as_plain_optuna(url)[0]
    while not (trial.params and trial.intermediate_values) and time.time() < begun + 2.0:
        time.sleep(0.05)
        trial = read_as_plain_optuna(url)[0]
    process.kill()
    assert (trial.state, trial.intermediate_values) == (TrialState.RUNNING, {0: 0.5})
    assert "x" in trial.params


def test_killed_searches_lose_nothing_and_leave_a_whole_file(url: str, path: Path) -> None:
    moments, told = random.Random(4), {}
    for seed in range(6):
        process, pipe = workers.start(workers.search, url, 10**6, seed, 0.002)
        told_now = [pipe.recv()]
        time.sleep(moments.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with contextlib.suppress(EOFError):
            told_now += iter(pipe.recv, None)
        told |= {number: (x, score) for number, x, score in told_now}
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        trials = {t.number: t for t in read_as_plain_optuna(url)}
        assert sorted(trials) == list(range(len(trials)))
        for number, (x, score) in told.items():
            assert (trials[number].state, trials[number].params["x"]) == (TrialState.COMPLETE, x)
            assert (trials[number].value, len(trials[number].intermediate_values)) == (score, 5)
    assert len(told) > 6


def test_lock_held_for_too_long_is_told_in_one_line_and_nothing_is_lost(url: str, path: Path) -> None:
    with open_storage(url, create=True, timeout=0.3) as storage:
        study = optuna.create_study(storage=storage, study_name="study")
        trial = storage.ask(study, 1)
        assert trial is not None
        process, pipe = workers.start(workers.hold_the_lock, str(path), 30.0)
        pipe.recv()
        with pytest.raises(StoreError, match=r"kept it locked for more than 0\.3 s; end that process"):
            study.tell(trial, 1.0)
        process.kill()
        process.join()
        storage.flush()
        assert read_as_plain_optuna(url)[0].value == 1.0


def test_lock_that_is_given_back_in_time_is_waited_for(url: str, path: Path) -> None:
    with open_storage(url, create=True) as storage:
        study = optuna.create_study(storage=storage, study_name="study")
        trial = storage.ask(study, 1)
        assert trial is not None
        _, pipe = workers.start(workers.hold_the_lock, str(path), 1.0)
        pipe.recv()
        assert study.tell(trial, 1.0).state == TrialState.COMPLETE


def test_full_disk_is_told_in_one_line_and_told_trials_stay(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        _, pipe = workers.start(workers.write_until_error, f"sqlite:///{disk}/store.db")
        told, line = pipe.recv()
        assert "its disk is full; free some space" in line
        assert "\n" not in line
        trials = read_as_plain_optuna(f"sqlite:///{disk}/store.db")
        assert told
        assert {t.number for t in trials if t.state == TrialState.COMPLETE} >= set(told)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_restarted_server_is_reconnected_to(server: PostgresServer) -> None:
    with open_storage(server.url(), create=True) as storage:
        study = optuna.create_study(storage=storage, study_name="restart")
        first, second = storage.ask(study, 2), storage.ask(study, 2)
        assert first is not None
        assert second is not None
        server.stop()
        first.report(0.5, 0)
        server.start()
        study.tell(first, 1.0)
        study.tell(second, 2.0)
        with open_storage(server.url(), create=False) as reader:
            trials = reader.get_all_trials(study._study_id)
    assert [t.value for t in trials] == [1.0, 2.0]
    assert trials[0].intermediate_values == {0: 0.5}


def test_server_that_stays_away_is_told_in_one_line(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtlsearch.store.database.storage, "RECONNECT_S", 0.5)
    storage = open_storage(server.url(), create=True)
    study = optuna.create_study(storage=storage, study_name="away")
    server.stop()
    try:
        with pytest.raises(StoreError, match=r"the server cannot be reached .*; start it .* for 0\.5 s\)$") as e:
            storage.ask(study, 1)
    finally:
        server.start()
    assert "\n" not in str(e.value)
    assert "p@ss" not in str(e.value)
    storage.close()

"""Two `mtlsearch run` processes on one study: they share its total, and one takes over what a dead one left."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from crash_harness import POPULATION, Book, Run
from optuna.trial import FrozenTrial, TrialState, create_trial
from postgres_server import PostgresServer

from mtlsearch.processes import this_process
from mtlsearch.store import ownership as lease

TOTAL = 6
FAST_LEASE = (0.2, 2.0)  # seconds between two beats, seconds to the expiry


def share_the_total(url: str, folder: Path) -> None:
    book = Book(url, TOTAL)
    # Both have asked for trials before one of them trains: else the faster might do everything.
    held = folder / "go"
    first, second = (Run(url, TOTAL, folder, epochs=1, held=held) for _ in range(2))
    first.until(lambda: len(owners(book)) == 2, every=0.2)
    held.touch()
    assert (first.wait(), second.wait()) == (0, 0), first.said() + second.said()
    told = [*first.announced(), *second.announced()]
    assert sorted(told) == list(range(TOTAL)), "a trial was trained twice, or the total was passed"
    book.look_at_end(first.announced() | second.announced())
    assert (book.lost, book.doubled) == (0, 0)
    assert len(owners(book)) == 2, "one run did everything"


def owners(book: Book) -> set[int]:
    """The processes that have asked for trials."""
    return {trial.user_attrs["owner"]["pid"] for trial in book.trials() if "owner" in trial.user_attrs}


def stopped_in_training(book: Book, folder: Path, **injected: Any) -> Run:
    """A run that has POPULATION trials in training, and stands still; with the file `go` it would train them."""
    run = Run(book.url, book.total, folder, epochs=1, held=folder / "go", **injected)
    run.until(lambda: sum("task_weights" in t.user_attrs for t in book.trials()) == POPULATION, every=0.2)
    run.signal(signal.SIGSTOP)
    return run


def check_taken_over(book: Book, *runs: Run) -> None:
    """All trials of the run that stood still were gone on with, or asked again with the same params."""
    book.look_at_end({number: told for run in runs for number, told in run.announced().items()})
    assert (book.lost, book.doubled) == (0, 0)
    trials = book.trials()
    retried = {t.user_attrs["retry_of"]: t for t in trials if "retry_of" in t.user_attrs}
    for first in trials[:POPULATION]:
        last = retried.get(first.number, first)
        assert (last.state, last.params) == (TrialState.COMPLETE, first.params)


def test_two_runs_share_the_total_on_sqlite(tmp_path: Path) -> None:
    share_the_total(f"sqlite:///{tmp_path}/store.db", tmp_path)


def test_two_runs_share_the_total_on_postgres(server: PostgresServer, tmp_path: Path) -> None:
    share_the_total(server.url(), tmp_path)


def test_run_that_waits_says_so_once_and_takes_over_the_trials_of_a_killed_one(tmp_path: Path) -> None:
    book = Book(f"sqlite:///{tmp_path}/store.db", TOTAL)
    victim = stopped_in_training(book, tmp_path)
    survivor = Run(book.url, TOTAL, tmp_path, epochs=1)
    try:
        survivor.until(lambda: "nothing left to ask" in survivor.said())
        time.sleep(2.5)
        assert survivor.process.exitcode is None
    finally:
        victim.signal(signal.SIGKILL)
    assert survivor.wait() == 0, survivor.said()
    assert survivor.said().count(f"nothing left to ask; waiting for {POPULATION} trials") == 1
    check_taken_over(book, victim, survivor)


def test_run_on_another_host_loses_its_trials_with_its_lease_and_gives_them_up_when_it_wakes(
    tmp_path: Path,
) -> None:
    book = Book(f"sqlite:///{tmp_path}/store.db", TOTAL)
    sleeper = stopped_in_training(book, tmp_path, host="elsewhere", lease=FAST_LEASE)
    survivor = Run(book.url, TOTAL, tmp_path, epochs=1, lease=FAST_LEASE)
    try:
        assert survivor.wait() == 0, survivor.said()
    finally:
        (tmp_path / "go").touch()
        sleeper.signal(signal.SIGCONT)
    assert sleeper.wait() == 0, sleeper.said()
    assert sleeper.announced() == {}
    check_taken_over(book, sleeper, survivor)


def test_interrupt_ends_a_run_that_waits(tmp_path: Path) -> None:
    book = Book(f"sqlite:///{tmp_path}/store.db", POPULATION)
    other = stopped_in_training(book, tmp_path)
    try:
        waiting = Run(book.url, POPULATION, tmp_path, epochs=1)
        waiting.until(lambda: "nothing left to ask" in waiting.said())
        waiting.signal(signal.SIGINT)
        assert waiting.wait(10) == 130, waiting.said()
    finally:
        other.signal(signal.SIGKILL)


def foreign(beat: int, **attrs: Any) -> FrozenTrial:
    owner = {**this_process(), "host": "elsewhere"}
    trial = create_trial(state=TrialState.RUNNING, user_attrs={"owner": owner, "beat": beat, **attrs})
    trial._trial_id = 7
    return trial


def test_lease_expires_when_the_beat_stands_still_whatever_the_time_of_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: pytest.fail("the time of day was asked"))
    watch = lease.Watch()
    assert not watch.expired(foreign(beat=1))
    now += lease.EXPIRY_S - 1
    assert not watch.expired(foreign(beat=1))
    assert not watch.expired(foreign(beat=2))
    now += lease.EXPIRY_S - 1
    assert not watch.expired(foreign(beat=2))
    now += 2
    assert watch.expired(foreign(beat=2))


def test_a_beat_comes_often_enough_for_the_lease() -> None:
    assert lease.BEAT_S * 3 <= lease.EXPIRY_S

"""Workers on this machine: the trials of a run of one's own, and losses that cost no trial."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command, done, refused, stored
from optuna.trial import TrialState
from worker_runs import arguments, here, outcomes

from mtlsearch.store.states import FOLDER
from mtlsearch.training.remote import staff, transport
from mtlsearch.training.remote.messages import portable
from mtlsearch.training.remote.processes import ProcessLine
from mtlsearch.training.remote.trainer import RemoteTrainer
from mtlsearch.tuning.interruption import keeper as keeping

PAST_RANDOM = 30  # trials: TPE suggests from the eleventh on


def test_one_worker_gives_the_trials_of_this_process(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    done(*arguments(store, PAST_RANDOM, "--devices", "cpu"))
    assert outcomes(store) == here(tmp_path, PAST_RANDOM)
    assert {t.user_attrs["worker"] for t in stored(store, "mine")} == {"cpu"}
    assert "cpu" in done("trials", "mine", "--storage", f"sqlite:///{store}", "--format", "csv").out
    assert not list((tmp_path / "store.artifacts" / FOLDER).glob("*"))


def at_epoch(monkeypatch: pytest.MonkeyPatch, *signals: tuple[int, int]) -> list[str]:
    """Let the worker that begins the nth epoch of a run get a signal; the names of those that did."""
    due, begun, hit = dict(signals), iter(range(10_000)), list[str]()
    begin = RemoteTrainer.begin

    def begin_and_hit(trainer: RemoteTrainer) -> None:
        begin(trainer)
        sign = due.get(next(begun))
        if sign is not None:
            assert isinstance(trainer.line, ProcessLine)
            os.kill(trainer.line.process.pid, sign)
            hit.append(trainer.line.name)

    monkeypatch.setattr(RemoteTrainer, "begin", begin_and_hit)
    return hit


def test_worker_killed_or_stopped_in_mid_epoch_costs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is killed before a state was kept, and one hangs after: all ends as if nothing had happened, to the bit."""
    monkeypatch.setattr(transport, "SILENT_S", 3.0)
    hit = at_epoch(monkeypatch, (2, signal.SIGKILL), (9, signal.SIGSTOP))
    kept: list[float] = []
    keep = keeping.Keeper.keep
    monkeypatch.setattr(keeping.Keeper, "keep", lambda keeper: (kept.append(time.monotonic()), keep(keeper)))
    monkeypatch.setattr(
        keeping.Keeper, "keep_if_due", lambda keeper: keeper.keep() if len(hit) == 1 and not kept else None
    )
    outcome = command(*[a for a in arguments(tmp_path / "store.db", 12, "--devices", "cpu") if a != "--quiet"])
    assert outcome.status == 0, outcome.err
    assert hit == ["cpu", "cpu"]
    assert kept, "nothing was kept before the second loss"
    assert "worker cpu is lost (signal SIGKILL): another one is started" in outcome.err
    assert "worker cpu is lost (it gave no sign of life for 3 s): another one is started" in outcome.err
    assert "4 trials in training begin anew" in outcome.err
    assert "go on from their last epoch that was kept" in outcome.err
    assert outcomes(tmp_path / "store.db") == here(tmp_path, 12)


def test_two_workers_share_a_search_of_which_one_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store.db"
    hit = at_epoch(monkeypatch, (5, signal.SIGKILL))
    done(*arguments(store, 16, "--devices", "cpu*2", epochs=6))
    trials = stored(store, "mine")
    assert [trial.number for trial in trials] == list(range(16))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert not any("interrupted" in trial.user_attrs for trial in trials)
    assert set(Counter(trial.user_attrs["worker"] for trial in trials)) == {"cpu #1", "cpu #2"}
    assert len(hit) == 1


def die_at_epoch(arguments: list[str]) -> None:
    """A driver that keeps states at every epoch, and is killed at its eighth, in a process of its own."""
    keeping.LEAST_SECONDS, keeping.SHARE = 0.0, 1e9
    begun, begin = iter(range(8)), RemoteTrainer.begin

    def begin_or_die(trainer: RemoteTrainer) -> None:
        if next(begun, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(trainer)

    RemoteTrainer.begin = begin_or_die  # type: ignore[method-assign]
    command(*arguments)


def test_killed_driver_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    line = arguments(tmp_path / "store.db", 12, "--devices", "cpu")
    process = multiprocessing.get_context("fork").Process(target=die_at_epoch, args=(line,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done(*line)
    assert outcomes(tmp_path / "store.db") == here(tmp_path, 12)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "store.db"
    assert not (tmp_path / "store.db").exists(), "a command that cannot work made a store"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--devices", "cuda:99"], "--devices cuda:99: this machine has"),
        (["--devices", "cpu,cpu"], "--devices cpu,cpu: cpu is named twice; two workers on it are cpu*2"),
        (["--devices", "gpu"], "--devices must be all, or such as cuda:0,cuda:1 or cpu*2, but got 'gpu' in 'gpu'"),
        (["--devices", "cpu*0"], "--devices cpu*0: 'cpu*0' must be DEVICE*NUMBER, such as cpu*2"),
        (["--devices", "cpu", "--device", "cpu"], "--devices names all devices, but got --device cpu too"),
        (["--devices", "cpu", "--ray", "local"], "--devices is for this machine and --ray for a cluster"),
        (["--workers", "2"], "--workers is for the workers of a Ray cluster: name it with --ray"),
        (["--ray", "there"], "--ray must be local, auto or ray://HOST:PORT, but got 'there'"),
        (["--ray", "local", "--resources", "gpu=many"], "--resources gpu=many: it must be a number above 0"),
    ],
)
def test_devices_that_cannot_be_are_refused_in_one_line(store: Path, more: list[str], told: str) -> None:
    assert told in refused(*arguments(store, 2, *more), status=2)


def test_worker_that_dies_at_its_start_is_told_with_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtlsearch.training.remote.processes.PROGRAM", "raise OSError('no such device')")
    line = refused(*arguments(tmp_path / "store.db", 2, "--devices", "cpu"), status=1)
    assert "worker cpu died at its start: exit status 1: OSError: no such device" in line


def test_worker_of_other_versions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staff, "versions", lambda: {"mtlsearch": "0.0", "torch": "1.0"})
    line = refused(*arguments(tmp_path / "store.db", 2, "--devices", "cpu"), status=1)
    assert "here 0.0" in line
    assert "install the same versions there" in line


def test_error_that_cannot_travel_keeps_its_words() -> None:
    class Own(Exception):
        pass

    assert str(portable(Own("told"))) == "Own: told"
    assert isinstance(portable(ValueError("told")), ValueError)

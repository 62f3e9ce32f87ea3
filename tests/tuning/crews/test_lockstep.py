"""Workers that a run starts by itself: the same seed gives the same trials, whatever happens to them."""

import multiprocessing
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
import torch
from commands import command, done, stored
from inline_workers import InlineWorkers
from optuna.trial import TrialState
from worker_runs import TWO_FILE, outcomes

from mtlsearch.activity import Interrupted
from mtlsearch.limits import ONE_PROCESS
from mtlsearch.store.states import FOLDER
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.remote.processes import ProcessLine
from mtlsearch.training.remote.trainer import RemoteTrainer
from mtlsearch.training.remote.worker import Worker
from mtlsearch.tuning.hiring import most_workers
from mtlsearch.tuning.interruption.keeper import Keeper
from mtlsearch.tuning.options.training import RunOptions

TRIALS, EPOCHS = 12, 4
PLANS = {"solo": Plan(1, workers=2), "two each": Plan(1, workers=3, each=2), "lanes": Plan(4, False, workers=2)}
Outcomes = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan that a first run makes here."""
    named = getattr(request, "param", "solo")
    monkeypatch.setattr("mtlsearch.tuning.hiring.CORES", 4)
    monkeypatch.setattr("mtlsearch.training.device.CORES", 1)  # nothing is measured
    monkeypatch.setattr("mtlsearch.tuning.hiring.free_cores", lambda cores: cores)
    monkeypatch.setattr("mtlsearch.tuning.run.with_workers", lambda *about: PLANS[named])
    return PLANS[named]


def inline(monkeypatch: pytest.MonkeyPatch, random: Random, *lost: int) -> None:
    """Let workers be of this process, and be lost in these epochs of the run."""
    monkeypatch.setattr(
        "mtlsearch.tuning.hiring.Processes", lambda devices, *about: InlineWorkers(len(devices), random, lost)
    )


def arguments(store: Path, *more: str) -> list[str]:
    store.parent.mkdir(exist_ok=True)
    (store.parent / "mine.py").write_text(TWO_FILE.replace("epochs=2", "epochs=2, patience=3"))
    line = (
        f"run {store.parent / 'mine.py'} --trials {TRIALS} --epochs {EPOCHS} --no-confirm --seed 5 --pruner halving"
        f" --storage sqlite:///{store}"
    )
    return [*line.split(), *more]


def undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """The outcomes of a run to which nothing happens."""
    with monkeypatch.context() as patched:
        inline(patched, Random(0))
        done(*arguments(folder / "whole" / "store.db"))
    return outcomes(folder / "whole" / "store.db")


def keep_at_random(monkeypatch: pytest.MonkeyPatch, random: Random) -> None:
    """Let states be kept before the first round, and before some of the others."""
    kept: list[Keeper] = []

    def is_due(keeper: Keeper) -> bool:
        kept.append(keeper)
        return len(kept) == 1 or random.random() < 0.2

    monkeypatch.setattr(Keeper, "is_due", is_due)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Stop the run when it has begun so many epochs, while others are under way."""
    begun, begin = iter(range(epoch)), RemoteTrainer.begin

    def begin_or_stop(trainer: RemoteTrainer) -> None:
        begin(trainer)
        if next(begun, None) is None:
            raise Interrupted

    monkeypatch.setattr(RemoteTrainer, "begin", begin_or_stop)


@pytest.mark.parametrize("plan", PLANS, indirect=True)
def test_nothing_that_happens_to_workers_or_to_the_run_changes_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    """Workers end their epochs in any order; some are lost, before a state was kept or after; the run is cut off."""
    due = undisturbed(tmp_path, monkeypatch)
    assert {state for _, state, *_ in due} == {TrialState.COMPLETE, TrialState.PRUNED}, "all end alike"
    check_losses(tmp_path / "lost", monkeypatch, plan, due, keeps=False)
    check_losses(tmp_path / "kept", monkeypatch, plan, due, keeps=True)
    check_interruptions(tmp_path / "cut", monkeypatch, due)


def check_losses(folder: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, due: Outcomes, *, keeps: bool) -> None:
    random, store = Random(int(keeps)), folder / "store.db"
    with monkeypatch.context() as patched:
        if keeps:
            keep_at_random(patched, random)
        inline(patched, random, 2, random.randrange(5, 12), random.randrange(12, 30))
        told = done(*arguments(store)).err
    assert f"{plan.workers} workers of one thread each train side by side; --device cpu trains in this process" in told
    assert "is lost (it was lost): another one is started" in told
    assert outcomes(store) == due
    assert {trial.user_attrs["worker"] for trial in stored(store, "mine")} <= {
        f"cpu #{i + 1}" for i in range(plan.workers)
    }
    assert not list((store.parent / "store.artifacts" / FOLDER).glob("*"))


def check_interruptions(folder: Path, monkeypatch: pytest.MonkeyPatch, due: Outcomes) -> None:
    random, store, told = Random(1), folder / "store.db", ""
    for _ in range(2):
        with monkeypatch.context() as patched:
            keep_at_random(patched, random)
            inline(patched, random, random.randrange(1, 9))
            interrupt_at(patched, random.randrange(5, 14))
            told += command(*arguments(store)).err
    with monkeypatch.context() as patched:
        inline(patched, random)
        done(*arguments(store))
    assert told.count("interrupted") > 1
    assert "trials in training go on from their last epoch that was kept" in told
    assert outcomes(store) == due
    assert not list((store.parent / "store.artifacts" / FOLDER).glob("*"))


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int, driver_at: int) -> None:
    """Kill a worker in the epoch that it begins, and this process in a later one; states are kept at each barrier."""
    begun, begin = iter(range(1, 1000)), RemoteTrainer.begin

    def begin_and_kill(trainer: RemoteTrainer) -> None:
        begin(trainer)
        now = next(begun)
        if now == epoch:
            assert isinstance(trainer.line, ProcessLine)
            os.kill(trainer.line.process.pid, signal.SIGKILL)
        if now == driver_at:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(RemoteTrainer, "begin", begin_and_kill)
    monkeypatch.setattr(Keeper, "is_due", lambda keeper: True)


def killed(line: list[str]) -> None:
    """A run in which a worker is killed, then itself."""
    with pytest.MonkeyPatch.context() as patched:
        kill_at(patched, 7, 15)
        command(*line)


@pytest.mark.parametrize("plan", ["lanes"], indirect=True)
def test_killed_processes_change_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    due = undisturbed(tmp_path, monkeypatch)
    line = arguments(tmp_path / "killed" / "store.db")
    process = multiprocessing.get_context("fork").Process(target=killed, args=(line,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert any(t.state is TrialState.RUNNING for t in stored(tmp_path / "killed" / "store.db", "mine"))
    inline(monkeypatch, Random(0))
    assert "go on from their last epoch that was kept" in done(*line).err
    assert outcomes(tmp_path / "killed" / "store.db") == due


def recorded(store: Path) -> dict[str, Any]:
    info: dict[str, Any] = optuna.load_study(study_name="mine", storage=f"sqlite:///{store}").user_attrs["mtlsearch"]
    return info


def test_the_recorded_plan_is_repeated_and_options_overrule_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, line = tmp_path / "a" / "store.db", arguments(tmp_path / "a" / "store.db")
    inline(monkeypatch, Random(0))
    told = [done(*line, "--trials", "2").err]
    assert recorded(store)["plan"]["workers"] == 2
    monkeypatch.setattr("mtlsearch.tuning.run.with_workers", None)  # it would be called
    told.append(done(*line, "--trials", "4").err)
    monkeypatch.setattr("mtlsearch.tuning.hiring.Processes", None)  # and so would this
    for trials, option in (("5", ("--device", "cpu")), ("6", ("--threads", "1")), ("7", ("--population", "1"))):
        told.append(done(*line, "--trials", trials, *option).err)
    monkeypatch.setenv(ONE_PROCESS, "1")  # as the service has it
    told.append(done(*line, "--trials", "8").err)
    assert ["side by side" in each for each in told] == [True, True, False, False, False, False]
    workers = [trial.user_attrs.get("worker") for trial in stored(store, "mine")]
    assert [worker is not None for worker in workers] == 4 * [True] + 4 * [False]


def test_study_of_an_older_version_goes_on_in_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, line = tmp_path / "a" / "store.db", arguments(tmp_path / "a" / "store.db")
    done(*line, "--trials", "1", "--device", "cpu")
    info = recorded(store)
    older = {name: value for name, value in info["plan"].items() if name not in ("workers", "each")}
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{store}")
    study.set_user_attr("mtlsearch", {**info, "plan": older})
    monkeypatch.setattr("mtlsearch.tuning.hiring.Processes", None)  # it would be called
    assert "side by side" not in done(*line, "--trials", "2").err


def test_workers_that_cannot_train_the_study_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(worker: Worker, parcel: object) -> None:
        raise AttributeError("it is not here")

    store, line = tmp_path / "a" / "store.db", arguments(tmp_path / "a" / "store.db")
    inline(monkeypatch, Random(0))
    monkeypatch.setattr(Worker, "try_step", fails)
    told = done(*line, "--trials", "2").err
    assert "this process trains, since workers cannot train this study (" in told
    assert "it is not here" in told
    assert recorded(store)["plan"]["workers"] == 1
    assert "worker" not in done(*line, "--trials", "3").err
    assert not any("worker" in trial.user_attrs for trial in stored(store, "mine"))


def test_workers_that_are_lost_again_and_again_leave_the_trials_to_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "a" / "store.db"
    inline(monkeypatch, Random(0), *range(3, 100))
    told = done(*arguments(store, "--trials", "4")).err
    assert "3 workers were lost in the same epoch" in told
    assert "from here on this process trains" in told
    assert recorded(store)["plan"]["workers"] == 1
    counted = [trial for trial in stored(store, "mine") if "interrupted" not in trial.user_attrs]
    assert len(counted) == 4


def test_confirmation_takes_the_same_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "a" / "store.db"
    line = [a for a in arguments(store) if a != "--no-confirm"]
    inline(monkeypatch, Random(0))
    done(*line, "--trials", "2", "--top", "1", "--seeds", "2", "--no-single", "--resplit", "0")
    trainings = optuna.load_study(study_name="mine/confirmation", storage=f"sqlite:///{store}").trials
    assert {trial.user_attrs["worker"] for trial in trainings} == {"cpu #1", "cpu #2"}
    assert "worker" not in done(*line, "--trials", "2", "--top", "1", "--seeds", "2", "--no-single").err


def test_a_study_that_is_defined_in_python_stays_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Conditions(torch.device("cpu"), 1)
    study = load_study("digits")
    assert most_workers(RunOptions("digits"), here) == 4
    assert most_workers(RunOptions(study, name="own"), here) == 1
    assert most_workers(RunOptions("digits", threads=1), here) == 1
    assert most_workers(RunOptions("digits", devices="cpu*2"), here) == 1
    monkeypatch.setattr("mtlsearch.tuning.hiring.CORES", 1)
    assert most_workers(RunOptions("digits"), here) == 1

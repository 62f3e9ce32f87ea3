"""Workers that a run starts by itself: the same seed gives the same trials, whatever happens to them."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from commands import command, done, stored
from inline_workers import InlineWorkers
from optuna.trial import TrialState
from worker_runs import TWO_FILE, outcomes

from mtlsearch.activity import Interrupted
from mtlsearch.store.states import FOLDER
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.remote.processes import ProcessLine, Processes
from mtlsearch.training.remote.trainer import RemoteTrainer
from mtlsearch.tuning.interruption.keeper import Keeper

TRIALS, EPOCHS = 12, 5
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
def test_the_same_seed_gives_the_same_trials_whichever_worker_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    due = undisturbed(tmp_path, monkeypatch)
    assert {state for _, state, *_ in due} == {TrialState.COMPLETE, TrialState.PRUNED}, "all end alike"
    for chance in range(1, 4):
        store = tmp_path / str(chance) / "store.db"
        inline(monkeypatch, Random(chance))
        told = done(*arguments(store)).err
        assert outcomes(store) == due
        assert f"{plan.workers} workers of one thread each train side by side" in told
        assert {trial.user_attrs["worker"] for trial in stored(store, "mine")} == {
            f"cpu #{i + 1}" for i in range(plan.workers)
        }
        assert not list((store.parent / "store.artifacts" / FOLDER).glob("*"))


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("plan", PLANS, indirect=True)
def test_lost_workers_change_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, keeps: bool
) -> None:
    due = undisturbed(tmp_path, monkeypatch)
    for chance in range(4):
        random, store = Random(chance), tmp_path / str(chance) / "store.db"
        with monkeypatch.context() as patched:
            if keeps:
                keep_at_random(patched, random)
            inline(patched, random, *(random.randrange(1, 30) for _ in range(3)))
            told = done(*arguments(store)).err
        assert "is lost (it was lost): another one is started" in told
        assert outcomes(store) == due


@pytest.mark.parametrize("plan", PLANS, indirect=True)
def test_interruptions_in_mid_epoch_change_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    due = undisturbed(tmp_path, monkeypatch)
    for chance in range(4):
        random, store, told = Random(chance), tmp_path / str(chance) / "store.db", ""
        for _ in range(4):
            with monkeypatch.context() as patched:
                keep_at_random(patched, random)
                inline(patched, random, random.randrange(1, 9))
                interrupt_at(patched, random.randrange(3, 14))
                told += command(*arguments(store)).err
        with monkeypatch.context() as patched:
            inline(patched, random)
            done(*arguments(store))
        assert told.count("interrupted") > 1
        assert "trials in training go on from their last epoch that was kept" in told
        assert outcomes(store) == due

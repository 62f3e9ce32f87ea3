"""The plan of local workers: none for short searches and single cores, as many as pay for long ones."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from population_asserts import joint_study

from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.cost import Bench, Layout, Plan
from mtlsearch.training.remote import side_by_side
from mtlsearch.training.remote.side_by_side import free_cores, free_memory, with_workers
from mtlsearch.training.trainer import Training

ONE = Plan(1, compared=16)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    """A study whose steps take 10 ms each, and an epoch's validation nothing; 10 GiB of memory are free."""
    steps_take(monkeypatch, lambda: 0.01)
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 10 << 30)
    monkeypatch.setattr(side_by_side, "idle_cores", lambda: 64.0)
    return Training(load_data(replace(joint_study(), epochs=100), None))


def steps_take(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> None:
    monkeypatch.setattr(Bench, "step", lambda self, config, examples=None: seconds())
    monkeypatch.setattr(Bench, "evaluation", lambda self, config: 0.0)


def steps(training: Training) -> int:
    return side_by_side.steps_per_epoch(training.loaded)


def trials_of(training: Training, seconds: float) -> int:
    """As many trials as take so long one at a time."""
    return round(seconds / (side_by_side.KEPT * 100 * (0.01 * steps(training) + side_by_side.HANDLING)))


def test_a_short_search_gets_no_workers(training: Training) -> None:
    trials = trials_of(training, 50)
    assert trials > 2
    assert with_workers(ONE, training, trials, most=8) is ONE


def test_a_long_search_gets_as_many_workers_as_pay(training: Training) -> None:
    trials = trials_of(training, 600)
    found = {most: with_workers(ONE, training, trials, most) for most in (1, 2, 4, 64)}
    assert found[1] is ONE
    assert [found[most].workers for most in (2, 4)] == [2, 4]
    assert found[64].workers in (7, side_by_side.MOST)  # what is left over for the last round decides
    assert all(plan.population == 1 for plan in found.values())
    assert found[2].told() is None


def test_cores_that_other_programs_keep_busy_get_no_workers(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = trials_of(training, 600)
    monkeypatch.setattr(side_by_side, "idle_cores", lambda: 1.2)
    assert with_workers(ONE, training, trials, most=8) is ONE
    monkeypatch.setattr(side_by_side, "idle_cores", lambda: 3.1)
    assert with_workers(ONE, training, trials, most=8).workers == 3


def test_idle_cores_are_counted_from_what_the_machine_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, own = os.sysconf("SC_CLK_TCK"), sorted(os.sched_getaffinity(0))

    def tell(idle: float) -> None:
        each = "".join(f"cpu{n} 1 1 1 {round(idle * ticks)} 0 0 0 0 0 0\n" for n in own)
        (tmp_path / "stat").write_text(f"cpu 1 1 1 9 9\n{each}cpu9999 1 1 1 {round(idle * ticks)} 0\nintr 5\n")

    monkeypatch.setattr(side_by_side, "STATISTICS", tmp_path / "stat")
    assert side_by_side.idle_cores() == math.inf, "nothing is told"
    tell(100.0)
    monkeypatch.setattr(side_by_side.time, "sleep", lambda seconds: tell(100.0 + seconds / 2))
    assert side_by_side.idle_cores() == pytest.approx(len(own) / 2)


def test_two_trials_each_where_trials_differ_much(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(training, 600)
    assert with_workers(ONE, training, trials, most=2).each == 1, "all take as long"
    turn = iter(range(10_000))
    steps_take(monkeypatch, lambda: 0.05 if next(turn) % 4 < 2 else 0.01)
    assert with_workers(ONE, training, trials, most=2).each == 2


def test_threads_that_help_one_process_leave_nothing_to_workers(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    steps_take(monkeypatch, lambda: 0.01 if torch.get_num_threads() == 2 else 0.019)
    assert with_workers(ONE, training, trials_of(training, 600), most=2) is ONE


def test_workers_share_a_population_where_that_is_fastest(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def together(bench: Bench, configs: Any, alone: Any, dispatch: float) -> Layout:
        return Layout(training.loaded, [], [0.001 * len(configs)], 0.0)  # ten times as fast as one at a time

    monkeypatch.setattr(Bench, "together", together)
    plan = with_workers(Plan(16, False, compared=16, gain=3.0), training, trials_of(training, 1200), most=3)
    assert (plan.population, plan.workers, plan.compiles, plan.each) == (16, 2, False, 1)
    plan = with_workers(Plan(16, True, compared=16, gain=30.0), training, trials_of(training, 3000), most=3)
    assert plan.workers == 1, "the population of this process is faster"


def test_workers_need_their_memory(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(training, 600)
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 2 * side_by_side.WORKER_BYTES)
    assert with_workers(ONE, training, trials, most=8) is ONE
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 4 * side_by_side.WORKER_BYTES)
    assert with_workers(ONE, training, trials, most=8).workers == 3


def test_a_study_that_cannot_be_sent_stays_in_its_process(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(training: Training) -> None:
        raise TypeError("cannot pickle '_thread.lock' object")

    monkeypatch.setattr(side_by_side, "pack", refuses)
    assert with_workers(ONE, training, trials_of(training, 600), most=8) is ONE


def test_the_limits_of_a_container_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "GROUP", tmp_path)
    assert free_cores(64) == 64
    free = free_memory()
    for told, cores in (("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(told + "\n")
        assert free_cores(64) == cores
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory() > free / 2
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory() == 4000

"""The device's threads, precision and memory, all of them measured."""

import platform
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from problems import disjoint

from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import integer
from mtlsearch.training import device
from mtlsearch.training.device import Conditions, bf16_slowdown, fewer_are_faster, slow_choices
from mtlsearch.training.population import layout
from mtlsearch.training.population.layout import (
    DEFAULT_POPULATION,
    free_bytes,
    member_bytes,
    population_size,
    repeat_population,
    search_population,
)


def loaded(hidden: int) -> LoadedStudy:
    """A study whose widest model has `hidden` units."""
    study = disjoint()
    wide = replace(study, space={**study.space, "hidden": integer(2, hidden)})
    return load_data(wide, None)  # type: ignore[arg-type]


def test_a_member_takes_at_least_its_parameters_gradients_moments_and_best() -> None:
    study = loaded(512)
    widest = study.study.build(layout._widest(study.study), seed=0)
    state = sum(p.numel() * p.element_size() for p in widest.parameters())
    assert member_bytes(study) > 5 * state


def test_wider_members_take_more_memory() -> None:
    assert member_bytes(loaded(2048)) > 10 * member_bytes(loaded(64))


def test_double_precision_takes_twice_the_state() -> None:
    study = loaded(1024)
    assert 1.5 < member_bytes(study, torch.float64) / member_bytes(study) < 2.5


def test_the_population_is_the_devices_default_where_it_fits() -> None:
    assert population_size(loaded(16)) == DEFAULT_POPULATION["cpu"]


def test_the_population_is_smaller_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    study = loaded(256)
    monkeypatch.setattr(layout, "free_bytes", lambda device: 4 * member_bytes(study))
    assert population_size(study) == 3
    monkeypatch.setattr(layout, "free_bytes", lambda device: 0)
    assert population_size(study) == 1


@pytest.mark.parametrize(("trials", "size"), [(1, 16), (100, 16), (120, 20), (10_000, 64)])
def test_a_search_trains_few_at_once_that_its_asks_know_most_trials(
    trials: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFAULT_POPULATION, "cpu", DEFAULT_POPULATION["cuda"])
    assert search_population(loaded(16), trials) == size


def test_a_search_trains_no_more_at_once_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    study = loaded(256)
    monkeypatch.setattr(layout, "free_bytes", lambda device: 4 * member_bytes(study))
    assert search_population(study, 100) == 3


def test_repeats_train_as_many_at_once_as_fit_but_alone_after_a_search_alone() -> None:
    assert repeat_population(loaded(16), 4) == DEFAULT_POPULATION["cpu"]
    assert repeat_population(loaded(16), 32) == 32
    assert repeat_population(loaded(16), 1) == 1


def test_free_memory_is_read_off_the_machine() -> None:
    assert 2**24 < free_bytes(torch.device("cpu")) < 2**50


def test_one_thread_is_never_told_to_be_fewer() -> None:
    assert fewer_are_faster(1) is None


def test_the_measurement_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        fewer_are_faster(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("slow", "told"), [(2.0, True), (0.5, False)])
def test_fewer_threads_are_told_where_they_are_faster(monkeypatch: pytest.MonkeyPatch, slow: float, told: bool) -> None:
    clock = [0.0]
    threads = [2]
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))

    def perf_counter() -> float:
        clock[0] += slow if threads[0] == 2 else 1.0
        return clock[0]

    monkeypatch.setattr(device.time, "perf_counter", perf_counter)
    ratio = fewer_are_faster(2)
    assert (ratio is not None) == told
    if told:
        assert ratio == pytest.approx(slow)


@pytest.mark.parametrize(("seconds", "best"), [({1: 1, 2: 3, 4: 2, 6: 4}, 1), ({1: 4, 2: 3, 4: 1, 6: 2}, 4)])
def test_auto_takes_the_threads_that_are_fastest(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], best: int
) -> None:
    clock, threads = [0.0], [0]
    monkeypatch.setattr(device, "CORES", 6)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock[0])

    def step() -> None:
        clock[0] += seconds[threads[0]]

    assert device.fastest_threads(step) == best
    assert threads == [best]


def test_more_threads_than_cores_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "CORES", 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    conditions = device.use_device("cpu", 64)
    assert conditions.threads == 2
    assert device.with_recorded(conditions, None, {"threads": 1}).threads == 1
    assert device.with_recorded(conditions, 2, {"threads": 1}).threads == 2
    assert device.with_recorded(conditions, None, {}).threads == 2


@pytest.mark.parametrize(("factor", "told"), [(90.0, True), (0.5, False)])
def test_bf16_is_advised_against_where_the_cpu_is_slow_at_it(
    monkeypatch: pytest.MonkeyPatch, factor: float, told: bool
) -> None:
    clock = [0.0]
    product = torch.mm

    def mm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        clock[0] += factor if x.dtype == torch.bfloat16 else 1.0
        return product(x, y)

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock[0])
    assert bf16_slowdown() == (factor if told else None)
    expected = ["bf16 products take 90 times as long as fp32 on this CPU: try --precision fp32"]
    assert list(slow_choices(Conditions(torch.device("cpu"), 1, "bf16"))) == (expected if told else [])
    assert list(slow_choices(Conditions(torch.device("cpu"), 1, "fp32"))) == []
    assert list(slow_choices(Conditions(torch.device("cuda"), 1, "bf16"))) == []


FAULTS = """
import resource, sys, torch
from mtlsearch.training.device import use_device

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    use_device("cpu", 1)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(16):  # small blocks may split a freed one, until the heap has settled
    torch.ones(12 << 20).sum()
before = faults()
for _ in range(4):
    torch.ones(12 << 20).sum()
print((faults() - before) * resource.getpagesize() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what they like")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_serves_the_next_tensor(kept: bool) -> None:
    """Four tensors of 48 MiB, one after the other: the MiB of pages that the system had to clear for them."""
    command = [sys.executable, "-c", FAULTS, "kept" if kept else "given back"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 8 if kept else int(ran.stdout) > 4 * 40

"""The plan of local workers: how many train a search side by side, so that no core of a CPU idles.

One process trains a population, or one trial at a time, with the CPU threads that are fastest for it; for small models
that is one thread, and the other cores idle. Workers of one thread each use them, but take some time to start and
memory of their own, and in each round all wait for the slowest. They are planned where the search is long enough, and
expected to be clearly faster with them. Cores that other programs keep busy are left to these.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import torch

from mtlsearch.study.space import Config
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.population.cost import DISPATCH, FEW, MOST_SHARE, Bench, Plan
from mtlsearch.training.population.layout import KEPT, SHARE, free_bytes, member_bytes
from mtlsearch.training.remote.parcel import pack
from mtlsearch.training.trainer import Training

MOST = 8  # workers
LEAST_SECONDS = 60.0  # of a search in this process; a shorter one stays there
WORTH_IT = 1.2  # the least gain for which workers are started
START_SECONDS = 6.0  # until workers are ready, and the data given to them
SPEED = 0.9  # of a process among others on the same machine: they share its memory and its caches
HANDLING = 6e-3  # seconds for which the search keeps its workers waiting, for each trial-epoch
WORKER_BYTES = 400 << 20  # of a worker's program
DRAWN = 16  # configs, at most, whose steps are timed
STEPS_EACH = 4  # that timing a config takes
IDLE_S = 0.5  # for which it is looked how many cores are idle
STATISTICS = Path("/proc/stat")
GROUP = Path("/sys/fs/cgroup")  # the limits of a container
WORTH_TWO = 1.03  # the least gain for two trials in a worker: at each ask the sampler then knows fewer others
EACH = (1, 2)  # trials that a worker trains solo, in turn: two differ less from another worker's two


def with_workers(plan: Plan, training: Training, trials: int, most: int) -> Plan:
    """The plan of a search of `trials` trials, with up to `most` workers where that is expected to be clearly faster.

    Where inputs are read from disk, or the study cannot be sent to other processes, it stays as it is.
    """
    loaded, most = training.loaded, min(most, MOST, trials)
    steps = KEPT * trials * loaded.study.epochs * (loaded.study.folds or 1) * steps_per_epoch(loaded)
    if loaded.device.type != "cpu" or loaded.reads or most < 2 or MOST_SHARE * steps < STEPS_EACH:
        return plan
    bench = Bench.first(training)
    default = bench.step(loaded.study.default_config())
    if steps * default < LEAST_SECONDS * gain_of(plan) / 2:
        return plan
    most = min(most, math.floor(idle_cores() + 0.5))
    if most < 2:
        return plan
    try:
        data = sum(map(len, pack(training).memories))
    except Exception:  # of any kind: code of the user's is pickled
        return plan
    count = max(2, min(DRAWN, int(MOST_SHARE * steps / STEPS_EACH)))
    configs = loaded.study.search_space.drawn(count, loaded.study.default)
    timing = Timing(plan, training, trials, bench, configs)
    here = timing.here()
    if here < LEAST_SECONDS:
        return plan
    with one_thread():
        found = min(timing.options(most, free_memory() - data), key=lambda option: option[0], default=(math.inf, plan))
    return found[1] if here >= WORTH_IT * found[0] else plan


@dataclass
class Timing:
    """The expected seconds of a search in this process and in workers, by the steps of drawn `configs`."""

    plan: Plan
    training: Training
    trials: int
    bench: Bench
    configs: Sequence[Config]

    def __post_init__(self) -> None:
        loaded, self.measured = self.training.loaded, dict[int, list[float]]()  # by CPU threads
        self.member = member_bytes(loaded) * (loaded.study.folds or 1)
        self.steps = steps_per_epoch(loaded)
        # Each trial takes all its epochs, and fewer trials stand for those that are pruned.
        self.full = max(1, round(KEPT * self.trials))

    def epochs(self) -> list[float]:
        """The seconds of an epoch of each config by itself, with the CPU threads that torch has now."""
        study, threads = self.training.loaded.study, torch.get_num_threads()
        if threads not in self.measured:
            evaluation = self.bench.evaluation(study.default_config())
            each = [self.steps * self.bench.step(config) + evaluation for config in self.configs]
            self.measured[threads] = [(study.folds or 1) * seconds for seconds in each]
        return self.measured[threads]

    def here(self) -> float:
        """The seconds of the search in this process."""
        each = self.epochs()
        return self.full * self.training.loaded.study.epochs * (sum(each) / len(each) / gain_of(self.plan) + HANDLING)

    def options(self, most: int, memory: float) -> Iterator[tuple[float, Plan]]:
        """Each way to use workers that `memory` suffices for: its expected seconds, and its plan."""
        alone = self.epochs()
        epoch = sum(alone) / len(alone)
        for workers in range(2, most + 1):
            for each in EACH:
                fits = workers * (WORKER_BYTES + each * self.member) <= SHARE * memory
                if fits and workers * each <= self.trials:
                    seconds = (START_SECONDS + self.solo(alone, workers, each)) * (1 if each == 1 else WORTH_TWO)
                    yield seconds, replace(self.plan, population=1, compiles=None, workers=workers, each=each)
        workers = 1 << (most.bit_length() - 1)
        fits = workers * WORKER_BYTES + self.plan.population * self.member <= SHARE * memory
        if self.plan.population > workers and fits and not self.training.loaded.study.folds:
            seconds, compiles = self.lanes(workers)
            seconds += START_SECONDS
            yield seconds, replace(self.plan, compiles=compiles, workers=workers, epoch=epoch)

    def solo(self, alone: Sequence[float], workers: int, each: int) -> float:
        """The seconds in workers that train `each` trials solo: in a round all wait for the slowest."""
        trials = islice(cycle(alone), self.full)
        rounds = 0.0
        while group := [sum(crew) for crew in taken(trials, workers, each)]:
            rounds += max(group) / SPEED + HANDLING * workers * each
        return rounds * self.training.loaded.study.epochs

    def lanes(self, workers: int) -> tuple[float, bool]:
        """The seconds in workers that share the population, and whether their steps are compiled."""
        size = -(-self.plan.population // workers)
        few = DISPATCH * self.bench.step(self.training.loaded.study.default_config(), FEW)
        configs = [*islice(cycle(self.configs), size)]
        layout = self.bench.together(configs, [math.inf] * size, few)
        rounds = self.full * self.training.loaded.study.epochs / (workers * size)
        steps = rounds * self.steps / SPEED
        plain, compiled = steps * layout.plain(), steps * layout.compiled() + layout.compiling()
        return min(plain, compiled) + rounds * HANDLING * workers * size, compiled < plain


def gain_of(plan: Plan) -> float:
    """How many times as fast as one trial at a time the plan was measured to be."""
    return plan.gain or 1.0 if plan.population > 1 else 1.0


def taken(trials: Iterator[float], workers: int, each: int) -> list[list[float]]:
    """The next trials of each worker; those that get none are left out."""
    return [crew for _ in range(workers) if (crew := [*islice(trials, each)])]


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch has one CPU thread, as in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# What this process may take of the machine.


def free_cores(cores: int) -> int:
    """How many of `cores` this process may keep busy: a container may have less time than cores."""
    quota, _, period = _of_group("cpu.max").partition(" ")
    if not (quota.isdecimal() and period.isdecimal()):
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def idle_cores() -> float:
    """How many of this process's cores are idle now, while it waits; other programs' share would be lost to all."""
    before = _idle_seconds()
    time.sleep(IDLE_S)
    after = _idle_seconds()
    return math.inf if before is None or after is None else (after - before) / IDLE_S


def _idle_seconds() -> float | None:
    """The seconds for which this process's cores were idle since the machine began; None where it does not tell."""
    own = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    try:
        lines = [line.split() for line in STATISTICS.read_text().splitlines()]
    except OSError:
        return None
    # Behind the name: user, nice, system, idle, and waiting for disks.
    ticks = [int(told[4]) + int(told[5]) for told in lines if told and told[0] in own]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def free_memory() -> int:
    """The memory that this process may still take, in bytes: what the machine has, or its container."""
    free, (most, used) = free_bytes(torch.device("cpu")), map(_of_group, ("memory.max", "memory.current"))
    return min(free, int(most) - int(used)) if most.isdecimal() and used.isdecimal() else free


def _of_group(name: str) -> str:
    """A limit of this process's control group; empty where there is none."""
    try:
        return (GROUP / name).read_text().strip()
    except OSError:
        return ""

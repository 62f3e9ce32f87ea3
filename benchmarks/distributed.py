"""Workers beside each other: two processes here, and a simulation of up to 1,000 workers under one driver.

    python benchmarks/distributed.py simulate [--workers 1 10 100 1000] [--trials 100000] [--dry-run]
    python benchmarks/distributed.py processes [--rounds 3] [--dry-run]
    python benchmarks/distributed.py window [--repeats 20] [--dry-run]

`simulate`: asking, telling and storing are the real ones: the loop of `mtlsearch run` on the study digits with its
default sampler and pruner, and a SQLite store on disk that gets every epoch and the best trial's parameters. The
workers are fakes: each holds sixteen trials, whose ten epochs take six seconds each, give or take a tenth. Their time
is simulated: the clock runs while the driver works, and jumps to the next epoch's end while it waits. What the fakes
themselves compute is not counted. The pruner decides, and its decisions are not followed, so that every trial takes its
minute.

`processes`: a study whose step is large enough for one core, with `--devices cpu` and `--devices cpu*2`, one thread
each, in turn.

`window`: the sampler's window of the history beside the whole history, on the same made-up scores.
"""

import argparse
import heapq
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from threading import Event
from typing import Any

import numpy as np
import optuna
import torch
from asks import unheeded
from common import conclude, interleaved, parser, rounded, table

from mtlsearch.processes import this_process
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.record import Record, open_record
from mtlsearch.study.describe import describe
from mtlsearch.study.results import TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions
from mtlsearch.training.remote.parcel import Packed
from mtlsearch.training.remote.staff import Staff
from mtlsearch.training.remote.transport import Signs
from mtlsearch.training.remote.worker import Changes, KeptBytes, Standing, Turn, as_bytes, versions
from mtlsearch.training.solo import SOLO_CONDITIONS, SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.tuning.choices import make_pruner, seeded_asks
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.options import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.session import Session

EPOCHS, EPOCH_S, POPULATION = 10, 6.0, 16
STATE = as_bytes({"weight": torch.zeros(128, 144)})


class Clock:
    """Seconds of the simulation: real ones while the driver works, and jumps while it waits."""

    def __init__(self) -> None:
        self.begun, self.jumped, self.hidden = time.process_time(), 0.0, 0.0

    def driver(self) -> float:
        """The seconds that the driver has worked."""
        return time.process_time() - self.begun - self.hidden

    def now(self) -> float:
        return self.driver() + self.jumped

    def jump(self, until: float) -> None:
        self.jumped += max(0.0, until - self.now())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, what is computed belongs to a worker."""
        begun = time.process_time()
        yield
        self.hidden += time.process_time() - begun


@dataclass(eq=False)
class FakeLine:
    """A worker that waits instead of training; a trial's score depends on its config, so that TPE learns something."""

    clock: Clock
    due: list[tuple[float, int, "FakeLine"]]
    ended: set["FakeLine"]
    name: str
    number: int
    device: str = "cpu"
    signs: Signs = field(default_factory=lambda: Signs(is_ready=True))
    members: dict[int, tuple[TrialProgress, float]] = field(default_factory=dict)
    reply: Any = None
    busy_s: float = 0.0
    epoch: int = 0
    population: int = POPULATION

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.number)

    def call(self, method: str, *arguments: Any) -> None:
        with self.clock.paused():
            seconds, self.reply = getattr(self, f"_{method}")(*arguments)
            heapq.heappush(self.due, (self.clock.now() + seconds, id(self), self))

    def answer(self) -> Any:
        self.ended.discard(self)
        self.signs.take((str(self.epoch), 0, 0))
        return self.reply

    def _about(self) -> tuple[float, Any]:
        return 0.0, {**versions(), "host": "here", "device": "cpu"}

    def _open(self, crew: int, parcel: Any, recipe: Any) -> tuple[float, Any]:
        self.population = recipe.population
        return 0.0, self._standing()

    def _standing(self) -> Standing:
        return Standing("fake", self.population - len(self.members), self.epoch)

    def _change(self, changes: Changes) -> None:
        for number in changes.left:
            del self.members[number]
        for seat in changes.seats:
            self.members[seat.number] = TrialProgress(seat.number, EPOCHS, None, self.epoch), score_of(seat.config)

    def _advance(self, crew: int, changes: Changes) -> tuple[float, Any]:
        self._change(changes)
        self.epoch += 1
        noise = 0.002 * self.random.normal(size=len(self.members))
        results = []
        for (progress, score), more in zip(self.members.values(), noise, strict=True):
            now = score * (1 - 0.5 ** (progress.epoch + 1)) + float(more)
            results.append(progress.update(now, {task: {"accuracy": now} for task in ("left", "right")})[0])
        seconds = EPOCH_S * float(self.random.uniform(0.9, 1.1))
        self.busy_s += seconds
        return seconds, Turn(results, {number: SOLO_CONDITIONS for number in self.members}, self._standing())

    def _state(self, crew: int, number: int) -> tuple[float, Any]:
        return 0.001, STATE

    def _keep(self, crew: int, changes: Changes) -> tuple[float, Any]:
        self._change(changes)
        return 0.01, KeptBytes(STATE, {})

    def _close(self, crew: int) -> tuple[float, Any]:
        return 0.0, None

    def stop(self) -> None:
        """A fake has nothing to stop."""

    def kill(self) -> None:
        """A fake has no process."""


class FakeWorkers:
    """The transport of the simulation."""

    threads = 1

    def __init__(self, workers: int, clock: Clock) -> None:
        self.clock, self.due = clock, list[tuple[float, int, FakeLine]]()
        self.ended: set[FakeLine] = set()
        self.names, self.lines = [f"worker {number}" for number in range(workers)], list[FakeLine]()

    def places(self) -> Sequence[str]:
        return self.names

    def start(self, place: str) -> FakeLine:
        line = FakeLine(self.clock, self.due, self.ended, place, len(self.lines))
        self.lines.append(line)
        line.call("about")
        return line

    def wait(self, lines: Sequence[Any], seconds: float) -> list[Any]:
        wanted = set(lines)
        while not self.ended & wanted and self.due:
            self.clock.jump(self.due[0][0])
            while self.due and self.due[0][0] <= self.clock.now():
                self.ended.add(heapq.heappop(self.due)[2])
        return sorted(self.ended & wanted, key=lambda line: line.number)

    def parcel(self, packed: Packed) -> Any:
        return packed

    def discard(self, parcel: Any) -> None:
        """Nothing was shared."""

    def gone(self, line: Any) -> None:
        """No fake dies."""

    def close(self) -> None:
        """Nothing was started."""


def score_of(config: Config) -> float:
    """A made-up score that is smooth in the config."""
    rate = math.log10(config.number("learning_rate", 1e-3))
    score = 0.95 - 0.02 * (rate + 2.5) ** 2 - 0.1 * config.number("dropout", 0.0)
    return score + 0.01 * math.log2(config.number("hidden", 16)) - 0.05 * abs(config.task_weights["left"] - 0.4)


@dataclass
class Measured:
    """A simulated search."""

    workers: int
    trials: int
    wall: float
    driver: float
    late_ms: float  # of the driver, per trial, in the last tenth
    busy: float
    rss: float
    parts: dict[str, float]


def simulated(workers: int, trials: int, sampler: str = "tpe") -> Measured:
    """One search of so many trials."""
    study = replace(load_study("digits"), epochs=EPOCHS)
    training = Training(study.load(Path(), "cpu"))
    with tempfile.TemporaryDirectory(prefix="mtlsearch-distributed-") as folder:
        artifacts = Path(folder) / "artifacts"
        artifacts.mkdir()
        with open_storage(f"sqlite:///{folder}/store.db", create=True) as storage:
            info = {**describe(training.loaded), "population": POPULATION}
            record = open_record(storage, "digits", info, 0, artifacts)
            enqueue_default(record, study)
            record.study.sampler = seeded_asks(sampler, 0)
            record.study.pruner = unheeded(make_pruner(RunOptions.pruner, EPOCHS))
            clock = Clock()
            transport = FakeWorkers(workers, clock)
            marks: list[tuple[float, float]] = []  # the driver's seconds and the clock's at each trial's end
            progress = Marking(marks, clock)
            make = TrainerMaker(training.loaded, POPULATION, trials, progress.notice)
            with Staff(transport, Event(), progress.notice) as staff:
                session = Session(record, training, make, progress, Conditions(torch.device("cpu"), 1), staff=staff)
                search(session, trials)
            assert record.counted() == trials
    # The time of full work: from the first trial's end until so many are left that not all workers are full.
    full = max(2, trials - workers * POPULATION)
    first, last = marks[min(len(marks) - 2, workers * POPULATION // 8)], marks[full - 1]
    tenth = marks[int(full * 0.9) : full] or marks[-2:]
    late = 1000 * (tenth[-1][0] - tenth[0][0]) / max(1, len(tenth) - 1)
    busy = sum(line.busy_s for line in transport.lines) / (workers * marks[-1][1])
    return Measured(
        workers,
        trials,
        marks[-1][1],
        marks[-1][0],
        late,
        busy,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        {"rate": (full - 1) / last[1], "first": first[1]},
    )


class Marking(Progress):
    """Notes when each trial ends."""

    def __init__(self, marks: list[tuple[float, float]], clock: Clock) -> None:
        super().__init__(quiet=True)
        self.marks, self.clock = marks, clock

    def ended(self, trial: optuna.trial.FrozenTrial) -> None:
        super().ended(trial)
        self.marks.append((self.clock.driver(), self.clock.now()))
        if len(self.marks) % 5000 == 0:
            print(f"  {len(self.marks):,} trials, driver {self.clock.driver():.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    import cProfile, pstats

    w, t = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        p = cProfile.Profile()
        p.enable()
    m = simulated(w, t)
    print(m)
    if len(sys.argv) > 3:
        p.disable()
        pstats.Stats(p).sort_stats("tottime").print_stats(28)

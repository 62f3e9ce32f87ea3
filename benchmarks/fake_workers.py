"""Fake workers in simulated time: the driver above them is the real one (`benchmarks/distributed.py`)."""

import heapq
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from mtlsearch.study.results import TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.training.remote.parcel import Packed
from mtlsearch.training.remote.transport import Signs
from mtlsearch.training.remote.worker import Changes, KeptBytes, Standing, Turn, as_bytes, versions
from mtlsearch.training.solo import SOLO_CONDITIONS
from mtlsearch.tuning.crews import remote
from mtlsearch.tuning.interruption import keeper

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
    def told_to_the_driver(self) -> Iterator[None]:
        """Inside, the driver takes this clock for the real one where it shares out its time: keeping, looking."""
        simulated = SimpleNamespace(monotonic=self.now)
        with patch.object(remote, "time", simulated), patch.object(keeper, "time", simulated):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, what is computed belongs to a worker."""
        begun = time.process_time()
        yield
        self.hidden += time.process_time() - begun


class Alive(Signs):
    """The signs of a fake: an epoch of simulated time may take minutes of real time, and none hangs."""

    def fault(self) -> None:
        return None


@dataclass(eq=False)
class FakeLine:
    """A worker that waits instead of training; a trial's score depends on its config, so that TPE learns something."""

    clock: Clock
    due: list[tuple[float, int, "FakeLine"]]
    ended: set["FakeLine"]
    name: str
    number: int
    device: str = "cpu"
    signs: Signs = field(default_factory=lambda: Alive(is_ready=True))
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
        return seconds, Turn(results, dict.fromkeys(self.members, SOLO_CONDITIONS), self._standing())

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

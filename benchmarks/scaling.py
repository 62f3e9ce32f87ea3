"""Time and memory per trial-epoch as the population, the width and the number of tasks grow.

    python benchmarks/scaling.py [--device cuda] [--threads N] [--max 1024] [--no-compile] [--budget S]

Random pictures of MNIST's shape, resident; an epoch is 782 steps of 64 examples of every task. A few steps are
timed (the median of --rounds chunks) and scaled to an epoch, without validation. Three sweeps: population 1 to
1024 (width 128, two tasks), width 32 to 1024 and tasks 2 to 32 (a population of 16, on CUDA of 64).

Memory is the lanes' own tensors and the peak of what a step allocates on top: on CUDA by torch's allocator, on a CPU
from torch's record of every allocation. A point that would not fit, or that would probably take longer than --budget
seconds, is left out and marked –.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import add_device_options, conclude, parser, rounded, seconds, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mtlsearch import Classification, Data, SharedTrunk, Study
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.device import use_device
from mtlsearch.training.population.layout import SHARE, free_bytes, member_bytes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Steps, has_compiler, replayed, uncompiled
from mtlsearch.training.trainer import Training

EPOCH, BATCH, HELD_OUT = 782, 64, 64
SLOWER_BY = 1.5  # a larger point may take so many times its share by arithmetic


@dataclass(frozen=True)
class Point:
    """One setting of the sweeps."""

    population: int
    hidden: int = 128
    tasks: int = 2

    @property
    def work(self) -> int:
        """A number proportional to the arithmetic of a step."""
        return self.population * self.hidden * self.tasks


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of one trial-epoch; `whole` is how many seconds the measurement took."""

    seconds: float
    bytes: float
    whole: float


def pictures(steps: int, number: int) -> Callable[[Path], Data]:
    """Random pictures for one task."""

    def source(directory: Path) -> Data:
        generator = torch.Generator().manual_seed(number)

        def pair(rows: int) -> tuple[Tensor, Tensor]:
            inputs = torch.randint(0, 256, (rows, 28, 28), dtype=torch.uint8, generator=generator)
            return inputs, torch.arange(rows) % 10

        return Data(pair(steps * BATCH), pair(HELD_OUT), validation=pair(HELD_OUT))

    return source


def make_study(point: Point, steps: int) -> Study:
    """Disjoint tasks on one trunk, with a training set of `steps` steps."""
    names = [f"task{number}" for number in range(point.tasks)]

    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(784, dict.fromkeys(names, 10), hidden=point.hidden, dropout=0.5)

    tasks = [Classification(name, pictures(steps, number)) for number, name in enumerate(names)]
    return Study(tasks=tasks, model=model, space={}, default={"learning_rate": 1e-3}, batch_size=BATCH)


class Measured:
    """The lanes of one point, ready to step."""

    def __init__(self, loaded: LoadedStudy, point: Point, steps: Steps) -> None:
        self.device = loaded.device
        trainer = PopulationTrainer(Training(loaded), point.population, steps)
        for number in range(point.population):
            trainer.add(number, loaded.study.default_config())
        if trainer.solo:
            raise SystemExit("the population is trained solo: there is nothing to measure")
        self.lanes = list(trainer.lanes)
        for lane in self.lanes:
            lane.begin_epoch(0)
        self.take(3)  # compiles, or captures

    def take(self, steps: int) -> None:
        for lane in self.lanes:
            lane.state.tick.zero_()
            for tick in range(steps):
                lane.run_step(lane, tick)

    def own_bytes(self) -> int:
        """The bytes of the tensors that the lanes keep from step to step."""
        tensors = [tensor for lane in self.lanes for tensor in lane.state.all()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def transient_bytes(self) -> int:
        """The peak of what one step allocates on top; lanes step one after the other."""
        if self.device.type == "cuda":
            return 0  # the allocator's peak in `measure` includes it
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            self.take(1)
        level = peak = 0
        for size in allocations(recorded):
            level += size
            peak = max(peak, level)
        return peak


def allocations(recorded: profile) -> Iterator[int]:
    """The bytes of every allocation, and of every release as a negative number, in order."""
    assert recorded.profiler is not None
    results: Any = recorded.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        yield event.nbytes()


def measure(point: Point, make_steps: Callable[[], Steps], options: argparse.Namespace) -> Cost:
    """Build a point's lanes, compile them, and time chunks of steps."""
    device = torch.device(options.device)
    begun = time.perf_counter()
    loaded = load_data(make_study(point, options.steps), Path(), device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    measured = Measured(loaded, point, make_steps())
    chunks = [seconds(device, lambda: measured.take(options.steps)) for _ in range(options.rounds)]
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated(device) - before
    else:
        held = measured.own_bytes() + measured.transient_bytes()
    epoch = median(chunks) / options.steps * EPOCH
    return Cost(epoch / point.population, held / point.population, time.perf_counter() - begun)


def fits(point: Point, options: argparse.Namespace) -> bool:
    """Whether the device has the memory, by the search's own estimate."""
    loaded = load_data(make_study(point, 1), Path(), options.device)
    return member_bytes(loaded) * point.population < SHARE * free_bytes(loaded.device)


def sweep(points: Sequence[Point], make_steps: Callable[[], Steps], options: argparse.Namespace) -> list[Cost | None]:
    """The cost of every point in turn; None from the first point on that is too large."""
    costs: list[Cost | None] = []
    for number, point in enumerate(points):
        last = costs[-1] if costs else None
        growth = SLOWER_BY * point.work / points[number - 1].work if last else 0.0
        too_long = last is not None and last.whole * growth > options.budget
        if (costs and last is None) or too_long or not fits(point, options):
            costs.append(None)
            continue
        costs.append(measure(point, make_steps, options))
        forget()
        print(f"{point}: {costs[-1]}", flush=True)
    return costs


def forget() -> None:
    """Free what the last point compiled and allocated."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def kinds(options: argparse.Namespace) -> dict[str, Callable[[], Steps]]:
    """The ways to run a step, by name; each point gets a fresh one, so that none keeps another's lanes."""
    device = torch.device(options.device)
    makers: list[Callable[[], Steps]] = [lambda: uncompiled(device)]
    if has_compiler() and not (options.quick or options.no_compile):
        makers.append(lambda: replayed(Compiled(), device))
    return {make().name: make for make in makers}


def rows(name: str, points: Sequence[Point], found: dict[str, list[Cost | None]]) -> Iterator[list[str]]:
    """A row for each point: milliseconds and megabytes of a trial-epoch, by kind."""
    for number, point in enumerate(points):
        line = [f"{name} {getattr(point, name)}"]
        for costs in found.values():
            cost = costs[number]
            line += ["–", "–", "–"] if cost is None else told(cost)
        yield line


def told(cost: Cost) -> list[str]:
    return [rounded(1000 * cost.seconds), rounded(1 / cost.seconds), rounded(cost.bytes / 2**20)]


def sweeps(options: argparse.Namespace) -> dict[str, list[Point]]:
    base = 2 if options.quick else 64 if options.device.startswith("cuda") else 16
    powers = [1 << exponent for exponent in range(11)]
    populations = [n for n in powers if n <= options.max]
    if options.quick:
        return {"population": [Point(1), Point(2)], "hidden": [Point(2, 32)], "tasks": [Point(2, 32, 3)]}
    return {
        "population": [Point(n) for n in populations],
        "hidden": [Point(base, hidden) for hidden in powers if hidden >= 32],
        "tasks": [Point(base, tasks=tasks) for tasks in powers if 2 <= tasks <= 32],
    }


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    made.add_argument("--max", type=int, default=1024, help="the largest population")
    made.add_argument("--no-compile", action="store_true", help="only steps that need no compiler")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=20, help="timed at once")
    made.add_argument(
        "--budget", type=float, default=120.0, help="the most seconds that a point may be expected to take"
    )
    options = made.parse_args()
    if options.quick:
        options.threads, options.rounds, options.steps = 1, 1, 3
    use_device(options.device, options.threads)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler is silent where there is no GPU
    lines: list[list[str]] = []
    makers = kinds(options)
    head = ["", *(f"{name}: {unit}" for name in makers for unit in ("ms", "trial-epochs/s", "MiB"))]
    for name, points in sweeps(options).items():
        found = {kind: sweep(points, make, options) for kind, make in makers.items()}
        lines += list(rows(name, points, found))
    taken = f"{options.rounds} × {options.steps}"
    notes = f"An epoch is {EPOCH} steps, extrapolated from {taken}, without validation."
    threads = f"{options.threads} CPU threads. Width 128 and two tasks where nothing else is said."
    device = torch.device(options.device)
    conclude(options, "Scaling, per trial-epoch", f"{table(head, lines)}\n\n- {notes}\n- {threads}", device)


if __name__ == "__main__":
    main()

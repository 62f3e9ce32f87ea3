"""The time of a step as the number of tasks grows from 2 to 64, beside the arithmetic that the tasks add.

    python benchmarks/tasks.py [--device cuda] [--threads N] [--tasks 2 4 … 64] [--members 16] [--no-compile]

The inputs are random numbers, resident: 64 examples a step of 784 numbers, a trunk of width 128, ten classes a task.
*Joint* tasks label the same examples, so a further task adds a head, a loss and an update. *Disjoint* tasks bring 64
examples each, so a further task adds work in the trunk too. The arithmetic is that of the products, forward and
backward: three times forward, without the gradient of the inputs, which nothing needs. On one CPU thread the time is
CPU time.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import torch
from common import add_device_options, conclude, parser, rounded, seconds, table
from scaling import Measured, Point, forget, kinds
from torch import Tensor

from mtlsearch import Classification, Data, SharedTrunk, Study
from mtlsearch.study.loaded import load_data
from mtlsearch.study.space import Config
from mtlsearch.training.device import use_device
from mtlsearch.training.population.steps import Steps

FEATURES, HIDDEN, CLASSES, BATCH = 784, 128, 10, 64


def numbers(steps: int, tasks: Sequence[str], seed: int) -> Callable[[Path], Data]:
    """Inputs with a class for each of `tasks`."""

    def source(directory: Path) -> Data:
        generator = torch.Generator().manual_seed(seed)

        def pair(rows: int) -> tuple[Tensor, dict[str, Tensor]]:
            labels = {task: (torch.arange(rows) + i) % CLASSES for i, task in enumerate(tasks)}
            return torch.rand(rows, FEATURES, generator=generator), labels

        return Data(pair(steps * BATCH), pair(BATCH), validation=pair(BATCH))

    return source


def make_study(tasks: int, joint: bool, steps: int) -> Study:
    names = [f"task{number}" for number in range(tasks)]

    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(FEATURES, dict.fromkeys(names, CLASSES), hidden=HIDDEN, dropout=0.5)

    all_at_once = numbers(steps, names, 0)
    sources = [all_at_once if joint else numbers(steps, [name], i) for i, name in enumerate(names)]
    made = [Classification(name, source) for name, source in zip(names, sources, strict=True)]
    return Study(tasks=made, model=model, space={}, default={"learning_rate": 1e-3}, batch_size=BATCH)


def products(tasks: int, joint: bool) -> float:
    """Floating-point operations of one member's step: the trunk without its input's gradient, the heads."""
    rows = BATCH if joint else BATCH * tasks
    trunk = 2 * 2 * rows * FEATURES * HIDDEN
    heads = 3 * 2 * BATCH * HIDDEN * CLASSES * tasks
    return float(trunk + heads)


def took(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of `work`; with one thread the process's own CPU time, on which other load has no effect."""
    if device.type == "cuda" or torch.get_num_threads() > 1:
        return seconds(device, work)
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(tasks: int, joint: bool, make_steps: Callable[[], Steps], options: argparse.Namespace) -> float:
    """Seconds of a step of the whole population."""
    loaded = load_data(make_study(tasks, joint, options.steps), Path(), torch.device(options.device))
    measured = Measured(loaded, Point(options.members, HIDDEN, tasks), make_steps())
    chunks = [took(loaded.device, lambda: measured.take(options.steps)) for _ in range(options.rounds)]
    forget()
    return float(median(chunks)) / options.steps


def rows(joint: bool, options: argparse.Namespace) -> Iterator[list[str]]:
    """A row for each number of tasks: time and arithmetic, each also as a multiple of the first row's."""
    makers = kinds(options)
    first: list[float] = []
    for tasks in options.tasks:
        found = [measure(tasks, joint, make, options) for make in makers.values()]
        flop = products(tasks, joint)
        values = [*found, flop, float(tasks)]
        first = first or values
        times = [value / start for value, start in zip(values, first, strict=True)]
        line = [f"{'joint' if joint else 'disjoint'}, {tasks} tasks"]
        for value, ratio in zip(found, times, strict=False):
            line += [rounded(1000 * value), f"{ratio:.2f}"]
        line += [rounded(flop / 1e6), f"{times[-2]:.2f}", f"{times[-1]:.0f}"]
        print(line, flush=True)
        yield line


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    made.add_argument("--tasks", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    made.add_argument("--members", type=int, default=16)
    made.add_argument("--no-compile", action="store_true", help="only steps that need no compiler")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--steps", type=int, default=10, help="timed at once")
    options = made.parse_args()
    if options.quick:
        options.threads, options.rounds, options.steps, options.tasks, options.members = 1, 1, 3, [2, 3], 2
    use_device(options.device, options.threads)
    lines = [line for joint in (True, False) for line in rows(joint, options)]
    head = [""]
    for name in kinds(options):
        head += [f"{name}: ms a step", "×"]
    head += ["MFLOP a member", "×", "heads ×"]
    note = f"- {options.members} members, {options.threads} CPU threads, {options.rounds} × {options.steps} steps."
    conclude(
        options,
        "A step by the number of tasks",
        f"{table(head, lines)}\n\n{note}",
        torch.device(options.device),
    )


if __name__ == "__main__":
    main()

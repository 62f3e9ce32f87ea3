"""Every kind of study: what a run does by default, beside one trial at a time and a plain PyTorch loop.

    python benchmarks/kinds.py [--data DIR] [--threads N] [--rounds N] [--limit SECONDS] [--only TEXT …]

A row is a study: the shipped ones, tables of many sizes, convolutions, and pictures on disk. `planned` chooses as a
study's first run does: a population, compiled or not, or one trial at a time. Then the same drawn configs are trained
in three ways, which take turns in every round: by the default, by the solo trainer, and by a loop of plain PyTorch
with the same network, losses and data in memory. An epoch is cut to a few steps, and validation by the same factor.

*Default ÷ solo* and *default ÷ plain* are of trial-epochs a second, medians over rounds. *Default* is the number of
trials at once. *Whole run* is the time of the
row's trials and epochs one at a time, divided by that of the default with its measuring and compiling. With one thread
all times are processor time, so other programs change them little. --limit begins no row after so many seconds, and
the rows that are missing are named.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from common import add_data_option, conclude, cores, interleaved, parser, rounded, table
from kinds_studies import Kind, kinds
from torch import Tensor

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import Splits
from mtlsearch.errors import kind_and_line
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.population.cost import MOST_SHARE, Plan, clock_here, planned
from mtlsearch.training.population.layout import KEPT
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, uncompiled
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

SAMPLE_SECONDS = 0.5  # of one trial after the other
MOST_STEPS, EVALUATED = 100, 1000
ENDLESS = 100_000  # epochs: no member ends while it is measured


@dataclass(frozen=True)
class Row:
    """A measured kind: the plan, and seconds of reading, measuring, compiling and of a trial-epoch in each way."""

    kind: Kind
    plan: Plan
    reading: float
    measuring: float
    compiling: float
    epochs: int
    default: float
    solo: float
    plain: float

    @property
    def whole(self) -> float:
        """The time of all trials one at a time, divided by that of the default."""
        count = KEPT * self.kind.trials * self.epochs
        return count * self.solo / (count * self.default + self.measuring + self.compiling)

    def cells(self) -> list[object]:
        plan = self.plan
        way = "one at a time" if plan.population == 1 else f"{plan.population}{', compiled' * bool(plan.compiles)}"
        times = (1000 * self.solo, self.solo / self.default, self.plain / self.default, self.whole)
        return [self.kind.name, way, *map(rounded, (*times, self.measuring, self.compiling, self.reading))]


HEAD = (
    "", "default", "solo: ms a trial-epoch", "default ÷ solo", "default ÷ plain", "whole run",
    "measuring, s", "compiling, s", "reading, s",
)  # fmt: skip


def cut(loaded: LoadedStudy, steps: int) -> LoadedStudy:
    """The study with epochs of so many steps, and as small a share of the validation examples."""
    share = steps / steps_per_epoch(loaded)

    def first(part: Part, rows: int) -> Part:
        return part.taken(torch.arange(min(len(part), max(1, rows))))

    def shorter(splits: Splits) -> Splits:
        train = first(splits.train, steps * loaded.study.batch_size)
        return replace(splits, train=train, validation=first(splits.validation, round(share * len(splits.validation))))

    study = replace(loaded.study, epochs=ENDLESS, patience=None, unscorable="skip")
    return replace(loaded, study=study, splits=tuple(map(shorter, loaded.splits)))


class Plain:
    """The loop that a person writes with the data in memory: a network, an optimizer, shuffled rows."""

    def __init__(self, loaded: LoadedStudy, config: Config, steps: int) -> None:
        self.loaded, self.steps, self.losses = loaded, steps, loaded.losses
        self.network = loaded.study.build(config, seed=0)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        self.parts = [[in_memory(part) for part in (splits.train, splits.validation)] for splits in loaded.splits]

    def advance(self) -> None:
        size, orders = self.loaded.study.batch_size, [torch.randperm(len(train)) for train, _ in self.parts]
        self.network.train()
        for step in range(self.steps):
            rows = [order[torch.arange(step * size, (step + 1) * size) % len(order)] for order in orders]
            loss = self.loss([train.rows(index) for (train, _), index in zip(self.parts, rows, strict=True)])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.network.eval()
        with torch.no_grad():
            for start in range(0, max(len(held) for _, held in self.parts), EVALUATED):
                for splits, (_, held) in zip(self.loaded.splits, self.parts, strict=True):
                    if start < len(held):
                        index = torch.arange(start, min(len(held), start + EVALUATED))
                        self.network(self.inputs(splits, held.rows(index)))

    def inputs(self, splits: Splits, part: Part) -> dict[str, Tensor]:
        assert isinstance(part.inputs, Tensor)
        return dict.fromkeys(splits.tasks, as_input(part.inputs, torch.float32, splits.kind))

    def loss(self, parts: Sequence[Part]) -> Tensor:
        inputs: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        for splits, part in zip(self.loaded.splits, parts, strict=True):
            inputs |= self.inputs(splits, part)
            labels |= part.labels
        outputs = self.network({task: inputs[task] for task in self.loaded.study.task_names})
        return torch.stack([loss(outputs[task], labels[task]) for task, loss in self.losses.items()]).mean()


def in_memory(part: Part) -> Part:
    return part if isinstance(part.inputs, Tensor) else Part(part.inputs[:], part.labels)


def timed(work: Callable[[], object]) -> float:
    clock = clock_here()
    begun = clock()
    work()
    return clock() - begun


def measured(kind: Kind, options: argparse.Namespace, scratch: Path) -> Row:
    """One row of the table."""
    study = kind.study(scratch)
    loaded: list[LoadedStudy] = []
    reading = timed(lambda: loaded.append(load_data(study, options.data)))
    plans: list[Plan] = []
    measuring = timed(lambda: plans.append(planned(Training(loaded[0]), kind.trials)))
    (whole,), (plan,) = loaded, plans
    members = min(plan.compared or plan.population, kind.trials, 16)
    configs = whole.study.search_space.drawn(members, whole.study.default)
    step = solo_step(whole, configs)
    steps = min(MOST_STEPS, steps_per_epoch(whole), max(2, int(SAMPLE_SECONDS / (members * step))))
    share = steps / steps_per_epoch(whole)
    shorter = cut(whole, 2 if options.quick else steps)
    solo = [solo_of(shorter, config) for config in configs]
    plain = [Plain(shorter, config, steps_per_epoch(shorter)) for config in configs]
    default: list[Trainer] = solo if plan.population == 1 else [population_of(shorter, plan, configs)]
    cases: dict[str, Callable[[], float]] = {
        "plain": lambda: timed(lambda: [loop.advance() for loop in plain]),
        "solo": lambda: timed(lambda: [trainer.advance() for trainer in solo]),
    }
    first = 0.0
    if default is not solo:
        cases["default"] = lambda: timed(lambda: [trainer.advance() for trainer in default])
        first = cases["default"]()
    found = interleaved(cases, options.rounds)
    each = {name: median(values) / (members * share) for name, values in found.items()}
    compiling = max(0.0, first - median(found["default"])) if plan.compiles else 0.0
    by_default = each.get("default", each["solo"])
    return Row(kind, plan, reading, measuring, compiling, study.epochs, by_default, each["solo"], each["plain"])


def solo_step(loaded: LoadedStudy, configs: Sequence[Config]) -> float:
    """About how long a step of one trial takes."""
    trainer = solo_of(cut(loaded, 2), configs[0])
    trainer.advance()
    return timed(trainer.advance) / 2


def solo_of(loaded: LoadedStudy, config: Config) -> Trainer:
    trainer = SoloTrainer(Training(loaded))
    trainer.add(0, config)
    return trainer


def population_of(loaded: LoadedStudy, plan: Plan, configs: Sequence[Config]) -> Trainer:
    steps = Compiled() if plan.compiles else uncompiled(loaded.device)
    trainer = PopulationTrainer(Training(loaded), plan.population, steps)
    for number, config in enumerate(configs):
        trainer.add(number, config)
    return trainer


def main() -> None:
    made = parser(__doc__)
    add_data_option(made)
    made.add_argument("--threads", type=int, default=1, help=f"CPU threads, default 1 of {cores()}")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no row is begun")
    made.add_argument("--only", nargs="+", default=[], help="rows whose name holds one of these texts")
    options = made.parse_args()
    options.rounds = 1 if options.quick else options.rounds
    options.data = options.data or Path()
    torch.set_num_threads(options.threads)
    begun, rows, missing = time.monotonic(), [], []
    wanted = [kind for kind in kinds(options.quick) if not options.only or any(t in kind.name for t in options.only)]
    with tempfile.TemporaryDirectory() as scratch:
        for kind in wanted:
            if time.monotonic() - begun > options.limit:
                missing.append(f"{kind.name}: no time was left")
                continue
            try:
                rows.append(measured(kind, options, Path(scratch)))
                print(rows[-1].cells(), flush=True)
            except Exception as error:  # of any kind: the other rows are kept
                missing.append(f"{kind.name}: {kind_and_line(error)}")
    slower = [row.kind.name for row in rows if row.whole < 1 - MOST_SHARE]
    notes = [
        f"{options.threads} CPU threads, medians of {options.rounds} rounds that take turns.",
        f"Whole runs that are slower than one trial at a time by more than the {100 * MOST_SHARE:.0f} % that measuring"
        f" may take: {', '.join(slower) or 'none'}.",
        *(f"Not measured: {line}." for line in missing),
    ]
    body = "\n".join(f"- {note}" for note in notes)
    conclude(options, "Every kind of study", f"{table(HEAD, [row.cells() for row in rows])}\n\n{body}")


if __name__ == "__main__":
    main()

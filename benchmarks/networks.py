"""Networks of every kind in a population: 16 members, beside one trial at a time at its best.

    python benchmarks/networks.py [--threads N] [--rounds N] [--only TEXT …] [--batch N]

Each row is a network on data of random numbers. The ways take turns in every round: the solo trainer; the same step
with torch's own layers, not replaced; and a lane of the population, uncompiled (*fused*) and compiled. Solo at its
best is the quicker of the first two, the population the quicker of the last two. A way's time is the least over all
rounds. *Product* is the part of the rate of a large product (2,048³) that the population reaches, by the operations of
its products and convolutions; it is not known of recurrent layers. With one thread all times are processor time, so
other programs change them less.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from common import add_device_options, conclude, interleaved, parser, rounded, table
from torch import Tensor, nn

from mtlsearch import Classification, Config, ConvTrunk, Data, Study, TransformerTrunk, real
from mtlsearch.nn.task_modules import TaskModules
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.training.batches import epoch_batches
from mtlsearch.training.device import keep_freed_memory
from mtlsearch.training.population.cost import clock_here
from mtlsearch.training.population.lane import Lane
from mtlsearch.training.population.layout import counted_flop
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Steps, has_compiler, uncompiled
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training

MEMBERS, WIDTH, STEPS, SIDE, CLASSES = 16, 64, 32, 28, 10
WAYS = ("solo", "torch's layers", "fused", "compiled")


@dataclass(frozen=True)
class Row:
    """A network: its name, how it is built from a dropout rate, the shape of an example, whether operations count."""

    name: str
    make: Callable[[float], nn.Module]
    shape: tuple[int, ...]
    counts: bool


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], rate: float) -> None:
        super().__init__()
        self.net = kind(WIDTH, WIDTH, batch_first=True)
        self.drop = nn.Dropout(rate)
        self.heads = TaskModules({"a": nn.Linear(WIDTH, CLASSES)})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.heads[task](self.drop(self.net(x)[0].mean(1))) for task, x in inputs.items()}


def encoder(rate: float) -> nn.Module:
    return TransformerTrunk({"a": CLASSES}, series=WIDTH, places=STEPS, hidden=WIDTH, dropout=rate)


ROWS = (
    Row("transformer encoder, dropout", encoder, (STEPS, WIDTH), True),
    Row("transformer encoder, no dropout", lambda rate: encoder(0.0), (STEPS, WIDTH), True),
    Row("GRU", lambda rate: Recurrent(nn.GRU, rate), (STEPS, WIDTH), False),
    Row("LSTM", lambda rate: Recurrent(nn.LSTM, rate), (STEPS, WIDTH), False),
    Row("small CNN", lambda rate: ConvTrunk({"a": CLASSES}, dropout=rate), (SIDE, SIDE), True),
)


def study_of(row: Row, batch: int) -> Study:
    def data(directory: Path) -> Data:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(4 * batch, *row.shape, generator=generator)
        labels = torch.arange(len(x)) % CLASSES
        return Data((x, labels), (x[:CLASSES], labels[:CLASSES]), validation=batch, inputs="numbers")

    return Study(
        tasks=[Classification("a", data)],
        model=lambda config: row.make(float(config.number("dropout", 0.1))),
        space={"dropout": real(0.05, 0.5)},
        default={"dropout": 0.1},
        epochs=1,
        batch_size=batch,
    )


def configs(study: Study, members: int) -> list[Config]:
    default = study.default_config()
    rates = [0.05 + 0.4 * number / members for number in range(members)]
    return [Config({**default.hyperparameters, "dropout": rate}, default.task_weights) for rate in rates]


def solo_step(training: Training, config: Config) -> Callable[[], object]:
    member = SoloMember(training, 0, config, entry_epoch=0, seed=0)
    member.model.train()
    batches = epoch_batches(training.loaded, 0, 0)
    return lambda: member.step(batches, 0)


def plain_step(training: Training, config: Config) -> Callable[[], object]:
    """A step of the solo trainer with torch's own layers."""
    names = ("mtlsearch.study.study.batchable", "mtlsearch.nn.transformer.batchable")
    with patch(names[0], lambda model: model), patch(names[1], lambda model: model):
        return solo_step(training, config)


def lane_step(training: Training, study: Study, steps: Steps, members: int) -> tuple[Lane, Callable[[], object]]:
    trainer = PopulationTrainer(training, members, steps)
    for number, config in enumerate(configs(study, members)):
        trainer.add(number, config)
    lanes = list(trainer.lanes)
    assert len(lanes) == 1, f"{len(lanes)} lanes and {len(trainer.solo)} alone, not one lane"
    lane = lanes[0]
    lane.begin_epoch(0)

    def step() -> None:
        lane.state.tick.zero_()
        lane.run_step(lane, 0)

    return lane, step


def measured(row: Row, options: argparse.Namespace) -> list[str]:
    """The cells of a row."""
    members = 2 if options.quick else MEMBERS
    device, study = torch.device(options.device), study_of(row, options.batch)
    loaded: LoadedStudy = load_data(study, Path(), device)
    training = Training(loaded, seed=0)
    default = study.default_config()
    ways: dict[str, Callable[[], object]] = {
        "solo": solo_step(training, default),
        "torch's layers": plain_step(training, default),
        "fused": lane_step(training, study, uncompiled(device), members)[1],
    }
    if has_compiler() and not options.quick:
        ways["compiled"] = lane_step(training, study, Compiled(), members)[1]
    clock = clock_here()

    def timed(step: Callable[[], object], times: int) -> Callable[[], float]:
        def run() -> float:
            begun = clock()
            for _ in range(times):
                step()
            return (clock() - begun) / times

        return run

    product = torch.randn(2048, 2048, device=device), torch.randn(2048, 2048, device=device)
    cases = {name: timed(step, members if name in WAYS[:2] else 1) for name, step in ways.items()}
    cases["product"] = timed(lambda: torch.mm(*product), 1)
    for step in ways.values():
        step()  # it may compile
    least = {name: min(times) for name, times in interleaved(cases, options.rounds).items()}
    solo = members * min(least["solo"], least["torch's layers"])
    population = min(least.get("fused", 1e9), least.get("compiled", 1e9))
    share = "–"
    if row.counts:
        flop = members * counted_flop(loaded, study.build(default, 0))
        share = f"{100 * (flop / population) / (2 * 2048**3 / least['product']):.0f} %"
    each = [
        rounded(1e3 * least[name] * (members if name in WAYS[:2] else 1)) if name in least else "–" for name in WAYS
    ]
    return [row.name, *each, rounded(solo / population), share]


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--batch", type=int, default=64)
    made.add_argument("--only", nargs="*", default=[""], help="rows whose name holds one of these texts")
    options = made.parse_args()
    if options.quick:
        options.rounds, options.batch = 1, 8
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every command does
    rows = [row for row in ROWS if any(text in row.name for text in options.only)]
    found = [measured(row, options) for row in rows]
    head = [f"a step of {MEMBERS} members, ms", *WAYS, "population ÷ solo", "product"]
    text = f"Width {WIDTH}, {STEPS} places or steps, batch {options.batch}, {options.threads} threads, fp32.\n\n"
    conclude(options, "Networks of every kind", text + table(head, found))


if __name__ == "__main__":
    main()

"""Pretrained networks: adapters in a population beside one trial at a time, and a search on features.

    python benchmarks/adapters.py [--device DEVICE] [--threads N] [--rounds N] [--members N] [--compiled]

*Steps*: LoRA of rank 8 at all linear layers but the embedding of a frozen encoder of 4 layers (width 256, 4 heads, 32
tokens, batches of 16), two heads. The solo trainer and the population take turns in every round, with the same members;
an epoch is a few steps, and validation is the same share of it. Steps of the population are run uncompiled, with
--compiled also compiled. The rate of arithmetic counts the products of a step, and stands beside that of one large
product in the same run.

*Search*: 100 trials on 10,000 examples whose frozen module gives 512 features, as `mtlsearch run` trains them without a
confirmation, beside the one pass of the frozen module, which the first load of the study takes; and the same again,
from the features that are kept.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from common import add_device_options, conclude, interleaved, parser, rounded, synchronize, table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mtlsearch import Classification, Data, Regression, Study, adapted, integer
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.population.cost import clock_here
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Compiled, Steps, uncompiled
from mtlsearch.training.solo import SoloMember, SoloTrainer
from mtlsearch.training.trainer import Trainer, Training

WIDTH, HEADS, LAYERS, TOKENS, BATCH, STEPS = 256, 4, 4, 32, 16, 4
LINEAR = ("query", "key", "value", "out", "up", "down")
SEARCH_TRIALS, EXAMPLES, FEATURES = 100, 10_000, 512


class Block(nn.Module):
    """A pre-norm encoder layer of plain matrix products."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (part(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        seen = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    """The mean [B, W] of the last states of tokens [B, L]."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.blocks(self.embedding(ids)).mean(1)
        return found


class Net(nn.Module):
    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({"kind": nn.Linear(width, 4), "amount": nn.Linear(width, 1)})

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        x = self.encoder(next(iter(inputs.values())))
        return {task: self.heads[task](x) for task in inputs}


def tokens(directory: Path) -> Data:
    def part(rows: int) -> tuple[Tensor, dict[str, Tensor]]:
        ids = torch.randint(0, 100, (rows, TOKENS), generator=torch.Generator().manual_seed(rows))
        return ids, {"kind": ids[:, 0] % 4, "amount": ids.float().mean(1)}

    return Data(part(STEPS * BATCH), part(BATCH), validation=part(BATCH), inputs="tokens")


def adapter_study(quick: bool) -> Study:
    torch.manual_seed(0)
    width, layers = (32, 1) if quick else (WIDTH, LAYERS)
    base = Encoder(width, layers)
    return Study(
        tasks=[Classification("kind", tokens), Regression("amount", tokens)],
        model=lambda config: Net(adapted(base, config["rank"], layers=LINEAR), width),
        space={"rank": integer(1, 8)},
        default={"rank": 8, "learning_rate": 1e-3},
        epochs=100_000,
        batch_size=BATCH,
    )


def steps_part(options: argparse.Namespace) -> str:
    device = torch.device(options.device)
    loaded = load_data(adapter_study(options.quick), Path(), device)
    configs = [loaded.study.default_config()] * options.members
    ways: dict[str, Steps] = {"population, uncompiled": uncompiled(device)}
    if options.compiled:
        ways["population, compiled"] = Compiled()
    solo = [_trainer(SoloTrainer(Training(loaded)), [config]) for config in configs]
    trainers = {
        name: [_trainer(PopulationTrainer(Training(loaded), options.members, steps), configs)]
        for name, steps in ways.items()
    }
    cases: dict[str, list[Trainer]] = {"solo": solo, **trainers}
    begun = {name: _seconds(device, _epoch(each)) for name, each in cases.items()}  # compiles
    timed = {name: partial(_seconds, device, _epoch(each)) for name, each in cases.items()}
    found = interleaved(timed, options.rounds)
    flop = options.members * STEPS * _flop(loaded, configs[0])
    size = 256 if options.quick else 2048
    a, b = torch.randn(2, size, size, device=device)
    peak = 2 * size**3 / min(_seconds(device, lambda: a @ b) for _ in range(6))
    rows = []
    for name, times in found.items():
        each = median(times)
        ratio = median(s / t for s, t in zip(found["solo"], times, strict=True))
        rate = flop / each
        cells = (options.members * STEPS / each, ratio, rate / 1e9, 100 * rate / peak, begun[name] - each)
        rows.append([name, *map(rounded, cells)])
    head = ["", "trial-steps per second", "÷ solo", "GFLOP/s", "% of a large product", "first epoch longer by, s"]
    large = f"A large product ran at {peak / 1e9:.0f} GFLOP/s, on {torch.get_num_threads()} threads."
    return f"{table(head, rows)}\n\n{large}"


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """The time of `work`; with one thread it is processor time, which other programs change little."""
    clock = clock_here() if device.type == "cpu" else time.perf_counter
    synchronize(device)
    begun = clock()
    work()
    synchronize(device)
    return clock() - begun


def _trainer(trainer: Trainer, configs: list[Config]) -> Trainer:
    for number, config in enumerate(configs):
        trainer.add(number, config)
    return trainer


def _epoch(trainers: list[Trainer]) -> Callable[[], object]:
    return lambda: [trainer.advance() for trainer in trainers]


def _flop(loaded: LoadedStudy, config: Config) -> float:
    """The floating-point operations of the products of one member's step, forward and backward."""
    member = SoloMember(Training(loaded), 0, config, entry_epoch=0, seed=0)
    member.model.train()
    with FlopCounterMode(display=False) as counter:
        member.step([torch.arange(BATCH, device=loaded.device)[None]], 0)
    return float(counter.get_total_flops())


STUDY = """
import torch
from torch import nn
from mtlsearch import Classification, Data, Regression, SharedTrunk, Study, frozen, real

torch.manual_seed(0)
ENCODER = frozen(nn.Sequential(nn.Flatten(), nn.Linear(768, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(),
    nn.Linear(2048, {features}), nn.ReLU()))


def source(directory):
    x = torch.rand({examples}, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = {{"kind": (x.mean((2, 3)).argmax(1)), "amount": x[:, 0].mean((1, 2))}}
    split = (["train"] * 6 + ["validation"] * 2 + ["test"] * 2) * ({examples} // 10)
    return Data((x, labels), split=split)


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = ENCODER
        self.heads = SharedTrunk({features}, {{"kind": 3, "amount": 1}}, hidden=64, dropout=config["dropout"])

    def forward(self, inputs):
        x = self.encoder(next(iter(inputs.values())))
        return self.heads(dict.fromkeys(inputs, x))


study = Study(
    tasks=[Classification("kind", source), Regression("amount", source)],
    model=Net,
    space={{"dropout": real(0, 0.5), "weight_decay": real(1e-6, 1e-2, log=True),
        "learning_rate": real(1e-4, 1e-2, log=True)}},
    default={{"dropout": 0.1, "weight_decay": 1e-4, "learning_rate": 1e-3}},
    epochs={epochs},
    batch_size=256,
)
"""


def search_part(options: argparse.Namespace) -> str:
    trials, examples, features, epochs = (2, 200, 16, 1) if options.quick else (SEARCH_TRIALS, EXAMPLES, FEATURES, 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "on_features.py").write_text(STUDY.format(examples=examples, features=features, epochs=epochs))
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": str(options.threads)}

        def mtlsearch(*arguments: str) -> tuple[float, float]:
            """The wall time and the processor time of a command."""
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            command = [sys.executable, "-m", "mtlsearch", *arguments, "--threads", str(options.threads)]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
            after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            return ended - begun, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

        run = ("run", "on_features.py", "--trials", str(trials), "--no-confirm", "--quiet")
        passed = _pass_seconds(folder / "on_features.py", environment)
        for path in folder.rglob("*.npy"):
            path.unlink()
        whole = mtlsearch(*run, "--name", "first")
        kept = whole if options.quick else mtlsearch(*run, "--name", "again")
    rows = [
        ["one pass of the frozen module over all parts", *map(rounded, passed)],
        [f"{trials} trials, features computed first", *map(rounded, whole)],
        [f"{trials} trials, features kept", *map(rounded, kept)],
        ["above the one pass", *(rounded(a - b) for a, b in zip(whole, passed, strict=True))],
    ]
    return table([f"{examples:,} examples, {features} features, {epochs} epochs", "s", "processor time, s"], rows)


def _pass_seconds(file: Path, environment: dict[str, str]) -> list[float]:
    """The seconds by which the first load of a study is longer than the second, in wall and in processor time."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom mtlsearch import load_study\n"
        "from mtlsearch.study.loaded import load_data\n"
        "study = load_study(sys.argv[1])\n"
        "for _ in range(2):\n    begun = time.perf_counter(), time.process_time(); load_data(study, Path())\n"
        "    print(time.perf_counter() - begun[0], time.process_time() - begun[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], env=environment, check=True, capture_output=True, text=True
    )
    first, second = (list(map(float, line.split())) for line in done.stdout.splitlines())
    return [a - b for a, b in zip(first, second, strict=True)]


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--members", type=int, default=16)
    made.add_argument("--compiled", action="store_true", help="compile the population's step too")
    made.add_argument("--only", choices=["steps", "search"], help="one part")
    options = made.parse_args()
    if options.quick:
        options.rounds, options.members = 1, 2
    torch.set_num_threads(options.threads)
    parts = {"steps": steps_part, "search": search_part}
    bodies = [part(options) for name, part in parts.items() if options.only in (None, name)]
    title = f"Pretrained networks: adapters of {options.members} members, and a search on features"
    conclude(options, title, "\n\n".join(bodies), torch.device(options.device))


if __name__ == "__main__":
    main()

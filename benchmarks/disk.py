"""Trial-epochs a second with the pictures on disk, beside resident ones, for populations of 1 to 64.

    python benchmarks/disk.py --data DIR [--device cuda] [--threads N] [--members 1 4 16 64] [--rounds 3] [--examples N]

One task, MNIST, 64 examples a step at width 128: a step with little arithmetic, beside which reading weighs most. The
pictures are written once as a .npy file. *Disk* opens it with `np.load(…, mmap_mode="r")`, *resident* without. Whole
epochs are timed, validation included. The file has just been written, so its pages lie in the system's cache. So the
numbers show the cost of reading by batches; a cold disk adds its own.

A test checks that memory stays flat while a file is read: `tests/data/examples/test_on_disk.py`.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import (
    TINY,
    TINY_EPOCHS,
    add_data_option,
    add_device_options,
    conclude,
    data_folder,
    interleaved,
    parser,
    rounded,
    seconds,
    spread,
    table,
)

from mtlsearch import Classification, Data, SharedTrunk, Study, TorchvisionImages
from mtlsearch.study.loaded import load_data
from mtlsearch.study.space import Config
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import uncompiled
from mtlsearch.training.trainer import Training

WIDTH, HELD_OUT = 128, 10_000
WAYS = {"resident": None, "disk": "r"}  # how NumPy opens the file


def written(data: Data, folder: Path, examples: int | None) -> None:
    """Write both parts' pictures and labels as .npy files, with at most `examples` rows."""
    for name, part in {"train": data.train, "test": data.test}.items():
        np.save(folder / f"{name}.npy", part.inputs[:].numpy()[:examples])
        np.save(folder / f"{name}_labels.npy", part.labels["label"].numpy()[:examples])


def opened(folder: Path, mode: Any, held_out: int, directory: Path) -> Data:
    """The files as `Data`."""
    train, test = (
        (np.load(folder / f"{name}.npy", mmap_mode=mode), np.load(folder / f"{name}_labels.npy"))
        for name in ("train", "test")
    )
    return Data(train, test, validation=held_out)


def make_study(folder: Path, mode: Any, held_out: int, epochs: int) -> Study:
    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(784, {"mnist": 10}, hidden=WIDTH, dropout=config.number("dropout", 0.0))

    task = Classification("mnist", partial(opened, folder, mode, held_out))
    return Study(tasks=[task], model=model, space={}, default={"learning_rate": 1e-3, "dropout": 0.2}, epochs=epochs)


class Trained:
    """A population that trains epoch by epoch."""

    def __init__(self, study: Study, members: int, options: argparse.Namespace) -> None:
        loaded = load_data(study, Path(), options.device)
        self.device, self.members = loaded.device, members
        steps = uncompiled(self.device)
        self.trainer = PopulationTrainer(Training(loaded), members, steps)
        for number in range(members):
            self.trainer.add(number, study.default_config())
        if self.trainer.solo:
            raise SystemExit("the population is trained solo: there is nothing to measure")
        self.trainer.advance()  # captures, and fills the caches

    def sample(self) -> float:
        """Trial-epochs a second."""
        return self.members / seconds(self.device, self.trainer.advance)


def measured(folder: Path, members: int, held_out: int, options: argparse.Namespace) -> list[object]:
    """One row of the table: both ways, one after the other in every round."""
    epochs = options.rounds + 1  # so that no member ends before the last round
    cases: dict[str, Trained] = {
        name: Trained(make_study(folder, mode, held_out, epochs), members, options) for name, mode in WAYS.items()
    }
    samples: dict[str, Callable[[], float]] = {name: case.sample for name, case in cases.items()}
    rates = interleaved(samples, options.rounds)
    pairs = zip(rates["disk"], rates["resident"], strict=True)
    share = median(disk / resident for disk, resident in pairs)
    told = [spread(rates[name]) for name in WAYS]
    print(f"population {members}: {told}, {rounded(share)}", flush=True)
    return [f"population {members}", *told, rounded(share)]


def prepared(options: argparse.Namespace, scratch: Path) -> tuple[Path, int]:
    """The folder with the files, and how many examples are held out."""
    held_out = TINY if options.quick else HELD_OUT
    pictures = TorchvisionImages("MNIST", validation=held_out)(data_folder(options, scratch))
    folder = scratch / "files"
    folder.mkdir()
    written(pictures, folder, options.examples)
    return folder, held_out


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    add_data_option(made)
    made.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64], help="population sizes")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--examples", type=int, help="in the file, default all; fewer make an epoch shorter")
    options = made.parse_args()
    if options.quick:
        options.threads, options.rounds, options.members = 1, TINY_EPOCHS, [1, 2]
    torch.set_num_threads(options.threads)
    lines: Sequence[Sequence[object]]
    with tempfile.TemporaryDirectory() as scratch:
        folder, held_out = prepared(options, Path(scratch))
        size = (folder / "train.npy").stat().st_size >> 20
        rows = len(np.load(folder / "train.npy", mmap_mode="r")) - held_out
        steps = -(-rows // 64)
        lines = [measured(folder, members, held_out, options) for members in options.members]
    head = ["", "resident: trial-epochs/s", "disk: trial-epochs/s", "disk ÷ resident"]
    notes = [
        f"{options.threads} CPU threads, median of {options.rounds} epochs (lowest – highest), uncompiled steps.",
        f"The training file has {size} MiB; its pages lie in the system's cache. An epoch has {steps} steps.",
    ]
    body = "\n".join(f"- {note}" for note in notes)
    conclude(options, "From disk", f"{table(head, lines)}\n\n{body}", torch.device(options.device))


if __name__ == "__main__":
    main()

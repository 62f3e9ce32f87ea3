"""The studies of `kinds.py`: each shipped one, and files that it writes for tables, pictures and data on disk."""

from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from common import PICTURE_SETS

from mtlsearch.cli.main import main as mtlsearch

SHAPE = ("hidden=64", "depth=1", "norm=none")  # where a study has a fixed shape
PICTURES = '''"""Random pictures of two tasks."""

import numpy as np

from mtlsearch import Backbone, Classification, ConvTrunk, Data, Study, choice, real

ROWS, SIDE = {rows}, {side}


def pictures(directory):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (ROWS + 500, {channels}SIDE, SIDE), dtype=np.uint8)
    y = {{task: random.integers(0, 10, len(x)) for task in ("left", "right")}}
    parts = [(x[p], {{task: labels[p] for task, labels in y.items()}}) for p in (slice(ROWS), slice(ROWS, None))]
    return Data(*parts, validation=0.2)


def model(config):
    heads = {{"left": 10, "right": 10}}
    return {model}


study = Study(
    tasks=[Classification("left", pictures), Classification("right", pictures)],
    model=model,
    space={{{space}"learning_rate": real(1e-4, 1e-2, log=True)}},
    default={{{default}"learning_rate": 1e-3}},
    epochs={epochs},
    batch_size=64,
)
'''
ON_DISK = '''"""Random pictures in a memory-mapped file."""

from pathlib import Path

import numpy as np

from mtlsearch import Classification, Data, SharedTrunk, Study, integer, real

FILE = Path(__file__).parent / "pictures.npy"


def pictures(directory):
    x = np.load(FILE, mmap_mode="r")
    y = {task: np.random.default_rng(i).integers(0, 10, len(x)) for i, task in enumerate(("left", "right"))}
    parts = [(x[p], {task: labels[p] for task, labels in y.items()}) for p in (slice(-1000), slice(-1000, None))]
    return Data(*parts, validation=0.1)


def model(config):
    return SharedTrunk(784, {"left": 10, "right": 10}, hidden=config["hidden"], dropout=0.1)


study = Study(
    tasks=[Classification("left", pictures), Classification("right", pictures)],
    model=model,
    space={"hidden": integer(32, 256, log=True), "learning_rate": real(1e-4, 1e-2, log=True)},
    default={"hidden": 64, "learning_rate": 1e-3},
    epochs=2,
    batch_size=64,
)
'''


@dataclass(frozen=True)
class Kind:
    """A row of the table: how its study is written or named, its budget, and dimensions that are fixed.

    `write` gives the study's name or file, made in the folder where it needs one. `least` is what default ÷ solo must
    reach.
    """

    write: Callable[[Path], str]
    trials: int
    epochs: int
    fixed: tuple[str, ...] = ()
    least: float = 1.0
    needs: tuple[str, ...] = ()  # folders or files of the data directory

    def quick(self) -> "Kind":
        return replace(self, trials=2, epochs=1)


def shipped(name: str) -> Callable[[Path], str]:
    return lambda folder: name


def table(rows: int, columns: int, tasks: int) -> Callable[[Path], str]:
    """The study that `mtlsearch init` writes for a table of random numbers, half of whose targets are classes."""

    def write(folder: Path) -> str:
        name = f"table_{rows}_{columns}_{tasks}"
        study = folder / f"{name}.py"
        if study.exists():
            return str(study)
        random = np.random.default_rng(0)
        x = random.normal(size=(rows, columns)).round(3)
        frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)])
        targets = {}
        for i in range(tasks):
            values = x[:, :8] @ random.normal(size=(8, 3)) + random.normal(size=(rows, 3))
            targets[f"t{i}"] = values.argmax(1) if i % 2 else values[:, 0].round(3)
        frame = pd.concat([frame, pd.DataFrame(targets)], axis=1)
        large = x.size > 10_000_000
        source = folder / f"{name}.{'parquet' if large else 'csv'}"
        frame.to_parquet(source, index=False) if large else frame.to_csv(source, index=False)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            asked = ["init", "--csv", str(source), "--targets", ",".join(targets), "--out", str(study)]
            mtlsearch(asked, standalone_mode=False)
        return str(study)

    return write


def pictures(
    rows: int, side: int, model: str, space: str = "", default: str = "", channels: str = ""
) -> Callable[[Path], str]:
    """A study of random pictures and a network of convolutions."""

    def write(folder: Path) -> str:
        study = folder / f"pictures_{model.split('(', maxsplit=1)[0]}.py"
        text = PICTURES.format(
            rows=rows, side=side, model=model, space=space, default=default, channels=channels, epochs=2
        )
        study.write_text(text)
        return str(study)

    return write


def on_disk(folder: Path) -> str:
    """A study of pictures that stay on disk."""
    study, file = folder / "on_disk.py", folder / "pictures.npy"
    if not file.exists():
        np.save(file, np.random.default_rng(0).integers(0, 256, (11_000, 28, 28), dtype=np.uint8))
        study.write_text(ON_DISK)
    return str(study)


CONV = 'ConvTrunk(heads, channels=config["channels"], depth=2, norm=config["norm"], dropout=0.1)'
KINDS = {
    # What the issue names, and must reach.
    "init's space, 16 × 2": Kind(table(70_000, 60, 2), 16, 2),
    "init's space, 40 × 5": Kind(table(70_000, 60, 2), 40, 5, least=1.5),
    "scenes": Kind(shipped("scenes"), 8, 2),
    "resnet18": Kind(pictures(1000, 32, 'Backbone("resnet18", heads)', channels="3, "), 6, 1),
    "digits": Kind(shipped("digits"), 48, 4, least=2.0),
    # The other shipped studies.
    "mnist-fashion": Kind(shipped("mnist-fashion"), 16, 2, needs=PICTURE_SETS),
    "mnist-fashion-separate": Kind(shipped("mnist-fashion-separate"), 16, 1, needs=PICTURE_SETS),
    "tweets": Kind(shipped("tweets"), 6, 1, needs=("tweets",)),
    "chestmnist": Kind(shipped("chestmnist"), 6, 1, needs=("chestmnist.npz",)),
    # Tables by rows × columns × tasks.
    "2,000 × 60 × 2, init": Kind(table(2_000, 60, 2), 32, 30),
    "2,000 × 60 × 12, fixed": Kind(table(2_000, 60, 12), 32, 20, SHAPE),
    "2,000 × 400 × 2, fixed": Kind(table(2_000, 400, 2), 32, 30, SHAPE),
    "2,000 × 400 × 40, init": Kind(table(2_000, 400, 40), 32, 10),
    "2,000 × 60 × 100, init": Kind(table(2_000, 60, 100), 16, 5),
    "60,000 × 60 × 2, fixed": Kind(table(60_000, 60, 2), 16, 4, SHAPE),
    "60,000 × 60 × 12, init": Kind(table(60_000, 60, 12), 16, 2),
    "60,000 × 60 × 40, fixed": Kind(table(60_000, 60, 40), 16, 1, SHAPE),
    "60,000 × 400 × 2, init": Kind(table(60_000, 400, 2), 16, 2),
    "60,000 × 400 × 40, init": Kind(table(60_000, 400, 40), 16, 1),
    # Other data and networks.
    "convolutions": Kind(
        pictures(
            2000,
            28,
            CONV,
            '"channels": choice(8, 16), "norm": choice("none", "batch"), ',
            '"channels": 8, "norm": "none", ',
        ),
        12,
        2,
    ),
    "from disk": Kind(on_disk, 16, 2),
}

"""The studies that `kinds.py` measures: every shipped one, and made ones of every kind of data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mtlsearch import Backbone, Classification, ConvTrunk, Data, Regression, SharedTrunk, Study, choice, integer, real
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.study.space import Config
from mtlsearch.study.study_file import load_study

CLASSES = 3
RATES = {"learning_rate": real(1e-4, 1e-1, log=True)}
# The space and the default that `mtlsearch init` writes.
INIT = {
    "hidden": integer(16, 256, log=True),
    "depth": integer(1, 3),
    "dropout": real(0.0, 0.5),
    "optimizer": choice("adam", "adamw", "sgd"),
    "weight_decay": real(1e-6, 1e-1, log=True),
    "norm": choice("none", "batch", "layer"),
}
DEFAULT = {"hidden": 64, "depth": 1, "dropout": 0.1, "optimizer": "adam", "weight_decay": 1e-4, "norm": "none"}


@dataclass(frozen=True)
class Kind:
    """A kind of study, and the number of trials that are planned for."""

    name: str
    study: Callable[[Path], Study]  # from a folder for its files
    trials: int = 40


def kinds(quick: bool) -> list[Kind]:
    """Every kind, those last whose many lane widths take minutes to compile; with `quick` a few tiny ones."""
    if quick:
        few = [Kind("table, 300 × 8, 2 tasks, init's space", partial(table, 300, 8, 2, is_fixed=False))]
        return [*few, Kind("from disk, 600 × 784", partial(on_disk, 600)), Kind("digits", shipped("digits"))]
    first, last = (
        [Kind(name, shipped(name)) for name in shipped_studies() if name.startswith("mnist") is slow]
        for slow in (False, True)
    )
    made = [
        Kind("convolutions, 28 × 28", convolutions),
        Kind("Backbone resnet18, 32 × 32", backbone, trials=6),
        Kind("from disk, 60,000 × 784", partial(on_disk, 60_000)),
    ]
    return [*first, *made, *tables(), *last]


def tables() -> Iterator[Kind]:
    for is_fixed, tasks, columns, rows in product((False, True), (2, 12, 40), (60, 400), (2_000, 60_000)):
        space = "fixed shape" if is_fixed else "init's space"
        make = partial(table, rows, columns, tasks, is_fixed=is_fixed)
        yield Kind(f"table, {rows:,} × {columns}, {tasks} tasks, {space}", make)


def shipped(name: str) -> Callable[[Path], Study]:
    return lambda folder: load_study(name)


def names(tasks: int) -> list[str]:
    return [f"task{number}" for number in range(tasks)]


def parts(inputs: Any, labels: Mapping[str, Any]) -> Data:
    """Three fifths to train, a fifth each to validate and to test."""
    ends = [0, 3 * len(inputs) // 5, 4 * len(inputs) // 5, len(inputs)]
    train, validation, test = ((inputs[a:b], {task: y[a:b] for task, y in labels.items()}) for a, b in pairwise(ends))
    return Data(train, test, validation=validation)


def classes(inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
    """A class a task, by the sum of some of an input's numbers."""
    flat = np.asarray(inputs[:, :: max(1, inputs.shape[1] // 16)]).reshape(len(inputs), -1).astype(np.float32)
    sums = flat @ np.random.default_rng(1).normal(size=(flat.shape[1], len(tasks)))
    edges = np.quantile(sums, [1 / 3, 2 / 3], axis=0)
    return {task: np.digitize(sums[:, i], edges[:, i]) for i, task in enumerate(tasks)}


def table(rows: int, columns: int, tasks: int, folder: Path, *, is_fixed: bool) -> Study:
    """A table of numbers, half of whose tasks are regressions."""

    def source(directory: Path) -> Data:
        inputs = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
        found = classes(inputs, names(tasks))
        return parts(inputs, {t: y.astype(np.float32) if i % 2 else y for i, (t, y) in enumerate(found.items())})

    def model(config: Config) -> nn.Module:
        heads = {task: 1 if i % 2 else CLASSES for i, task in enumerate(names(tasks))}
        shape = {name: config[name] for name in ("hidden", "depth", "dropout", "norm")}
        return SharedTrunk(columns, heads, **shape)  # type: ignore[arg-type]

    made = [(Regression if i % 2 else Classification)(task, source) for i, task in enumerate(names(tasks))]
    space = RATES if is_fixed else {**RATES, **INIT}
    default = {**DEFAULT, "learning_rate": 1e-3}
    return Study(made, model=model, space=space, default=default, epochs=30 if rows < 5_000 else 10)


def convolutions(folder: Path) -> Study:
    def model(config: Config) -> nn.Module:
        channels = int(config.number("channels", 16))
        return ConvTrunk(dict.fromkeys(names(2), CLASSES), channels=channels, depth=2, norm="batch")

    space = {**RATES, "channels": choice(8, 16)}
    return pictures(partial(random_pictures, 6_000, (28, 28)), model, space, {"channels": 16})


def backbone(folder: Path) -> Study:
    def model(config: Config) -> nn.Module:
        return Backbone("resnet18", dict.fromkeys(names(2), CLASSES))

    return pictures(partial(random_pictures, 1_000, (3, 32, 32)), model, RATES, {}, epochs=1)


def random_pictures(count: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def on_disk(count: int, folder: Path) -> Study:
    """Pictures in a memory-mapped file, which every epoch reads."""
    path = folder / "pictures.npy"
    np.save(path, random_pictures(count, (28, 28)))

    def model(config: Config) -> nn.Module:
        return SharedTrunk(784, dict.fromkeys(names(2), CLASSES), hidden=128)

    return pictures(lambda: np.load(path, mmap_mode="r"), model, RATES, {})


def pictures(
    read: Callable[[], Any],
    model: Callable[[Config], nn.Module],
    space: Mapping[str, Any],
    default: Mapping[str, Any],
    epochs: int = 10,
) -> Study:
    """A study of two classifications of the pictures that `read` gives."""

    def source(directory: Path) -> Data:
        found = read()
        return parts(found, classes(np.asarray(found), names(2)))

    tasks = [Classification(task, source) for task in names(2)]
    return Study(tasks, model=model, space=space, default={**default, "learning_rate": 1e-3}, epochs=epochs)

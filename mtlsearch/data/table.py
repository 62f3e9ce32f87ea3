"""A table as a source: targets become labels, columns become inputs, rows become training, validation and test.

Rows are divided first, by a seed of the table's own; everything fitted is fitted on the training rows alone.
`labels_of` and `divide_rows` serve every source that lists its examples in a table.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import nn

from mtlsearch.data.parts import Data, FittedSource
from mtlsearch.data.table_encoding import Encoding, fit_category, fit_number
from mtlsearch.data.table_file import check_columns, numbers_of, read_table, texts_of
from mtlsearch.errors import DataError, StudyError

Kind = Literal["number", "category"]
Rows = np.ndarray[Any, np.dtype[np.int64]]
Labels = dict[str, np.ndarray[Any, Any]]
PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


@dataclass
class Table(FittedSource):
    """A CSV or Parquet file (by its suffix) with `targets` to predict from its other columns.

    `path` is absolute, or relative to the data directory; a study file names a file beside itself by
    `Path(__file__).resolve().parent / "data.csv"`. `numbers` are standardised, `dates` become days; a missing
    value becomes the median, beside an input that tells it. `categories` get an input per level. `targets` are
    "number" (for a Regression) or "category" (for a Classification) by column; the task's name is the column's, any
    character but letters, digits, '_' and '-' replaced by '_'. A missing target is a missing label.

    `validation` and `test` are the fractions of the rows to hold out, drawn by `split_seed`; or `split` names a
    column of train, validation and test. `decimal` is the mark in numbers, `blanks` are texts that mean a missing
    value. Raises DataError where the file does not hold what is named here.
    """

    path: str | Path
    numbers: Sequence[str] = ()
    categories: Sequence[str] = ()
    dates: Sequence[str] = ()
    targets: Mapping[str, Kind] = field(default_factory=dict)
    validation: float = 0.2
    test: float = 0.2
    split: str | None = None
    split_seed: int = 0
    decimal: str = "."
    blanks: Sequence[str] = ()
    _encoding: Encoding | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_targets(self.targets)
        inputs = [*self.numbers, *self.categories, *self.dates]
        if not inputs:
            raise StudyError("a table needs columns as inputs: name numbers, categories or dates")
        named = [*inputs, *self.targets, *([self.split] if self.split else [])]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise StudyError(f"each column of a table is named once, but {twice[0]!r} is there twice")
        check_shares(self.validation, self.test)

    def __call__(self, directory: Path, /) -> Data:
        path = directory / self.path
        text = [*self.categories, *(name for name, kind in self.targets.items() if kind == "category")]
        frame = read_table(path, text=text, decimal=self.decimal, missing=self.blanks)
        check_columns(frame, self.targets, "the target")
        check_columns(frame, [*self.numbers, *self.categories, *self.dates], "the input")
        labels, classes = labels_of(frame, self.targets)
        parts = divide_rows(frame, labels, classes, self.validation, self.test, self.split, self.split_seed)
        self._encoding = encoding = self._fit(frame.iloc[parts["train"]])
        return data_of(encoding.apply(frame), labels, classes, parts, table=encoding.to_dict())

    @property
    def encoding(self) -> Encoding:
        """The encoding fitted on the training rows when the data were loaded last, which this does if need be."""
        if self._encoding is None:
            self(Path())
        assert self._encoding is not None
        return self._encoding

    def restore(self, fitted: Mapping[str, Any]) -> None:
        if "table" in fitted:
            self._encoding = Encoding.from_dict(fitted["table"])

    @property
    def features(self) -> int:
        """The number of a model's inputs."""
        return self.encoding.features

    def _fit(self, train: pd.DataFrame) -> Encoding:
        numbers = [fit_number(train, column) for column in self.numbers]
        dates = [fit_number(train, column, date=True) for column in self.dates]
        categories = [fit_category(train, column) for column in self.categories]
        return Encoding(numbers + dates, categories, self.decimal, tuple(self.blanks))


def task_name(column: str) -> str:
    """The name of the task that predicts `column`."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", column)
    # A module by that name could not be kept in a ModuleDict: `type`, `keys`, `values`.
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def check_targets(targets: Mapping[str, str]) -> None:
    """Raise StudyError where targets are none, of an unknown kind, or give two tasks one name."""
    if not targets:
        raise StudyError("targets must name one column or more, but it is empty")
    for column, kind in targets.items():
        if kind not in ("number", "category"):
            raise StudyError(f"target {column!r} must be 'number' or 'category', but got {kind!r}")
    names = [task_name(column) for column in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StudyError(f"each target needs a task's name of its own, but {twice[0]!r} is there twice")


def check_shares(validation: float, test: float) -> None:
    """Raise StudyError where the fractions leave nothing for a part."""
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise StudyError(
            f"validation and test are fractions above 0 that sum to less than 1, but got {validation} and {test}"
        )


def labels_of(frame: pd.DataFrame, targets: Mapping[str, str]) -> tuple[Labels, dict[str, tuple[str, ...]]]:
    """Labels [N] by task, float32 with NaN or whole numbers with −1 where missing; and the classes by task."""
    labels, classes = {}, {}
    for column, kind in targets.items():
        task, what = task_name(column), f"target {column!r}"
        values = texts_of(frame[column]) if kind == "category" else frame[column]
        if not values.notna().any():
            raise DataError(f"{what} is missing in every row: there is nothing to learn")
        found = values.dropna().unique()
        if len(found) == 1:
            raise DataError(
                f"{what} has the one value {str(found[0])!r} in every row: there is nothing to learn"
            )
        if kind == "category":
            classes[task] = tuple(in_order(found.tolist()))
            labels[task] = pd.Categorical(values, categories=classes[task]).codes.astype(np.int64)
        else:
            with np.errstate(over="ignore"):  # what is too large for float32 is told as infinity by the task
                labels[task] = numbers_of(values, what).astype(np.float32)
    return labels, classes


def data_of(
    inputs: np.ndarray[Any, Any],
    labels: Labels,
    classes: Mapping[str, Sequence[str]],
    parts: Mapping[str, Rows],
    **options: Any,
) -> Data:
    """The rows of each part as `Data`, which takes the `options`."""
    train, validation, test = (
        (inputs[parts[part]], {task: y[parts[part]] for task, y in labels.items()})
        for part in ("train", "validation", "test")
    )
    return Data(train, test, validation=validation, classes=classes, **options)


def in_order(texts: Sequence[str]) -> list[str]:
    """Texts sorted as numbers where all of them are."""
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def divide_rows(
    frame: pd.DataFrame,
    labels: Labels,
    classes: Mapping[str, Sequence[str]],
    validation: float,
    test: float,
    split: str | None,
    seed: int,
) -> dict[str, Rows]:
    """The rows of training, validation and test.

    By the column `split` where it is named; else, or where it has no validation rows, drawn by `seed`, with the
    shares of the first task's classes and with each class in training.
    """
    codes = [labels[task] for task in classes]
    everything = np.arange(len(frame))
    if split is None:
        rest, held = _draw(everything, codes, test, seed)
        parts = dict(
            zip(("train", "validation"), _draw(rest, codes, validation / (1 - test), seed + 1), strict=True)
        )
        parts["test"] = held
    else:
        parts = _parts_by_column(frame, split)
        if not len(parts["validation"]):
            parts["train"], parts["validation"] = _draw(parts["train"], codes, validation, seed + 1)
        _check_known(frame, labels, classes, parts)
    for part, rows in parts.items():
        if not len(rows):
            raise DataError(f"{len(frame)} rows leave none for {part}: more rows are needed")
    return parts


def _draw(rows: Rows, codes: Sequence[np.ndarray[Any, Any]], share: float, seed: int) -> tuple[Rows, Rows]:
    """`rows` without those drawn, and a `share` of them drawn; a class's first row is never drawn."""
    order = np.random.default_rng(seed).permutation(rows)
    kept = [order[np.unique(of_task[order], return_index=True)[1]] for of_task in codes]
    rest = order[~np.isin(order, np.concatenate(kept))] if kept else order
    if codes:
        rest = rest[np.argsort(codes[0][rest], kind="stable")]
    # Every k-th row of what is sorted by class takes of each class its share.
    steps = np.floor(np.arange(len(rest) + 1) * min(1.0, share * len(rows) / max(1, len(rest))) + 0.5)
    drawn = np.sort(rest[np.diff(steps) > 0])
    return np.sort(rows[~np.isin(rows, drawn)]), drawn


def _parts_by_column(frame: pd.DataFrame, split: str) -> dict[str, Rows]:
    check_columns(frame, [split], "the split")
    texts = texts_of(frame[split])
    parts = texts.map(lambda text: PARTS.get(text.lower()), na_action="ignore")
    if parts.isna().any():
        row, text = parts.index[parts.isna()][0], texts[parts.isna()].iloc[0]
        raise DataError(
            f"split {split!r}: {frame.index.name} {row} must be train, validation or test, but is {text!r}"
        )
    return {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}


def _check_known(
    frame: pd.DataFrame, labels: Labels, classes: Mapping[str, Sequence[str]], parts: Mapping[str, Rows]
) -> None:
    """Raise DataError for a class that the training rows do not hold."""
    for task, names in classes.items():
        known = set(labels[task][parts["train"]].tolist()) | {-1}
        for part in ("validation", "test"):
            unknown = parts[part][~np.isin(labels[task][parts[part]], list(known))]
            if len(unknown):
                raise DataError(
                    f"task {task!r}: the label {names[labels[task][unknown[0]]]!r} in the {part} rows"
                    f" ({frame.index.name} {frame.index[unknown[0]]}) is not among the training labels:"
                    f" {', '.join(names[i] for i in sorted(known - {-1}))}"
                )

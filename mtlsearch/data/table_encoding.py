"""The encoding of a table's columns as a model's inputs, fitted on the training rows alone.

A number or a date is standardised, after the median has replaced missing values; a second input marks those. A
category has an input of 0 or 1 for each level, one for missing values, and one for all rare levels. An input that is
0 in all training rows (no missing value, no rare level) is left out, since its weights would stay untrained: a new
level then gives zeros.

The levels of a wide category share a fixed number of inputs: each level has a few ones among them, whose places follow
from a hash of its text (a Bloom embedding, Serrà and Karatzoglou 2017), and no two levels have the same ones.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtlsearch.data.table_file import TYPED, cells, check_columns, numbers_of, read_table, suffix, texts_of
from mtlsearch.errors import DataError

RARE = 3  # a level in fewer training rows is rare
MOST_LEVELS = 256  # a category of more is wide
SHARED, ONES = 128, 4  # the inputs that its levels share, and how many of them are 1 for each level
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Number:
    """A column of numbers, or of dates as days: the `fill` of missing values, and the standardisation."""

    column: str
    fill: float
    mean: float
    std: float
    missing: bool
    date: bool = False

    @property
    def features(self) -> int:
        return 1 + self.missing

    def write(self, inputs: Array, frame: pd.DataFrame) -> None:
        """Write the column's `inputs` [N, features]. Raises DataError for a cell of another kind."""
        values = numbers_of(frame[self.column], f"column {self.column!r}", date=self.date)
        gaps = np.isnan(values)
        inputs[:, 0] = (np.where(gaps, self.fill, values) - self.mean) / self.std
        if self.missing:
            inputs[:, 1] = gaps

    def value(self, inputs: Sequence[float]) -> str:
        """The value that a row's inputs [features] stand for."""
        if self.missing and inputs[1]:
            return "missing"
        number = inputs[0] * self.std + self.mean
        return str(np.datetime64(round(number), "D")) if self.date else f"{number:.5g}"


@dataclass(frozen=True)
class Category:
    """A column of categories: its levels, and whether missing values and rare levels have an input.

    `shared` is the number of inputs that its levels share, 0 where each has one of its own.
    """

    column: str
    levels: Sequence[str]
    missing: bool
    rarer: bool
    shared: int = 0

    @property
    def of_levels(self) -> int:
        """The number of inputs for its levels."""
        return self.shared or len(self.levels)

    @property
    def features(self) -> int:
        return self.of_levels + self.missing + self.rarer

    @cached_property
    def codes(self) -> Array:
        """The inputs [L, of_levels] of each level."""
        return hashed(self.levels, self.shared) if self.shared else np.eye(len(self.levels), dtype=np.float32)

    def write(self, inputs: Array, frame: pd.DataFrame) -> None:
        """Write the column's `inputs` [N, features], which are 0."""
        texts = texts_of(frame[self.column])
        levels, own = pd.Index(list(self.levels)).get_indexer_for(pd.Index(texts)), self.of_levels
        known, gaps = levels >= 0, texts.isna().to_numpy()
        inputs[known, :own] = self.codes[levels[known]]
        if self.missing:
            inputs[:, own] = gaps
        if self.rarer:
            inputs[:, own + self.missing] = ~gaps & ~known

    def value(self, inputs: Sequence[float]) -> str:
        """The level that a row's inputs [features] stand for."""
        own = self.of_levels
        found = np.flatnonzero((self.codes == np.asarray(inputs[:own])).all(1))
        if len(found):
            return str(self.levels[found[0]])
        others = [*["missing"] * self.missing, *["a rare one"] * self.rarer]
        return next((other for other, is_it in zip(others, inputs[own:], strict=True) if is_it), "unknown")


def hashed(levels: Sequence[str], size: int) -> Array:
    """The inputs [L, size] of levels that share them, with ONES ones each: of two levels they differ."""
    codes, taken = np.zeros((len(levels), size), np.float32), set()
    for row, level in enumerate(levels):
        places = next(places for places in _draws(level, size) if places not in taken)
        taken.add(places)
        codes[row, list(places)] = 1
    return codes


def _draws(level: str, size: int) -> Iterator[frozenset[int]]:
    """Places among `size` inputs that follow from a level's text, one set after the other."""
    draw = 0
    while True:
        digest = hashlib.sha256(f"{draw} {level}".encode()).digest()
        numbers = (int.from_bytes(digest[i : i + 2]) % size for i in range(0, len(digest), 2))
        places = list(dict.fromkeys(numbers))[:ONES]
        if len(places) == ONES:
            yield frozenset(places)
        draw += 1


@dataclass(frozen=True)
class Encoding:
    """The fitted columns in the order of the model's inputs.

    `decimal`, `blanks` and `header` say how their file is read.
    """

    numbers: Sequence[Number]
    categories: Sequence[Category]
    decimal: str = "."
    blanks: Sequence[str] = ()
    header: Sequence[str] = ()

    @property
    def columns(self) -> Sequence[Number | Category]:
        return [*self.numbers, *self.categories]

    def read(self, path: Path) -> pd.DataFrame:
        """The rows of a file like the one that was fitted; the first line may name the columns. Raises DataError."""
        text = [column.column for column in self.categories]
        return read_table(path, text=text, decimal=self.decimal, missing=self.blanks, header=self.header_of(path))

    def header_of(self, path: Path) -> Sequence[str]:
        """The names of a file's columns where its first line does not hold those of the model's inputs."""
        if not self.header or not path.is_file() or suffix(path) in TYPED:
            return ()
        first = {cell.strip() for cell in next(cells(path), [])}
        return () if {column.column for column in self.columns} <= first else self.header

    @property
    def features(self) -> int:
        """The number of inputs."""
        return sum(column.features for column in self.columns)

    def apply(self, frame: pd.DataFrame) -> Array:
        """The inputs [N, features] in float32. Raises DataError for a missing column, or a cell of another kind."""
        check_columns(frame, (column.column for column in self.columns), "the model's input")
        encoded, start = np.zeros((len(frame), self.features), np.float32), 0
        with np.errstate(over="ignore"):  # infinity is refused below
            for column in self.columns:
                column.write(encoded[:, start : start + column.features], frame)
                start += column.features
        outside = np.flatnonzero(~np.isfinite(encoded).all(axis=1))
        if len(outside):
            row = f"{frame.index.name} {frame.index[outside[0]]}"
            raise DataError(f"{row} holds a number too large for the model's inputs: mend it")
        return encoded

    @property
    def wide(self) -> list[Category]:
        """The categories whose levels share inputs."""
        return [category for category in self.categories if category.shared]

    def names(self, inputs: Sequence[float]) -> list[str]:
        """The column of each of a row's inputs [features], with its value in that row."""
        names, start = [], 0
        for column in self.columns:
            own = inputs[start : start + column.features]
            names += [f"{column.column} = {column.value(own)}"] * column.features
            start += column.features
        return names

    def to_dict(self) -> dict[str, Any]:
        """The encoding as JSON holds it, which models' files keep."""
        fitted = asdict(self)
        # As it was written before there were files without a header, and wide categories.
        if not self.header:
            del fitted["header"]
        for category in fitted["categories"]:
            if not category["shared"]:
                del category["shared"]
        return fitted

    @classmethod
    def from_dict(cls, fitted: Mapping[str, Any]) -> "Encoding":
        numbers = [Number(**column) for column in fitted["numbers"]]
        categories = [Category(**column) for column in fitted["categories"]]
        blanks, header = tuple(fitted["blanks"]), tuple(fitted.get("header", ()))
        return cls(numbers, categories, fitted["decimal"], blanks, header)


def fit_number(train: pd.DataFrame, column: str, *, date: bool = False) -> Number:
    """The median, mean and standard deviation of `column` in the training rows."""
    values = numbers_of(train[column], f"column {column!r}", date=date)
    gaps = np.isnan(values)
    if gaps.all():
        raise DataError(f"column {column!r} holds no value in the training rows: leave it out")
    with np.errstate(over="ignore", invalid="ignore"):
        fill = float(np.median(values[~gaps]))
        filled = np.where(gaps, fill, values)
        mean, std = float(filled.mean()), float(filled.std())
    if not np.isfinite(std):
        raise DataError(f"column {column!r} holds numbers too large to standardise (up to {filled.max():.3g})")
    # Not std > 0, which rounding makes true for a constant.
    spread = bool(filled.min() < filled.max())
    return Number(column, fill, mean, std if spread else 1.0, bool(gaps.any()), date)


def fit_category(train: pd.DataFrame, column: str, most_levels: int = MOST_LEVELS) -> Category:
    """The levels of `column` in the training rows, sorted; more than `most_levels` share their inputs."""
    texts = texts_of(train[column])
    counts = texts.value_counts()
    levels = sorted(str(level) for level in counts.index[counts >= RARE])
    rarer = len(levels) < len(counts)
    if not len(counts):
        raise DataError(f"column {column!r} holds no value in the training rows: leave it out")
    shared = SHARED if len(levels) > most_levels else 0
    return Category(column, levels, bool(texts.isna().any()), rarer, shared)

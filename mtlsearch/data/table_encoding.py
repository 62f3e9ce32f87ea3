"""The encoding of a table's columns as a model's inputs, fitted on the training rows alone.

A number or a date is standardised, after the median has replaced missing values; a second input marks those. A
category has an input of 0 or 1 for each level, one for missing values, and one for all rare levels. An input that is
0 in all training rows (no missing value, no rare level) is left out, since its weights would stay untrained: a new
level then gives zeros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtlsearch.data.table_file import TYPED, cells, check_columns, numbers_of, read_table, suffix, texts_of
from mtlsearch.errors import DataError

RARE = 3  # a level in fewer training rows is rare


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

    def apply(self, frame: pd.DataFrame) -> list[np.ndarray[Any, Any]]:
        values = numbers_of(frame[self.column], f"column {self.column!r}", date=self.date)
        gaps = np.isnan(values)
        scaled = (np.where(gaps, self.fill, values) - self.mean) / self.std
        return [scaled, gaps] if self.missing else [scaled]

    def value(self, inputs: Sequence[float]) -> str:
        """The value that a row's inputs [features] stand for."""
        if self.missing and inputs[1]:
            return "missing"
        number = inputs[0] * self.std + self.mean
        return str(np.datetime64(round(number), "D")) if self.date else f"{number:.5g}"


@dataclass(frozen=True)
class Category:
    """A column of categories: its levels, and whether missing values and rare levels have an input."""

    column: str
    levels: Sequence[str]
    missing: bool
    rarer: bool

    @property
    def features(self) -> int:
        return len(self.levels) + self.missing + self.rarer

    def apply(self, frame: pd.DataFrame) -> list[np.ndarray[Any, Any]]:
        texts = texts_of(frame[self.column])
        gaps = texts.isna().to_numpy()
        inputs = [(texts == level).to_numpy() for level in self.levels]
        rarer = ~gaps & ~texts.isin(list(self.levels)).to_numpy()
        return inputs + [gaps] * self.missing + [rarer] * self.rarer

    def value(self, inputs: Sequence[float]) -> str:
        """The level that a row's inputs [features] stand for."""
        levels = [*self.levels, *["missing"] * self.missing, *["a rare one"] * self.rarer]
        return next((level for level, is_it in zip(levels, inputs, strict=True) if is_it), "unknown")


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

    def apply(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """The inputs [N, features] in float32. Raises DataError for a missing column, or a cell of another kind."""
        check_columns(frame, (column.column for column in self.columns), "the model's input")
        inputs = [values for column in self.columns for values in column.apply(frame)]
        with np.errstate(over="ignore"):  # infinity is refused below
            encoded = np.stack(inputs, axis=1).astype(np.float32)
        outside = np.flatnonzero(~np.isfinite(encoded).all(axis=1))
        if len(outside):
            row = f"{frame.index.name} {frame.index[outside[0]]}"
            raise DataError(f"{row} holds a number too large for the model's inputs: mend it")
        return encoded

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
        if not self.header:  # as it was written before there were files without one
            del fitted["header"]
        return fitted

    @classmethod
    def from_dict(cls, fitted: Mapping[str, Any]) -> "Encoding":
        numbers = [Number(**column) for column in fitted["numbers"]]
        categories = [Category(**column) for column in fitted["categories"]]
        return cls(numbers, categories, fitted["decimal"], fitted["blanks"], fitted.get("header", ()))


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


def fit_category(train: pd.DataFrame, column: str) -> Category:
    """The levels of `column` in the training rows, sorted."""
    texts = texts_of(train[column])
    counts = texts.value_counts()
    levels = sorted(str(level) for level in counts.index[counts >= RARE])
    rarer = len(levels) < len(counts)
    if not len(counts):
        raise DataError(f"column {column!r} holds no value in the training rows: leave it out")
    return Category(column, levels, bool(texts.isna().any()), rarer)

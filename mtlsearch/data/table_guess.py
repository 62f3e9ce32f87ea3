"""Guesses of the kinds of a table's columns, made once by `mtlsearch init` and written into the study file.

Loading a study guesses nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mtlsearch.data.parts import Data, Part
from mtlsearch.data.table import Table
from mtlsearch.data.table_file import PARQUET, check_columns, read_table, separator
from mtlsearch.errors import DataError

LEVELS = 50  # a text column of more values is no category
CLASSES = 10  # a target of more whole numbers is a number
BLANKS = ("?", "-", "--", ".", "unknown", "missing")  # texts for a missing value that pandas does not know
SKEWED = 0.75  # with a class of this share, accuracy says little

ColumnKind = Literal["number", "category", "date", "left out"]
MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Column:
    """The guess for one column, and the reason."""

    name: str
    kind: ColumnKind
    why: str
    missing: int
    distinct: int
    is_target: bool = False


@dataclass(frozen=True)
class Guess:
    """The guess for a table: its columns, the `Table` that follows with its data, and its targets of skewed classes."""

    columns: Sequence[Column]
    table: Table
    data: Data
    skewed: Sequence[str]
    separator: str

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The rows of training, validation and test."""
        validation = self.data.validation
        assert isinstance(validation, Part)
        return len(self.data.train), len(validation), len(self.data.test)

    @property
    def summary(self) -> str:
        """The reading and the division of the file in one line."""
        written = f", separated by {MARKS[self.separator]}" if self.separator in MARKS else ""
        comma = " with decimal commas" if self.table.decimal == "," else ""
        train, validation, test = self.sizes
        return (
            f"{Path(self.table.path).name}: {self.rows} rows{written}{comma}; {train} to train, {validation} to"
            f" validate, {test} to test; inputs after encoding: {self.table.features}"
        )


def guess_table(path: Path, targets: Sequence[str]) -> Guess:
    """Guess the columns of a file, and load it so. Raises DataError where no study can be made of it."""
    decimal = _decimal(path)
    blanks = _blanks(read_table(path, decimal=decimal))
    frame = read_table(path, decimal=decimal, missing=blanks)
    targets = _named(targets, frame)
    check_columns(frame, targets, "the target")
    columns = {
        name: _target(frame[name]) if name in targets else _input(frame[name]) for name in map(str, frame.columns)
    }
    inputs = [column for column in columns.values() if not column.is_target]
    if all(column.kind == "left out" for column in inputs):
        reasons = "; ".join(f"{c.name}: {c.why}" for c in inputs) or "it holds targets alone"
        raise DataError(f"{path} has no column to predict from ({reasons})")
    table = Table(
        path.resolve(),
        numbers=[c.name for c in inputs if c.kind == "number"],
        categories=[c.name for c in inputs if c.kind == "category"],
        dates=[c.name for c in inputs if c.kind == "date"],
        targets={name: "category" if columns[name].kind == "category" else "number" for name in targets},
        decimal=decimal,
        blanks=blanks,
    )
    skewed = [name for name, kind in table.targets.items() if kind == "category" and _is_skewed(frame[name])]
    mark = "" if path.suffix.lower() in PARQUET else separator(path)
    return Guess(list(columns.values()), table, table(Path()), skewed, mark)


def _named(targets: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """The columns that the values of --targets name, each one name or several separated by commas."""
    names = [
        name
        for given in targets
        for name in ([given] if given in frame.columns else (part.strip() for part in given.split(",")))
        if name
    ]
    return list(dict.fromkeys(names))


def _decimal(path: Path) -> str:
    """The decimal mark: a comma where it makes more columns numeric, in a file that another mark separates."""
    if not path.is_file() or path.suffix.lower() in PARQUET or separator(path) == ",":
        return "."
    counts = {mark: _numeric(read_table(path, decimal=mark)) for mark in (".", ",")}
    return "," if counts[","] > counts["."] else "."


def _numeric(frame: pd.DataFrame) -> int:
    return sum(pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns)


def _blanks(frame: pd.DataFrame) -> list[str]:
    """The texts among `BLANKS` in columns whose other values are numbers."""
    found: dict[str, None] = {}
    for name in frame.columns:
        column = frame[name].dropna()
        if _is_text(column):
            words = column[pd.to_numeric(column, errors="coerce").isna()].astype(str).str.strip()
            if len(words) < len(column) and set(words.str.lower()) <= set(BLANKS):
                found |= dict.fromkeys(sorted(words.unique()))
    return list(found)


def _is_text(column: "pd.Series[Any]") -> bool:
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(column) or kinds.is_bool_dtype(column) or kinds.is_datetime64_any_dtype(column))


def _is_skewed(column: "pd.Series[Any]") -> bool:
    return float(column.value_counts(normalize=True).max()) > SKEWED


def _input(column: "pd.Series[Any]") -> Column:
    """The guess for a column to predict from."""
    values = column.dropna()
    missing = len(column) - len(values)
    if any(isinstance(value, list | dict | np.ndarray) for value in values[:1]):
        return Column(str(column.name), "left out", "lists or similar values", missing, 0)
    distinct = int(values.nunique())
    kind, why = _kind(str(column.name), values, distinct)
    return Column(str(column.name), kind, why, missing, distinct)


def _kind(name: str, values: "pd.Series[Any]", distinct: int) -> tuple[ColumnKind, str]:
    if distinct < 2:
        return "left out", "a single value" if distinct else "no values"
    if pd.api.types.is_bool_dtype(values):
        return "category", "true or false"
    if pd.api.types.is_numeric_dtype(values):
        return _kind_of_numbers(name, values, distinct)
    if pd.api.types.is_datetime64_any_dtype(values) or _dates(values):
        return "date", "dates, as days"
    return _kind_of_texts(values, distinct)


def _kind_of_numbers(name: str, values: "pd.Series[Any]", distinct: int) -> tuple[ColumnKind, str]:
    if distinct == len(values) and _counts_rows(name, values):
        return "left out", "an id: another whole number in every row"
    if distinct <= CLASSES and _whole(values):
        return "number", "few whole numbers; name it in categories where they are codes"
    return "number", "numbers"


def _kind_of_texts(values: "pd.Series[Any]", distinct: int) -> tuple[ColumnKind, str]:
    if distinct <= min(LEVELS, max(2, len(values) // 2)):
        return "category", "texts that recur"
    words = values[pd.to_numeric(values, errors="coerce").isna()]
    if len(words) < len(values) / 2:
        word = str(words.iloc[0])[:20]
        return (
            "left out",
            f"numbers except texts such as {word!r}: list those in blanks, and the column in numbers",
        )
    return "left out", "an id or free text" if distinct == len(values) else "text of many values"


def _target(column: "pd.Series[Any]") -> Column:
    """The guess for a column to predict; loading the table then refuses what cannot be learned."""
    name, values = str(column.name), column.dropna()
    missing, distinct = len(column) - len(values), int(values.nunique())
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and not (_whole(values) and distinct <= CLASSES and len(values) >= 2 * distinct):
        return Column(name, "number", "a target for Regression: numbers", missing, distinct, True)
    if distinct > 2 and distinct > min(len(values) // 2, 20 * LEVELS):
        raise DataError(
            f"target {name!r} has {distinct} different texts in {len(values)} rows: that is no class to learn"
        )
    why = "few whole numbers" if numeric else "classes"
    return Column(name, "category", f"a target for Classification: {why}", missing, distinct, True)


def _whole(values: "pd.Series[Any]") -> bool:
    return bool((values % 1 == 0).all())


def _counts_rows(name: str, values: "pd.Series[Any]") -> bool:
    """Whether the distinct whole numbers of a column number its rows."""
    if not _whole(values):
        return False
    named_so = re.search(r"(^|[_ ])(id|index|unnamed: 0)$", name.lower()) is not None or not name
    return named_so or int(values.max() - values.min()) == len(values) - 1


def _dates(values: "pd.Series[Any]") -> bool:
    if not values.astype(str).str.match(r"\d{4}-\d{2}-\d{2}").all():
        return False
    return bool(pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True).notna().all())

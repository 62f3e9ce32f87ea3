"""The guess for a whole table: how its file is read, what its columns are, and the `Table` that follows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mtlsearch.data.data import Data
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.guess.columns import (
    Column,
    divides,
    group_column,
    input_column,
    is_text,
    is_whole,
    split_column,
    target_column,
    without,
)
from mtlsearch.data.guess.header import missing_header
from mtlsearch.data.table import Table
from mtlsearch.data.table_file import ARFF, TYPED, check_columns, read_table, separator, suffix, texts_of
from mtlsearch.errors import DataError, UsageError
from mtlsearch.wording import few, shortened

BLANKS = ("?", "-", "--", ".", "unknown", "missing")  # texts for a missing value that pandas does not know
RARE, SKEWED = 0.2, 0.75  # shares of the smaller of two classes, and of the largest of more: accuracy says little
LONGEST_EXAMPLE = 20  # letters
MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Skew:
    """The class of a target by which its accuracy says little: the smaller of two, else the largest; its share."""

    label: str
    share: float
    classes: int


@dataclass(frozen=True)
class Guess:
    """The guess for a table: its columns, the `Table` that follows with its data, and its targets of skewed classes.

    `examples` has a value of each column, as text.
    """

    columns: Sequence[Column]
    examples: Mapping[str, str]
    table: Table
    data: Data
    skewed: Mapping[str, Skew]
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
    def left_out(self) -> list[str]:
        """The columns that the model does not see."""
        return [column.name for column in self.columns if column.kind == "left out"]

    @property
    def summary(self) -> str:
        """The reading and the division of the file in one line."""
        table = self.table
        written = f", separated by {MARKS[self.separator]}" if self.separator in MARKS else ""
        comma = " with decimal commas" if table.decimal == "," else ""
        named = f", whose columns are {few(table.header, 3)}" if table.header else ""
        train, validation, test = self.sizes
        split = "" if table.split is None else f", by column {table.split!r}"
        return (
            f"{Path(table.path).name}: {self.rows} rows{written}{comma}{named}; {train} to train, {validation} to"
            f" validate, {test} to test{split}; inputs after encoding: {table.features}"
        )


def guess_table(
    path: Path,
    targets: Sequence[str],
    *,
    split: str | None = None,
    groups: str | None = None,
    drop: Sequence[str] = (),
    header: str = "",
) -> Guess:
    """Guess the columns of a file, and load it so.

    `split` names the column that divides the rows, `groups` that of rows that belong together, `drop` columns to leave
    out, and `header` all columns of a file whose first line does not. Raises DataError where no study can be made of
    it, UsageError where names contradict.
    """
    names = given_header(path, header)
    decimal = _decimal(path, names)
    blanks = _blanks(read_table(path, decimal=decimal, header=names))
    frame = read_table(path, decimal=decimal, missing=blanks, header=names)
    targets, drop = _named(targets, frame), _named(drop, frame)
    split = _checked(frame, targets, drop, split, groups)
    codes = _codes(path, frame, names)
    columns = {
        name: target_column(column, suffix(path) in ARFF)
        if name in targets
        else without(column, "by --drop")
        if name in drop
        else split_column(column)
        if name == split
        else group_column(column)
        if name == groups
        else input_column(column, name in codes)
        for name, column in ((str(each), frame[each]) for each in frame.columns)
    }
    inputs = [column for column in columns.values() if not column.is_target and column.kind not in ("split", "groups")]
    if all(column.kind == "left out" for column in inputs):
        reasons = "; ".join(f"{c.name}: {c.why}" for c in inputs) or "it holds targets alone"
        raise DataError(f"{path} has no column to predict from ({reasons})")
    table = Table(
        path.resolve(),
        numbers=[c.name for c in inputs if c.kind == "number"],
        categories=[c.name for c in inputs if c.kind == "category"],
        dates=[c.name for c in inputs if c.kind == "date"],
        targets={name: "category" if columns[name].kind == "category" else "number" for name in targets},
        split=split,
        groups=groups,
        decimal=decimal,
        blanks=blanks,
        header=names,
    )
    classes = (name for name, kind in table.targets.items() if kind == "category")
    skewed = {name: skew for name in classes if (skew := _skew(frame[name])) is not None}
    mark = "" if suffix(path) in TYPED else separator(path)
    examples = {name: _example(frame[name]) for name in columns}
    return Guess(list(columns.values()), examples, table, table(Path()), skewed, mark)


def given_header(path: Path, header: str) -> list[str]:
    """The names of a file's columns that it does not hold: those in `header`, or new ones where it needs some."""
    return [name.strip() for name in header.split(",")] if header else missing_header(path)


def column_names(path: Path, header: str) -> list[str]:
    """The names of a file's columns. Raises DataError."""
    return [*map(str, read_table(path, header=given_header(path, header)).columns)]


def _example(column: "pd.Series[Any]") -> str:
    """The first value of a column as short text, empty where it has none."""
    found = texts_of(column.dropna().head(1))
    return shortened(found.iloc[0], LONGEST_EXAMPLE) if len(found) else ""


def _checked(
    frame: pd.DataFrame, targets: Sequence[str], drop: Sequence[str], split: str | None, groups: str | None
) -> str | None:
    """The column that divides the rows, also where only its name and values say so; all names are checked."""
    named = {"the target": targets, "--drop": drop, "--split": [split] if split else []}
    named["--groups"] = [groups] if groups else []
    for what, names in named.items():
        check_columns(frame, names, what)
    twice = [name for name, count in Counter(name for names in named.values() for name in names).items() if count > 1]
    if twice:
        rule = "a target, a split, groups, or dropped, one of them"
        raise UsageError(f"column {min(map(str, twice))!r} is named twice: {rule}")
    free = (name for name in map(str, frame.columns) if name not in (*targets, *drop, groups))
    return split or next((name for name in free if divides(frame[name])), None)


def _named(given: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """The columns that the values of --targets or --drop name, each one name or several separated by commas."""
    names = [
        name
        for each in given
        for name in ([each] if each in frame.columns else (part.strip() for part in each.split(",")))
        if name
    ]
    return list(dict.fromkeys(names))


def _decimal(path: Path, header: Sequence[str]) -> str:
    """The decimal mark: a comma where it makes more columns numeric, in a file that another mark separates."""
    if not path.is_file() or suffix(path) in TYPED or separator(path) == ",":
        return "."
    counts = {mark: _numeric(read_table(path, decimal=mark, header=header)) for mark in (".", ",")}
    return "," if counts[","] > counts["."] else "."


def _numeric(frame: pd.DataFrame) -> int:
    return sum(pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns)


def _blanks(frame: pd.DataFrame) -> list[str]:
    """The texts among `BLANKS` in columns whose other values are numbers."""
    found: dict[str, None] = {}
    for name in frame.columns:
        column = frame[name].dropna()
        if is_text(column):
            words = column[pd.to_numeric(column, errors="coerce").isna()].astype(str).str.strip()
            if len(words) < len(column) and set(words.str.lower()) <= set(BLANKS):
                found |= dict.fromkeys(sorted(words.unique()))
    return list(found)


def _codes(path: Path, frame: pd.DataFrame, header: Sequence[str]) -> set[str]:
    """The columns of whole numbers some of which are written with leading zeros, as postcodes are."""
    whole = [
        str(name)
        for name in frame.columns
        if pd.api.types.is_numeric_dtype(frame[name])
        and not pd.api.types.is_bool_dtype(frame[name])
        and is_whole(frame[name].dropna())
    ]
    if suffix(path) in TYPED or not whole:
        return set()
    written = read_table(path, text=whole, header=header)
    return {name for name in whole if written[name].astype(str).str.match(r"\s*0\d").any()}


def _skew(column: "pd.Series[Any]") -> Skew | None:
    """The class that makes a target skewed, None where its classes are even enough."""
    shares = column.value_counts(normalize=True)
    if not len(shares):  # loading the table refuses it
        return None
    is_binary = len(shares) == 2
    place = -1 if is_binary else 0
    share = float(shares.iloc[place])
    found = share < RARE if is_binary else share > SKEWED
    return Skew(str(shares.index[place]), share, len(shares)) if found else None

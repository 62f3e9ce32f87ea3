"""The guess for a single column: number, category, date, division of the rows, or nothing to learn from."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mtlsearch.data.examples.division import PARTS
from mtlsearch.data.table_file import texts_of
from mtlsearch.errors import DataError

LEVELS = 50  # a text column of more values is no category, unless each stands in ROWS_A_LEVEL rows on average
MOST_LEVELS, ROWS_A_LEVEL = 500, 20
CLASSES = 10  # a target of more whole numbers is a number
MOST_CLASSES = 1000  # of a target of texts
ID = re.compile(r"(^|[_ ])(id|index|unnamed: 0)$")
CODES = re.compile(
    r"(^|[^A-Za-z]|(?<=[a-z])(?=[A-Z]))(?i:codes?|type|class|kind|category|cat|group|zip|zipcode|postcode)$"
)
SPLIT = re.compile(r"(data[_ ]?)?(split|fold|set|subset|part|partition)", re.IGNORECASE)

ColumnKind = Literal["number", "category", "date", "split", "groups", "left out"]


@dataclass(frozen=True)
class Column:
    """The guess for one column, and the reason."""

    name: str
    kind: ColumnKind
    why: str
    missing: int
    distinct: int
    is_target: bool = False


def without(column: "pd.Series[Any]", why: str) -> Column:
    """The column as one that is left out."""
    return _column(column, "left out", why)


def divides(column: "pd.Series[Any]") -> bool:
    """Whether a column is called split, fold or set, and says of each row whether it is to train or to test."""
    if not SPLIT.fullmatch(str(column.name)):
        return False
    parts = {PARTS.get(str(text).lower()) for text in texts_of(column).unique()}
    return None not in parts and {"train", "test"} <= parts


def split_column(column: "pd.Series[Any]") -> Column:
    """The column that divides the rows."""
    return _column(column, "split", f"divides the rows: {', '.join(map(str, column.dropna().unique()[:3]))}")


def group_column(column: "pd.Series[Any]") -> Column:
    """The column whose equal values keep rows together."""
    return _column(column, "groups", "rows of one value stay on one side of a division")


def input_column(column: "pd.Series[Any]", is_code: bool) -> Column:
    """The guess for a column to predict from; `is_code` says that its numbers are written with leading zeros."""
    values = column.dropna()
    if any(isinstance(value, list | dict | np.ndarray) for value in values[:1]):
        return Column(str(column.name), "left out", "lists or similar values", len(column) - len(values), 0)
    return _column(column, *_kind(str(column.name), values, int(values.nunique()), is_code))


def target_column(column: "pd.Series[Any]", is_typed: bool = False) -> Column:
    """The guess for a column to predict; loading the table then refuses what cannot be learned.

    `is_typed` says that the file tells numbers from classes, as ARFF does.
    """
    name, values = str(column.name), column.dropna()
    missing, distinct = len(column) - len(values), int(values.nunique())
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and is_typed:
        return Column(name, "number", "a target for Regression: numbers, by the file's header", missing, distinct, True)
    if numeric and not (is_whole(values) and distinct <= CLASSES and len(values) >= 2 * distinct):
        return Column(name, "number", "a target for Regression: numbers", missing, distinct, True)
    if distinct > 2 and distinct > min(len(values) // 2, MOST_CLASSES):
        raise DataError(
            f"target {name!r} has {distinct} different texts in {len(values)} rows: that is no class to learn"
        )
    why = "few whole numbers" if numeric else "classes"
    return Column(name, "category", f"a target for Classification: {why}", missing, distinct, True)


def is_whole(values: "pd.Series[Any]") -> bool:
    """Whether numbers have no fractions."""
    return bool((values % 1 == 0).all())


def is_text(column: "pd.Series[Any]") -> bool:
    """Whether a column is neither of numbers, nor of flags, nor of times."""
    kinds = pd.api.types
    return not (kinds.is_numeric_dtype(column) or kinds.is_bool_dtype(column) or kinds.is_datetime64_any_dtype(column))


def _column(column: "pd.Series[Any]", kind: ColumnKind, why: str) -> Column:
    values = column.dropna()
    distinct = int(values.astype(str).nunique()) if is_text(values) else int(values.nunique())
    return Column(str(column.name), kind, why, len(column) - len(values), distinct)


def _kind(name: str, values: "pd.Series[Any]", distinct: int, is_code: bool) -> tuple[ColumnKind, str]:
    if distinct < 2:
        return "left out", "a single value" if distinct else "no values"
    if pd.api.types.is_bool_dtype(values):
        return "category", "true or false"
    if is_code:
        recurs = distinct <= _most_levels(len(values))
        return ("category", "codes with leading zeros") if recurs else ("left out", "codes of many values")
    if pd.api.types.is_numeric_dtype(values):
        return _kind_of_numbers(name, values, distinct)
    if pd.api.types.is_datetime64_any_dtype(values) or _dates(values):
        return "date", "dates, as days"
    return _kind_of_texts(values, distinct)


def _kind_of_numbers(name: str, values: "pd.Series[Any]", distinct: int) -> tuple[ColumnKind, str]:
    if distinct == len(values) and _counts_rows(name, values):
        return "left out", "an id: another whole number in every row"
    if not is_whole(values):
        return "number", "numbers"
    if SPLIT.fullmatch(name) and distinct <= CLASSES:
        return "left out", "numbers of folds: to divide the rows by it, write train, validation and test"
    if 2 < distinct <= _most_levels(len(values)) and CODES.search(name):
        return "category", "codes, by its name: whole numbers that recur"
    if distinct <= CLASSES:
        return "number", "few whole numbers; name it in categories where they are codes"
    return "number", "numbers"


def _kind_of_texts(values: "pd.Series[Any]", distinct: int) -> tuple[ColumnKind, str]:
    if distinct <= _most_levels(len(values)):
        return "category", "texts that recur"
    words = values[pd.to_numeric(values, errors="coerce").isna()]
    if not len(words):  # whole numbers too large for any type of numbers
        return "number", "numbers"
    if len(words) < len(values) / 2:
        word = str(words.iloc[0])[:20]
        return (
            "left out",
            f"numbers except texts such as {word!r}: list those in blanks, and the column in numbers",
        )
    return "left out", "an id or free text" if distinct == len(values) else "text of many values"


def _most_levels(rows: int) -> int:
    """The most levels of a category that so many rows can teach."""
    return min(max(2, rows // 2), max(LEVELS, min(MOST_LEVELS, rows // ROWS_A_LEVEL)))


def _counts_rows(name: str, values: "pd.Series[Any]") -> bool:
    """Whether the distinct whole numbers of a column number its rows."""
    if not is_whole(values):
        return False
    named_so = ID.search(name.lower()) is not None or not name
    return named_so or int(values.max() - values.min()) == len(values) - 1


def _dates(values: "pd.Series[Any]") -> bool:
    if not values.astype(str).str.match(r"\d{4}-\d{2}-\d{2}").all():
        return False
    return bool(pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True).notna().all())

"""A table as a source: targets become labels, other columns become inputs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from mtlsearch.data.data import Data, FittedSource
from mtlsearch.data.examples.division import over_all
from mtlsearch.data.examples.kept import Examples, kept
from mtlsearch.data.table_encoding import MOST_LEVELS, Encoding, fit_category, fit_number
from mtlsearch.data.table_file import check_columns, read_table
from mtlsearch.data.table_rows import (
    Kind,
    categories_of,
    check_shares,
    check_targets,
    data_of,
    groups_of,
    label_rows,
)
from mtlsearch.errors import StudyError, check_distinct


@dataclass
class Table(FittedSource):
    """A CSV or Parquet file (by its suffix; a CSV may be .csv.gz) with `targets` to predict from its other columns.

    `path` is absolute, or relative to the data directory; a study file names a file beside itself by
    `Path(__file__).resolve().parent / "data.csv"`. `numbers` are standardised, `dates` become days; a missing value
    becomes the median, and a further input marks it. `categories` get an input per level; those of more than
    `most_levels` share 128 inputs, which a hash of the level's text tells. `targets` are "number" (for a Regression) or
    "category" (for a Classification) by column. The task's name is the column's. A missing target is a missing label.

    `validation` and `test` are the fractions of the rows to hold out, drawn by `split_seed`; or `split` names a column
    of train, validation and test. `groups` names a column, such as that of a patient: rows of one value never lie on
    both sides of a division. `decimal` is the decimal mark of numbers; `blanks` are texts that stand for a missing
    value; `header` names all columns of a file whose first line does not. The encoding of the inputs is fitted on the
    training rows. Raises DataError where the file does not hold the columns or values that are named here.
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
    header: Sequence[str] = ()
    most_levels: int = MOST_LEVELS
    groups: str | None = None
    _encoding: Encoding | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_targets(self.targets)
        if not self._inputs:
            raise StudyError("a table needs columns as inputs: name numbers, categories or dates")
        named = [*self._inputs, *self.targets, *filter(None, (self.split, self.groups))]
        check_distinct(named, "each column of a table is named once", StudyError)
        check_shares(self.validation, self.test)
        if isinstance(self.most_levels, bool) or not isinstance(self.most_levels, int) or self.most_levels < 1:
            raise StudyError(f"most_levels must be a whole number of 1 or more, but got {self.most_levels!r}")

    @property
    def _inputs(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]

    def __call__(self, directory: Path, /) -> Data:
        path = directory / self.path
        found = kept(path, self._settings(), lambda: self._read(path))
        self._encoding = encoding = Encoding.from_dict(found.facts["encoding"])
        return data_of(found, table=encoding.to_dict())

    def _read(self, path: Path) -> Examples:
        """The rows of the file, encoded and divided."""
        text = [*self.categories, *categories_of(self.targets)]
        frame = read_table(path, text=text, decimal=self.decimal, missing=self.blanks, header=self.header)
        check_columns(frame, self.targets, "the target")
        check_columns(frame, self._inputs, "the input")
        groups = None if self.groups is None else groups_of(frame, self.groups)
        rows = label_rows(frame, self.targets, self.validation, self.test, self.split, self.split_seed, groups)
        encoding = self._fit(frame.iloc[rows.parts["train"]])
        return rows.divided(encoding.apply(frame), encoding=encoding.to_dict())

    def _settings(self) -> list[Any]:
        """All that the encoded rows depend on, beside the content of the file."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.init and each.name != "path"}
        # The order of the targets decides how rows are divided, and JSON would sort them.
        return [_reader(), over_all(), {**own, "targets": list(self.targets.items())}]

    def _fit(self, train: pd.DataFrame) -> Encoding:
        numbers = [fit_number(train, column) for column in self.numbers]
        dates = [fit_number(train, column, date=True) for column in self.dates]
        categories = [fit_category(train, column, self.most_levels) for column in self.categories]
        return Encoding(numbers + dates, categories, self.decimal, tuple(self.blanks), tuple(self.header))

    @property
    def encoding(self) -> Encoding:
        """The encoding that was fitted when the data were loaded last; the first use loads them."""
        if self._encoding is None:
            self(Path())
        assert self._encoding is not None
        return self._encoding

    @property
    def features(self) -> int:
        """The number of a model's inputs."""
        return self.encoding.features

    def restore(self, fitted: Mapping[str, Any]) -> None:
        if "table" in fitted:
            self._encoding = Encoding.from_dict(fitted["table"])


@cache
def _reader() -> str:
    """A digest of the code that reads, divides and encodes tables: rows that other code has read are read anew."""
    here = Path(__file__).parent
    digest = hashlib.sha256(" ".join(version(name) for name in ("mtlsearch", "numpy", "pandas")).encode())
    for path in sorted([*here.glob("table*.py"), *(here / "examples").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()

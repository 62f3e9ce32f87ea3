"""The rows of a table of examples: their labels, and their division into training, validation and test.

Every source that lists its examples in a table uses it. A division follows from the source's own seed.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from torch import nn

from mtlsearch.data.data import Data
from mtlsearch.data.examples.dealing import dealt
from mtlsearch.data.examples.division import PARTS, drawn, marks_of, over_all
from mtlsearch.data.examples.kept import Examples
from mtlsearch.data.table_file import check_columns, numbers_of, texts_of
from mtlsearch.errors import DataError, StudyError

T = TypeVar("T")
Kind = Literal["number", "category"]
Array = np.ndarray[Any, Any]
Rows = np.ndarray[Any, np.dtype[np.int64]]
INPUTS = ""  # no task's name


def former_name(column: str) -> str:
    """The name of the task that predicts `column` in studies that earlier versions wrote."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", column)
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def with_former_names(by_column: Mapping[str, T]) -> dict[str, T]:
    """Values by column, and by a task's former name where no other column has it."""
    names = Counter(map(former_name, by_column))
    former = {former_name(column): value for column, value in by_column.items()}
    return {name: value for name, value in former.items() if names[name] == 1} | dict(by_column)


def check_targets(targets: Mapping[str, str]) -> None:
    """Raise StudyError where there are no targets, or one of an unknown kind."""
    if not targets:
        raise StudyError("targets must name one column or more, but it is empty")
    for column, kind in targets.items():
        if kind not in ("number", "category"):
            raise StudyError(f"target {column!r} must be 'number' or 'category', but got {kind!r}")


def check_shares(validation: float, test: float) -> None:
    """Raise StudyError where the fractions leave a part empty."""
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise StudyError(
            f"validation and test are fractions above 0 that sum to less than 1, but got {validation} and {test}"
        )


def categories_of(targets: Mapping[str, str]) -> list[str]:
    """The targets that are read as text."""
    return [column for column, kind in targets.items() if kind == "category"]


@dataclass(frozen=True)
class LabelledRows:
    """The labels [N] and the classes of a table's rows by column, and the rows of each part.

    Labels are float32 with NaN, or whole numbers with −1, where missing.
    """

    labels: Mapping[str, Array]
    classes: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, Rows]
    over_all: bool  # whether the division is over all tasks
    drawn: frozenset[str]  # the parts that no column names
    groups: Rows | None = None  # of each row

    def data(self, inputs: Array, **options: Any) -> Data:
        """The rows' inputs [N, ...] and labels as `Data` with these `options`."""
        return data_of(self.divided(inputs), **options)

    def divided(self, inputs: Array, **facts: Any) -> Examples:
        """The inputs [N, ...] and labels of each part, with these `facts`, as the cache keeps them."""
        arrays = {
            f"{part} {name}": values[rows]
            for part, rows in self.parts.items()
            for name, values in {INPUTS: inputs, **self.labels}.items()
        }
        if self.groups is not None:
            arrays |= {f"{part}: groups": self.groups[rows] for part, rows in self.parts.items()}
        about = {
            "tasks": list(self.labels),
            "classes": self.classes,
            "over_all": self.over_all,
            "drawn": sorted(self.drawn),
        }
        return Examples(arrays, {**about, **facts})


def data_of(found: Examples, **options: Any) -> Data:
    """The `Data` of divided rows with these `options`; former names of tasks are known."""
    arrays, facts = found.arrays, found.facts
    parts = ("train", "validation", "test")
    train, validation, test = (
        (arrays[f"{part} {INPUTS}"], with_former_names({task: arrays[f"{part} {task}"] for task in facts["tasks"]}))
        for part in parts
    )
    groups = {part: arrays[f"{part}: groups"] for part in parts if f"{part}: groups" in arrays} or None
    classes = with_former_names(facts["classes"])
    data = Data(train, test, validation=validation, classes=classes, groups=groups, **options)
    data.over_all, data.drawn = facts["over_all"], frozenset(facts["drawn"])
    return data


def label_rows(
    frame: pd.DataFrame,
    targets: Mapping[str, str],
    validation: float,
    test: float,
    split: str | None,
    seed: int,
    groups: Rows | None = None,
) -> LabelledRows:
    """Read the labels and divide the rows, of which `groups` [N] belong together. Raises DataError.

    The column `split` says each row's part where it is named. Without it, or for validation where it names no such
    row, rows are drawn by `seed`: each part has every task's classes in equal shares as far as that can be, and
    training has every class.
    """
    labels, classes = _labels(frame, targets)
    drawn_parts = frozenset(["validation", "test"])
    codes = [labels[task] for task in classes]
    marks = [found for each in labels.values() if (found := marks_of(each)) is not None]
    # One classification is divided as earlier versions did.
    together = np.concatenate(marks, axis=1) if over_all() and marks and not len(marks) == len(codes) == 1 else None
    all_marks = np.concatenate(marks, axis=1) if marks else None
    if split is None and groups is not None:
        sizes = _sizes(len(frame), validation, test)
        dealt_rows = dealt(len(frame), list(sizes.values()), seed, all_marks, groups)
        parts = dict(zip(sizes, dealt_rows, strict=True))
        _check_known(frame, labels, classes, parts)
    elif split is None:
        rest, held_out = _draw(np.arange(len(frame)), codes, test, seed, together)
        train, held = _draw(rest, codes, validation / (1 - test), seed + 1, together)
        parts = {"train": train, "validation": held, "test": held_out}
    else:
        parts = _parts_by_column(frame, split)
        drawn_parts = frozenset() if len(parts["validation"]) else frozenset(["validation"])
        if drawn_parts and groups is not None:
            rows, of = parts["train"], None if all_marks is None else all_marks[parts["train"]]
            many = int(validation * len(rows) + 0.5)
            own = dealt(len(rows), [len(rows) - many, many], seed + 1, of, groups[rows])
            parts["train"], parts["validation"] = (rows[each] for each in own)
        elif drawn_parts:
            parts["train"], parts["validation"] = _draw(parts["train"], codes, validation, seed + 1, together)
        else:
            together = None
        _check_known(frame, labels, classes, parts)
    for part, rows in parts.items():
        if not len(rows):
            raise DataError(f"{len(frame)} rows leave none for {part}: more rows are needed")
    return LabelledRows(labels, classes, parts, together is not None, drawn_parts, groups)


def _sizes(rows: int, validation: float, test: float) -> dict[str, int]:
    """The number of rows of each part."""
    held, held_out = int(validation * rows + 0.5), int(test * rows + 0.5)
    return {"train": rows - held - held_out, "validation": held, "test": held_out}


def groups_of(frame: pd.DataFrame, column: str) -> Rows:
    """The groups of a table's rows as whole numbers. Raises DataError where a row has none."""
    check_columns(frame, [column], "the group")
    values = frame[column]
    missing = frame.index[values.isna() | (values.astype(str).str.strip() == "")]
    if len(missing):
        raise DataError(
            f"the group column {column!r} must have a value in each row, but {len(missing)} have none (the first is"
            f" {frame.index.name} {missing[0]}): give each row a group, or drop the rows"
        )
    return pd.factorize(values)[0].astype(np.int64)


def _labels(frame: pd.DataFrame, targets: Mapping[str, str]) -> tuple[dict[str, Array], dict[str, tuple[str, ...]]]:
    labels, classes = {}, {}
    for column, kind in targets.items():
        what = f"target {column!r}"
        values = texts_of(frame[column]) if kind == "category" else frame[column]
        found = values.dropna().unique()
        if not len(found):
            raise DataError(f"{what} is missing in every row: there is nothing to learn")
        if len(found) == 1:
            only = str(found[0])
            raise DataError(f"{what} has the one value {only!r} in every row: there is nothing to learn")
        if kind == "category":
            classes[column] = tuple(_in_order(found.tolist()))
            labels[column] = pd.Categorical(values, categories=classes[column]).codes.astype(np.int64)
        else:
            with np.errstate(over="ignore"):  # the task refuses a number that is infinite in float32
                labels[column] = numbers_of(values, what).astype(np.float32)
    return labels, classes


def _in_order(texts: Sequence[str]) -> list[str]:
    """Texts sorted as numbers where all of them are numbers."""
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def _draw(rows: Rows, codes: Sequence[Array], share: float, seed: int, marks: Array | None) -> tuple[Rows, Rows]:
    """The rows that are left, and a `share` of them that is drawn, over all tasks where their `marks` are given.

    Without them the first task's classes keep their share, and a class's first row is never drawn.
    """
    if marks is not None:
        chosen = np.zeros(len(marks), bool)
        chosen[rows[drawn(marks[rows], int(share * len(rows) + 0.5), seed)]] = True
        return rows[~chosen[rows]], rows[chosen[rows]]
    order = np.random.default_rng(seed).permutation(rows)
    kept = [order[np.unique(of_task[order], return_index=True)[1]] for of_task in codes]
    rest = order[~np.isin(order, np.concatenate(kept))] if kept else order
    if codes:
        rest = rest[np.argsort(codes[0][rest], kind="stable")]
    # Every k-th row, in the order of the classes, takes the same share of each class.
    steps = np.floor(np.arange(len(rest) + 1) * min(1.0, share * len(rows) / max(1, len(rest))) + 0.5)
    held = np.sort(rest[np.diff(steps) > 0])
    return np.sort(rows[~np.isin(rows, held)]), held


def _parts_by_column(frame: pd.DataFrame, split: str) -> dict[str, Rows]:
    check_columns(frame, [split], "the split")
    texts = texts_of(frame[split])
    parts = texts.map(lambda text: PARTS.get(text.lower()), na_action="ignore")
    if parts.isna().any():
        row, text = parts.index[parts.isna()][0], texts[parts.isna()].iloc[0]
        raise DataError(f"split {split!r}: {frame.index.name} {row} must be train, validation or test, but is {text!r}")
    return {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}


def _check_known(
    frame: pd.DataFrame,
    labels: Mapping[str, Array],
    classes: Mapping[str, Sequence[str]],
    parts: Mapping[str, Rows],
) -> None:
    """Raise DataError for a class that the training rows do not hold."""
    for task, names in classes.items():
        known = {*labels[task][parts["train"]].tolist(), -1}
        for part in ("validation", "test"):
            unknown = parts[part][~np.isin(labels[task][parts[part]], list(known))]
            if len(unknown):
                row = unknown[0]
                raise DataError(
                    f"task {task!r}: the label {names[labels[task][row]]!r} in the {part} rows"
                    f" ({frame.index.name} {frame.index[row]}) is not among the training labels:"
                    f" {', '.join(names[i] for i in sorted(known - {-1}))}"
                )

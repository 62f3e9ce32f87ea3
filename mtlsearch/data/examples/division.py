"""Division of examples into two parts with the same share of every label of every task.

Legend: N examples, L labels; `marks` [N, L] says which example has which label. A class of a task is a label, and so
are the yes and the no of a yes-or-no answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mtlsearch.errors import DataError

Way = Literal["iterative", "first"]
WAYS: tuple[Way, ...] = get_args(Way)
Marks = NDArray[np.bool_]
Index = NDArray[np.int64]

PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}

_way: ContextVar[Way] = ContextVar("way", default="iterative")


@contextmanager
def dividing(way: Way) -> Iterator[None]:
    """Divide inside over all tasks ("iterative"), or over the classes of the first one as earlier versions did."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def over_all() -> bool:
    """Whether a division here is over all tasks."""
    return _way.get() == "iterative"


def marks_of(labels: NDArray[Any]) -> Marks | None:
    """The marks of a task's labels: its classes among whole numbers [N], else whether there is a label, if some lack.

    None where there is nothing to keep the share of.
    """
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        classes = np.unique(labels[labels >= 0])
        return None if not len(classes) else labels[:, None] == classes
    known = (
        ~np.isnan(labels.reshape(len(labels), -1)).all(1) if labels.dtype.kind == "f" else np.ones(len(labels), bool)
    )
    return None if known.all() or not known.any() else known[:, None]


def answers_of(labels: NDArray[Any]) -> Marks:
    """The marks [N, 2C] of yes-or-no labels [N, C], of which NaN is neither."""
    return np.concatenate([labels > 0, labels == 0], axis=1)


def drawn(marks: Marks, held: int, seed: int) -> Index:
    """The sorted rows of a part of `held` of the N examples, drawn by `seed` with its share of each label.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, algorithm 1) for two parts, where all examples of
    a label are dealt at once: the rarest label that is left comes first, as later ones can mend what it upsets. A label
    of two examples or more is in both parts where that can be, and one of a single example is in the rest.
    """
    order = np.random.default_rng(seed).permutation(len(marks))
    columns = np.ascontiguousarray(marks[order].T)  # [L, N]
    share = held / len(order)
    is_drawn, is_left = np.zeros(len(order), bool), np.ones(len(order), bool)
    total = columns.sum(1)
    left, got = total.copy(), np.zeros_like(total)
    while left.any():
        label = int(np.where(left > 0, left, len(order) + 1).argmin())
        rows = np.flatnonzero(is_left & columns[label])
        kept = total[label] - left[label] - got[label]
        most = len(rows) if kept else len(rows) - 1
        least = min(most, int(not got[label]))
        count = min(most, max(least, int(share * total[label] - got[label] + 0.5)))
        is_drawn[rows[:count]] = True
        is_left[rows] = False
        got += columns[:, rows[:count]].sum(1)
        left -= columns[:, rows].sum(1)
    rest = np.flatnonzero(is_left)
    is_drawn[rest[: max(0, held - int(is_drawn.sum()))]] = True
    _fill(is_drawn, columns, held)
    return np.sort(order[is_drawn])


def _fill(is_drawn: NDArray[np.bool_], columns: Marks, held: int) -> None:
    """Move examples until `held` are drawn, first those whose labels all have many examples where they are."""
    missing = held - int(is_drawn.sum())
    source = np.flatnonzero(~is_drawn if missing > 0 else is_drawn)
    there = columns[:, source]
    rarest = np.where(there, there.sum(1)[:, None], len(is_drawn) + 1).min(0, initial=len(is_drawn) + 1)
    moved = source[np.argsort(-rarest, kind="stable")[: abs(missing)]]
    is_drawn[moved] = missing > 0


def rows_by_part(names: NDArray[Any], rows: int) -> dict[str, Index]:
    """The rows of train, validation and test, by the part's name for each of `rows` examples. Raises DataError."""
    if names.shape != (rows,):
        raise DataError(f"split must name the part of each of {rows} examples, but got the shape {names.shape}")
    known = np.array([PARTS.get(str(name).strip().lower(), "") for name in names])
    wrong = np.flatnonzero(known == "")
    if len(wrong):
        raise DataError(f"split must be train, validation or test, but example {wrong[0]} has {str(names[wrong[0]])!r}")
    found = {part: np.flatnonzero(known == part) for part in ("train", "validation", "test")}
    for part in ("train", "test"):
        if not len(found[part]):
            raise DataError(f"split must name examples for {part}, but names none")
    return found

"""Dealing of examples into several parts: folds, or train, validation and test; groups stay whole.

Legend: N examples, L labels, G groups, P parts; `marks` [N, L] says which example has which label (`division`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlsearch.data.examples.division import Index, Marks, drawn
from mtlsearch.errors import DataError

NO_GROUP = -1  # of an example whose group is not known
# Of more, each label has so many rows that coarser dealing keeps its share.
MOST_ONE_BY_ONE, MOST_MARKS = 100_000, 20_000_000


def dealt(rows: int, sizes: Sequence[int], seed: int, marks: Marks | None, groups: Index | None) -> list[Index]:
    """The sorted rows of each part, dealt by `seed`, with its share of each label as far as that can be.

    `sizes` sum to `rows`. With `groups` [N] a group lies in one part, and sizes are met as far as groups allow.
    """
    marks = np.zeros((rows, 0), bool) if marks is None else marks
    if groups is not None:
        return _dealt_in_groups(sizes, seed, marks, groups)
    if rows <= MOST_ONE_BY_ONE and marks.size <= MOST_MARKS:
        return _dealt_one_by_one(sizes, seed, marks)
    left, parts = np.arange(rows), []
    for number, size in enumerate(sizes[:-1]):
        taken = drawn(marks[left], size, seed + number)
        parts.append(left[taken])
        left = np.delete(left, taken)
    return [*parts, left]


def even(rows: int, parts: int) -> list[int]:
    """Sizes of parts that differ by one at most."""
    return [rows // parts + (number < rows % parts) for number in range(parts)]


class Shares:
    """The shares of each label and of rows that each part has, beside those that it should have.

    `cost` of a unit [L + 1] is the change of Σ (got − want)²/want over labels and rows, in shares of their totals, when
    it joins a part: the greedy rule of scikit-learn's StratifiedGroupKFold, for parts of any size.
    """

    def __init__(self, counts: NDArray[np.float64], sizes: Sequence[int]) -> None:
        total, labels = np.maximum(counts.sum(0), 1), counts.shape[1] - 1
        self.weight = np.append(np.ones(labels), max(labels, 1)) / total**2  # rows count as all labels do
        self.share = np.array(sizes) / sum(sizes)
        self.over = -self.share[:, None] * total  # got − want [P, L + 1]

    def cost(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((unit * (unit + 2 * self.over)) @ self.weight / self.share)


def _dealt_one_by_one(sizes: Sequence[int], seed: int, marks: Marks) -> list[Index]:
    """Rows, the rarest labels first, each to the part that it brings nearest to its shares; sizes are exact."""
    counts = np.append(marks, np.ones((len(marks), 1), bool), axis=1).astype(float)
    shares, left = Shares(counts, sizes), np.array(sizes)
    part_of = np.zeros(len(marks), np.int64)
    rarest = np.where(counts > 0, counts.sum(0), np.inf).min(1)
    shuffled = np.random.default_rng(seed).permutation(len(marks))
    for row in shuffled[np.argsort(rarest[shuffled], kind="stable")]:
        part_of[row] = part = int(np.where(left > 0, shares.cost(counts[row]), np.inf).argmin())
        shares.over[part] += counts[row]
        left[part] -= 1
    return [np.flatnonzero(part_of == part) for part in range(len(sizes))]


def _dealt_in_groups(sizes: Sequence[int], seed: int, marks: Marks, groups: Index) -> list[Index]:
    """Whole groups, the largest first, each to the part that it brings nearest to its shares."""
    names, of_row = np.unique(groups, return_inverse=True)
    if len(names) < len(sizes):
        raise DataError(f"{len(sizes)} parts need as many groups or more, but got {len(names)}")
    counts = np.zeros((len(names), marks.shape[1] + 1))
    np.add.at(counts[:, :-1], of_row, marks)
    counts[:, -1] = np.bincount(of_row)
    shares, part_of = Shares(counts, sizes), np.zeros(len(names), np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    for group in shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]:
        part_of[group] = part = int(shares.cost(counts[group]).argmin())
        shares.over[part] += counts[group]
    _fill_empty(part_of, counts[:, -1], len(sizes))
    return [np.flatnonzero(part_of[of_row] == part) for part in range(len(sizes))]


def _fill_empty(part_of: Index, rows: NDArray[np.float64], parts: int) -> None:
    """Give each empty part the smallest group of the part with the most groups."""
    for part in range(parts):
        if not (part_of == part).any():
            fullest = np.bincount(part_of, minlength=parts).argmax()
            candidates = np.flatnonzero(part_of == fullest)
            part_of[candidates[rows[candidates].argmin()]] = part


def group_codes(given: Mapping[str, Any]) -> dict[str, Index]:
    """The groups of the examples of each part as whole numbers, equal where groups are. Raises DataError."""
    values = {part: _values(part, groups) for part, groups in given.items()}
    known = np.unique(np.concatenate(list(values.values())))
    return {part: np.searchsorted(known, each).astype(np.int64) for part, each in values.items()}


def _values(part: str, groups: Any) -> NDArray[np.str_]:
    array = np.asarray(groups.tolist() if hasattr(groups, "tolist") else list(groups), dtype=object)
    if array.ndim != 1:
        raise DataError(f"groups must have one value for each example of {part}, but got the shape {array.shape}")
    missing = [i for i, value in enumerate(array) if is_missing(value)]
    if missing:
        raise DataError(
            f"groups must have a value for each example of {part}, but {len(missing)} have none (the first is example"
            f" {missing[0]}): give each a group, or leave them out"
        )
    return array.astype(str)


def is_missing(value: object) -> bool:
    """Whether a group is None, NaN, NaT or an empty text."""
    return value is None or str(value).strip() in ("", "nan", "NaT", "<NA>")


def check_apart(groups: Mapping[str, Iterable[int]]) -> None:
    """Raise DataError where a group lies in two parts that are given."""
    seen: dict[int, str] = {}
    for part, codes in groups.items():
        for code in dict.fromkeys(codes):
            other = seen.setdefault(code, part)
            if other != part and code != NO_GROUP:
                raise DataError(
                    f"a group must lie in one part, but one is in {other} and in {part}: divide by groups, or leave"
                    " groups out"
                )

"""The front of trials that are measured on several tasks: who beats whom everywhere, and where the knee is.

Values are oriented so that higher is better: one row a trial, one column a task. A row with a value that is not finite
is beaten by every finite one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
# By how much a knee must stand out of the line between the ends of the front, in shares of the front's extent.
LEAST_BULGE = 0.1
# Of the mean in a weighted distance: it decides between trials that are equally far in their worst task.
AUGMENTED = 1e-3


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """The non-dominated rank of each row [N]: 0 on the front, 1 on the front of the others, and so on.

    Source: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II", section III.A.
    """
    rows = _finite(values)
    better = _beats(rows)
    found = np.full(len(rows), -1, dtype=np.int64)
    left, rank = np.ones(len(rows), dtype=bool), 0
    while left.any():
        front = left & ~better[left].any(axis=0)
        found[front] = rank
        left &= ~front
        rank += 1
    return found


def crowding(values: ArrayLike) -> Array:
    """How far each row is from its neighbours [N]: infinite at the ends of a task, larger is lonelier.

    Source: Deb et al. 2002, section III.B, for the rows of one rank.
    """
    rows = _finite(values)
    total = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        total[order[[0, -1]]] = np.inf
        if extent > 0 and np.isfinite(extent):
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return total


def order(values: ArrayLike) -> NDArray[np.int64]:
    """The rows, the best first: by rank, within a rank the loneliest first, then the earliest."""
    rows, found = _finite(values), ranks(values)
    alone = np.empty(len(rows))
    for rank in np.unique(found):
        alone[found == rank] = crowding(rows[found == rank])
    return np.lexsort((np.arange(len(rows)), -alone, found))


def shares(values: ArrayLike) -> Array:
    """Values between the worst, 0, and the best, 1, of the front in each task; beyond the front below 0.

    A task in which the whole front is equal has the share 1 where a row is as good, else 0.
    """
    rows = _finite(values)
    front = rows[ranks(rows) == 0]
    low, high = front.min(axis=0), front.max(axis=0)
    with np.errstate(invalid="ignore"):  # of rows that are all infinite
        extent = np.where(high > low, high - low, 1.0)
        found: Array = np.where(high > low, (rows - low) / extent, (rows >= high).astype(float))
        return found


class Knee(NamedTuple):
    """The row of a front's knee; without a `clear` one, the row that is most even over the tasks."""

    row: int
    clear: bool


def knee(values: ArrayLike) -> Knee:
    """The row that stands out farthest of the plane through the ends of the front, in shares of its extent.

    There is a clear one where the front has three rows or more and one of them stands out by LEAST_BULGE. Source: Das
    1999, "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection".
    """
    rows = _finite(values)
    found, on_front = shares(rows), ranks(rows) == 0
    bulge = np.where(on_front, (found.sum(axis=1) - 1) / max(1, rows.shape[1] - 1), -np.inf)
    best = int(np.argmax(bulge))
    within = bool(((found[best] > 0) & (found[best] < 1)).any())
    if on_front.sum() > 2 and within and LEAST_BULGE <= bulge[best] < 1:
        return Knee(best, True)
    is_one = bool((found[on_front] == 1).all(axis=1).any())  # one trial is the best of every task
    return Knee(nearest(rows, np.ones(rows.shape[1])), is_one)


def distances(values: ArrayLike) -> Array:
    """How far each row is from the best of every task [N], as in `nearest` with equal weights; of a clear knee −1."""
    rows = _finite(values)
    found = _distances(rows, np.ones(rows.shape[1]))
    place = knee(rows)
    if place.clear:
        found[place.row] = -1.0
    return found


def nearest(values: ArrayLike, weights: ArrayLike) -> int:
    """The row that is nearest to the best of every task, each task's distance times its weight.

    The distance is the largest of the tasks', in shares of the front's extent, with a little of their mean, so that the
    row lies on the front, and every row of the front is the nearest for some weights. Source: Steuer and Choo 1983, "An
    interactive weighted Tchebycheff procedure".
    """
    return int(np.argmin(_distances(values, np.asarray(weights, dtype=np.float64))))


def _distances(values: ArrayLike, weights: Array) -> Array:
    short = (1 - shares(values)) * weights
    found: Array = short.max(axis=1) + AUGMENTED * short.mean(axis=1)
    return found


def _beats(rows: Array) -> NDArray[np.bool_]:
    """Whether row i is as good as row j in every task and better in one, [i, j]."""
    as_good, better = np.ones((len(rows), len(rows)), dtype=bool), np.zeros((len(rows), len(rows)), dtype=bool)
    for column in rows.T:
        as_good &= column[:, None] >= column
        better |= column[:, None] > column
    return as_good & better


def _finite(values: ArrayLike) -> Array:
    """The values [N, T] as numbers that can be compared; a row that is not all finite is −infinity."""
    rows = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, -np.inf)

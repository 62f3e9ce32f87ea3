"""The best partitions of tasks into trunks, from what each pair of tasks does to each other.

A group's predicted metric for a task is the mean of the task's metric in its pairs with the others of the group
(Standley et al. 2020, Which tasks should be learned together in multi-task learning?, section 4.3); alone it is the
measured one. The best partition of every subset into k groups follows from those of smaller subsets, so that the search
over all partitions takes 3^T steps. Groups are bit masks: bit i is task i.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtlsearch.evidence.statistics import Array

MOST_TASKS = 12
WORST = -1e30  # of a pair that failed in every seed: finite, so that sums with it can be compared

Group = tuple[int, ...]  # the numbers of its tasks, ascending
Partition = tuple[Group, ...]


def predicted(alone: ArrayLike, pairs: ArrayLike) -> Array:
    """The predicted metric of each task in each group [2^T, T]; 0 where the task is not in the group.

    `alone` [T] are oriented metrics, `pairs` [T, T] that of task i beside task j; the diagonal is not read.
    """
    single, pair = np.asarray(alone, dtype=np.float64), np.nan_to_num(np.asarray(pairs, dtype=np.float64), nan=WORST)
    count = len(single)
    np.fill_diagonal(pair := pair.copy(), 0.0)
    inside = members(count)
    others = inside.sum(1, keepdims=True) - 1
    found = np.where(others > 0, inside @ pair.T / np.maximum(others, 1), single)
    return np.where(inside > 0, found, 0.0)


def members(count: int) -> Array:
    """Whether each group holds each task [2^T, T], as 0 or 1."""
    masks = np.arange(1 << count)[:, None]
    return ((masks >> np.arange(count)) & 1).astype(np.float64)


def summed(values: Array, weights: Sequence[float]) -> Array:
    """The value of each group [2^T] where a partition's is the weighted sum over tasks."""
    return np.asarray(values @ np.asarray(weights, dtype=np.float64))


def lowest(values: Array, weights: Sequence[float]) -> Array:
    """The value of each group [2^T] where a partition's is the lowest of the tasks with a weight above 0."""
    count = values.shape[1]
    counts = (members(count) > 0) & (np.asarray(weights) > 0)
    return np.asarray(np.where(counts, values, np.inf).min(1))


def best_partitions(
    values: Array, count: int, join: Callable[[Array, Array], Array] = np.add
) -> list[tuple[Partition, float]]:
    """The best partition of `count` tasks into k groups with its value, for k = 1 … count.

    `values` [2^T] are those of groups; `join` makes a partition's of them: np.add, or np.minimum.
    """
    full = (1 << count) - 1
    best = np.full((full + 1, count + 1), -np.inf)
    best[0, 0] = 0.0 if join is np.add else np.inf
    first = np.zeros((full + 1, count + 1), dtype=np.int64)
    for subset in range(1, full + 1):
        groups = _with_lowest(subset)
        # A partition is counted once: its first group is the one that holds the subset's first task.
        found = join(values[groups][:, None], best[subset ^ groups, :-1])
        found = np.where(np.isneginf(best[subset ^ groups, :-1]), -np.inf, found)
        chosen = found.argmax(0)
        best[subset, 1:] = found[chosen, np.arange(count)]
        first[subset, 1:] = groups[chosen]
    return [(_traced(first, full, k), float(best[full, k])) for k in range(1, count + 1)]


def _with_lowest(subset: int) -> NDArray[np.int64]:
    """The groups inside `subset` that hold its lowest bit."""
    low = subset & -subset
    found = np.array([low], dtype=np.int64)
    rest = subset ^ low
    while rest:
        bit = rest & -rest
        found = np.concatenate([found, found | bit])
        rest ^= bit
    return found


def _traced(first: NDArray[np.int64], subset: int, k: int) -> Partition:
    groups: list[Group] = []
    while k:
        mask = int(first[subset, k])
        groups.append(tuple(i for i in range(mask.bit_length()) if mask >> i & 1))
        subset, k = subset ^ mask, k - 1
    return tuple(groups)

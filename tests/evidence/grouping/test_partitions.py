"""Partitions of tasks by predicted value: the same as trying every one."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from mtlsearch.evidence.grouping.partitions import MOST_TASKS, Partition, best_partitions, lowest, predicted, summed

Pairs = np.ndarray


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every partition, by placing one item after the other."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, group in enumerate(rest):
            yield [*rest[:i], [items[0], *group], *rest[i + 1 :]]


def metric(task: int, group: list[int], alone: np.ndarray, pairs: np.ndarray) -> float:
    """Standley et al.: the mean of the task's results in its pairs with the others of the group."""
    others = [pairs[task, other] for other in group if other != task]
    return float(np.mean(others)) if others else float(alone[task])


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=count), random.normal(size=(count, count))


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("kind", ["sum", "min"])
def test_best_partition_of_each_size_is_that_of_all_partitions(count: int, kind: str) -> None:
    alone, pairs = drawn(count, seed=count)
    weights = [0.0, *np.arange(1.0, count)] if kind == "sum" else [1.0] * count
    values, join = predicted(alone, pairs), np.add if kind == "sum" else np.minimum
    found = best_partitions(summed(values, weights) if kind == "sum" else lowest(values, weights), count, join)

    def value(partition: list[list[int]]) -> float:
        each = {task: metric(task, group, alone, pairs) for group in partition for task in group}
        return sum(weights[task] * by for task, by in each.items()) if kind == "sum" else min(each.values())

    for k, (partition, best) in enumerate(found, start=1):
        every = [value(each) for each in partitions(list(range(count))) if len(each) == k]
        assert len(partition) == k
        assert sorted(task for group in partition for task in group) == list(range(count))
        assert best == pytest.approx(max(every))
        assert value([list(group) for group in partition]) == pytest.approx(best)


def test_twelve_tasks_take_a_moment() -> None:
    alone, pairs = drawn(MOST_TASKS, seed=0)
    begun = time.process_time()
    found = best_partitions(summed(predicted(alone, pairs), [1.0] * MOST_TASKS), MOST_TASKS)
    assert len(found) == MOST_TASKS
    assert time.process_time() - begun < 5


def test_a_pair_that_failed_is_never_together() -> None:
    pairs = np.array([[0, np.nan, 5.0], [np.nan, 0, 5.0], [5.0, 5.0, 0]])
    found = best_partitions(summed(predicted(np.zeros(3), pairs), [1.0] * 3), 3)
    together: list[Partition] = [partition for partition, _ in found[1:]]
    assert all((0, 1) not in partition for partition in together)

"""Division over all tasks: every label keeps its share, as the paper's algorithm has it, and rare ones reach both."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from mtlsearch.data.examples.division import answers_of, drawn, marks_of, rows_by_part
from mtlsearch.errors import DataError

Marks = NDArray[np.bool_]


def as_published(marks: Marks, share: float, seed: int) -> NDArray[np.int64]:
    """Algorithm 1 of Sechidis, Tsoumakas and Vlahavas (2011) for two parts, example by example; the drawn rows."""
    random = np.random.default_rng(seed)
    left = set(range(len(marks)))
    sizes = np.array([1 - share, share]) * len(marks)
    wanted = marks.sum(0)[:, None] * np.array([1 - share, share])
    parts: list[list[int]] = [[], []]
    while left:
        rows = sorted(left)
        counts = marks[rows].sum(0)
        if not counts.any():
            label = None
        else:
            label = int(np.where(counts > 0, counts, len(marks) + 1).argmin())
            rows = [row for row in rows if marks[row, label]]
        for row in random.permutation(rows).tolist():
            desire = sizes if label is None else wanted[label]
            best = np.flatnonzero(desire == desire.max())
            best = best[sizes[best] == sizes[best].max()]
            part = int(random.choice(best))
            parts[part].append(row)
            sizes[part] -= 1
            wanted[marks[row], part] -= 1
            left.remove(row)
    return np.sort(parts[1])


def deviation(marks: Marks, rows: NDArray[np.int64]) -> float:
    """The mean distance between a label's share in the part and in all examples (LD of the paper, as shares)."""
    return float(np.abs(marks[rows].mean(0) - marks.mean(0)).mean())


def by_chance(marks: Marks, held: int) -> float:
    """The deviation of rows that are drawn without regard to their labels."""
    random = np.random.default_rng(0)
    return float(np.mean([deviation(marks, random.permutation(len(marks))[:held]) for _ in range(10)]))


def sparse_marks(rows: int = 600, tasks: int = 12, seed: int = 0) -> Marks:
    """Marks of rare yes-or-no answers with a third of them missing, alike between tasks."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(rows, 1))
    yes = common + random.normal(size=(rows, tasks)) > np.linspace(1.5, 3.5, tasks)
    return answers_of(np.where(random.random((rows, tasks)) < 0.3, np.nan, yes))


def test_labels_keep_their_share_as_by_the_published_algorithm() -> None:
    every = [sparse_marks(seed=seed) for seed in range(8)]
    ours = np.mean([deviation(marks, drawn(marks, 120, seed)) for seed, marks in enumerate(every)])
    theirs = np.mean([deviation(marks, as_published(marks, 0.2, seed)) for seed, marks in enumerate(every)])
    chance = np.mean([by_chance(marks, 120) for marks in every])
    assert ours <= 1.05 * theirs
    assert ours < 0.6 * chance


@pytest.mark.parametrize("held", [1, 60, 121, 300, 599])
def test_a_part_has_the_size_that_was_asked_for_and_no_row_twice(held: int) -> None:
    rows = drawn(sparse_marks(), held, 0)
    assert len(rows) == held
    assert (np.diff(rows) > 0).all()


def test_a_label_of_two_examples_is_in_both_parts_and_one_of_a_single_example_stays() -> None:
    marks = np.zeros((200, 4), bool)
    marks[[3, 4], 0] = marks[[4, 9], 1] = marks[[50, 60, 70], 2] = marks[7, 3] = True
    for seed in range(20):
        rows = drawn(marks, 40, seed)
        counts = marks[rows].sum(0)
        assert (counts[:3] >= 1).all()
        assert (counts[:3] < marks.sum(0)[:3]).all()
        assert counts[3] == 0


def test_a_division_is_a_function_of_the_seed() -> None:
    marks = sparse_marks()
    assert (drawn(marks, 100, 5) == drawn(marks, 100, 5)).all()
    assert (drawn(marks, 100, 5) != drawn(marks, 100, 6)).any()


def test_examples_without_labels_are_divided_too() -> None:
    marks = np.zeros((100, 1), bool)
    marks[:10] = True
    rows = drawn(marks, 20, 0)
    assert (len(rows), int(marks[rows].sum())) == (20, 2)


def test_six_hundred_tasks_are_divided_in_seconds() -> None:
    begun = time.process_time()
    marks = sparse_marks(8000, 617)
    rows = drawn(marks, 1600, 0)
    assert time.process_time() - begun < 10
    assert deviation(marks, rows) < by_chance(marks, 1600)


def test_marks_are_classes_and_where_some_lack_the_labels_that_are_there() -> None:
    classes = marks_of(np.array([2, -1, 0, 2]))
    assert classes is not None
    assert classes.tolist() == [[False, True], [False, False], [True, False], [False, True]]
    known = marks_of(np.array([1.5, np.nan, 2.5]))
    assert known is not None
    assert known.tolist() == [[True], [False], [True]]
    assert marks_of(np.array([1.5, 2.5])) is None
    assert marks_of(np.array([-1, -1])) is None
    both = marks_of(np.array([[np.nan, 1.0], [np.nan, np.nan]]))
    assert both is not None
    assert both.tolist() == [[True], [False]]
    assert answers_of(np.array([[1.0, np.nan], [0.0, 1.0]])).tolist() == [
        [True, False, False, False],
        [False, True, True, False],
    ]


def test_parts_are_named_for_each_example() -> None:
    found = rows_by_part(np.array(["train", "VAL", " test", "training"]), 4)
    assert {part: rows.tolist() for part, rows in found.items()} == {"train": [0, 3], "validation": [1], "test": [2]}
    for names, rule in (
        (["train", "test"], r"the part of each of 3 examples, but got the shape \(2,\)"),
        (["train", "test", "holdout"], "must be train, validation or test, but example 2 has 'holdout'"),
        (["train", "val", "train"], "must name examples for test, but names none"),
    ):
        with pytest.raises(DataError, match=rule):
            rows_by_part(np.array(names), 3)

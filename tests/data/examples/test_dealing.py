"""Dealing into parts: every row once, labels in equal shares, groups whole; groups of `Data` and `Table`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mtlsearch import Data, Table
from mtlsearch.data.examples.dealing import dealt, even
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import divide
from mtlsearch.errors import DataError, StudyError

X = np.arange(12.0)[:, None]
Y = np.arange(12) % 2
PATIENTS = np.repeat(["ann", "bob", "cat", "dan"], 3)


def refused(*given: Any, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        Data(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_parts_hold_every_row_once_and_each_label_in_its_share() -> None:
    rng = np.random.default_rng(0)
    marks = rng.random((1000, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.01]
    parts = dealt(1000, even(1000, 5), 3, marks, None)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1000))
    assert [len(part) for part in parts] == [200] * 5
    counts = np.array([marks[part].sum(0) for part in parts])
    assert (counts.max(0) - counts.min(0) <= 2).all()


def test_parts_depend_on_the_seed_alone() -> None:
    marks = np.eye(3, dtype=bool)[np.arange(60) % 3]
    first, again, other = (np.concatenate(dealt(60, even(60, 4), seed, marks, None)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_groups_stay_whole_and_labels_are_near_their_shares() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 120, 2000)
    marks = np.stack([groups % 3 == 0, rng.random(2000) < 0.2], 1)
    parts = dealt(2000, [1200, 400, 400], 0, marks, groups)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    held = [set(groups[part].tolist()) for part in parts]
    assert not (held[0] & held[1])
    assert not (held[0] & held[2])
    assert not (held[1] & held[2])
    assert [len(part) for part in parts] == pytest.approx([1200, 400, 400], abs=20)
    assert np.array([marks[part].mean(0) for part in parts]) == pytest.approx(np.tile(marks.mean(0), (3, 1)), abs=0.03)


def test_one_large_group_leaves_no_part_empty() -> None:
    groups = np.array([0] * 90 + [1, 2])
    assert [len(part) for part in dealt(92, even(92, 3), 0, None, groups)].count(0) == 0
    with pytest.raises(DataError, match="4 parts need as many groups or more, but got 3"):
        dealt(92, even(92, 4), 0, None, groups)


def test_data_hold_out_whole_groups() -> None:
    data = Data((X, Y), (X, Y), validation=3, groups=PATIENTS)
    train, validation = divide(data, torch.from_numpy(Y), 0)
    assert isinstance(validation, Part)
    assert train.groups is not None
    assert validation.groups is not None
    assert len(validation) == 3
    assert len(set(validation.groups.tolist())) == 1
    assert not set(train.groups.tolist()) & set(validation.groups.tolist())


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ([*PATIENTS[:-1], None], "but 1 have none (the first is example 11)"),
        ([*range(11), float("nan")], "but 1 have none (the first is example 11)"),
        (PATIENTS[:5], "groups must have a value for each of 12 train examples, but got 5"),
        ({"test": PATIENTS}, "groups must be those of train, or by part (train, test), but got test"),
        ({"train": PATIENTS, "test": PATIENTS}, "a group must lie in one part, but one is in train and in test"),
    ],
)
def test_groups_that_do_not_fit_are_refused_in_one_line(groups: Any, told: str) -> None:
    assert told in refused((X, Y), (X, Y), groups=groups)


def test_a_split_that_cuts_a_group_is_refused() -> None:
    split = ["train"] * 7 + ["test"] * 5
    assert "one is in train and in test" in refused((X, Y), split=split, groups=PATIENTS)
    split = ["train"] * 6 + ["test"] * 6
    assert Data((X, Y), split=split, groups=PATIENTS).train.groups is not None


def patients(path: Path, **changes: Any) -> Table:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(300), "y": rng.integers(0, 2, 300), "patient": rng.integers(0, 40, 300)})
    frame.assign(**changes).to_csv(path / "patients.csv", index=False)
    return Table("patients.csv", numbers=["x"], targets={"y": "category"}, groups="patient")


def test_a_table_divides_by_its_group_column(tmp_path: Path) -> None:
    data = patients(tmp_path)(tmp_path)
    assert data.drawn == {"validation", "test"}
    groups = [set(part.groups.tolist()) for part in data.parts if part.groups is not None]
    assert len(groups) == 3
    assert sum(map(len, groups)) == 40
    assert [len(part) for part in data.parts] == pytest.approx([180, 60, 60], abs=6)


def test_a_table_refuses_rows_without_a_group(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the group column 'patient' must have a value in each row, but 300 have none"):
        patients(tmp_path, patient=None)(tmp_path)
    with pytest.raises(StudyError, match="each column of a table is named once, but 'x' is there twice"):
        Table("patients.csv", numbers=["x"], targets={"y": "category"}, groups="x")

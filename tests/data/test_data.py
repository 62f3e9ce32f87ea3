"""Data are checked when they are made, and fingerprinted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import CLASSES, NOWHERE, disjoint, inputs, joint_source, loaded, picture_source, trunk
from torch import Tensor

from mtlsearch import Classification, Data
from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import load_data

X, Y = inputs(20, 0), torch.arange(20) % CLASSES


def refused(*pairs: Any, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        Data(*pairs, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_value(x: Tensor, row: int, value: float) -> Tensor:
    x = x.clone()
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((X[:0], Y[:0]), "train must hold examples, but it is empty"),
        ((X, Y[:19]), "train must have a label for each input, but got 20 inputs and 19 'label'"),
        ((X, {"a": Y, "b": Y[:7]}), "train must have a label for each input, but got 20 inputs and 7 'b'"),
        (
            (with_value(with_value(X, 17, torch.inf), 4, torch.nan), Y),
            "train inputs must be finite, but 2 of 20 hold NaN or infinity (the first is example 4): drop or fill them",
        ),
        ((torch.tensor(1.0), Y), "train inputs must be an array of examples, but got a single number"),
    ],
)
def test_unusable_training_data_are_refused(train: Any, message: str) -> None:
    assert refused(train, (X, Y)) == message


def test_each_part_is_checked_under_its_name() -> None:
    assert refused((X, Y), (X[:0], Y[:0])) == "test must hold examples, but it is empty"
    assert refused((X, Y), (X, Y), validation=(X[:0], Y[:0])) == "validation must hold examples, but it is empty"


def test_arrays_of_words_are_refused() -> None:
    assert refused((X, {"pet": np.array(["cat", "dog"] * 10)}), (X, Y)) == (
        "train labels 'pet' must be numbers, but got texts such as 'cat': number the classes, `codes, names ="
        " pandas.factorize(labels, sort=True)`, and give Data the codes, and the names as classes"
    )


def test_arrays_that_torch_cannot_share_are_copied() -> None:
    read_only = np.arange(40, dtype=np.uint8).reshape(20, 2)
    read_only.flags.writeable = False
    data = Data((read_only, np.arange(20)[::-1] % 3), (read_only, Y))
    assert data.train.inputs.tolist() == read_only.tolist()
    assert data.column(data.train, "a").tolist() == (np.arange(20)[::-1] % 3).tolist()


def test_a_task_takes_the_column_of_its_name_or_the_only_one() -> None:
    named = Data((X, {"a": Y, "b": Y + 1}), (X, {"a": Y, "b": Y + 1}), classes={"b": ["x", "y", "z", "u"]})
    assert torch.equal(named.column(named.train, "b"), Y + 1)
    assert named.class_names("b") == ("x", "y", "z", "u")
    assert named.class_names("a") == ()
    single = Data((X, Y), (X, Y), classes=["x", "y", "z"])
    assert torch.equal(single.column(single.train, "whatever"), Y)
    assert single.class_names("whatever") == ("x", "y", "z")
    with pytest.raises(DataError, match=r"^task 'c' needs a label column of its name, but got a, b$"):
        named.column(named.train, "c")


def test_sha256_changes_with_one_label_one_input_and_the_type() -> None:
    def digest(x: Any = X, y: Any = Y, test: Any = (X, Y)) -> str:
        return Data((x, {"a": y, "b": Y}), (test[0], {"a": test[1], "b": Y})).sha256("a")

    changed = Y.clone()
    changed[11] = (changed[11] + 1) % CLASSES
    digests = [
        digest(),
        digest(y=changed),
        digest(test=(X, changed)),
        digest(x=with_value(X, 0, 9.0)),
        digest(x=X.double()),
        digest(x=X.reshape(20, 2, 3)),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(x=X.clone(), y=Y.clone()) == digests[0]


def test_sha256_of_a_task_does_not_see_another_tasks_labels() -> None:
    def digest(task: str, b: Tensor) -> str:
        return Data((X, {"a": Y, "b": b}), (X, {"a": Y, "b": b})).sha256(task)

    assert digest("a", Y) == digest("a", (Y + 1) % CLASSES)
    assert digest("b", Y) != digest("b", (Y + 1) % CLASSES)


def test_sha256_does_not_depend_on_how_the_memory_is_walked() -> None:
    wide = torch.randn(20, 12)
    strided = Data((wide[:, ::2], Y), (X, Y)).sha256("a")
    assert Data((wide[:, ::2].contiguous(), Y), (X, Y)).sha256("a") == strided
    assert len(Data((X.bfloat16(), Y), (X > 0, Y)).sha256("a")) == 64


def test_bytes_stay_bytes_on_load_and_are_scaled_in_the_step() -> None:
    splits = loaded(disjoint()).splits
    assert {part.inputs.dtype for s in splits for part in (s.train, s.validation, s.test)} == {torch.uint8}
    scaled = as_input(torch.tensor([[0, 51, 255]], dtype=torch.uint8), torch.float64)
    assert scaled.tolist() == [[0.0, 0.2, 1.0]]
    assert as_input(torch.ones(1, dtype=torch.float64), torch.float32).dtype == torch.float32
    assert as_input(torch.tensor([7]), torch.float32).tolist() == [7]


def test_equal_sources_are_one_and_different_ones_are_disjoint() -> None:
    def study(*sources: Any) -> Any:
        tasks = [Classification("a", sources[0]), Classification("b", sources[1])]
        return disjoint(tasks=tasks, model=trunk({"a": CLASSES, "b": CLASSES}))

    one = picture_source()
    assert [splits.tasks for splits in loaded(study(one, one)).splits] == [("a", "b")]
    assert [splits.tasks for splits in loaded(study(one, picture_source())).splits] == [("a",), ("b",)]


def test_a_source_that_fails_names_its_task_and_its_error() -> None:
    def source(directory: Path) -> Data:
        raise FileNotFoundError(f"no {directory / 'train.csv'}")

    with pytest.raises(DataError) as error:
        load_data(disjoint(tasks=[Classification("a", source)]), NOWHERE)
    assert str(error.value) == "the data of task 'a' cannot be loaded: FileNotFoundError: no nowhere/train.csv"


def test_a_source_must_give_data() -> None:
    with pytest.raises(DataError, match=r"^the data of task 'a' must be a Data, but got a tuple$"):
        load_data(disjoint(tasks=[Classification("a", lambda directory: (X, Y))]), NOWHERE)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["train", "validation", "test"])
def test_a_task_without_any_label_in_a_part_is_refused(where: str) -> None:
    def source(directory: Path) -> Data:
        data = joint_source()(directory)
        parts = {"train": data.train, "validation": data.test, "test": data.test}
        pairs = {name: (part.inputs, dict(part.labels)) for name, part in parts.items()}
        pairs[where][1]["kind"] = torch.full_like(pairs[where][1]["kind"], -1)
        return Data(**pairs)  # type: ignore[arg-type]

    with pytest.raises(DataError) as error:
        load_data(disjoint(tasks=[Classification("kind", source)], model=trunk({"kind": CLASSES})), NOWHERE)
    assert str(error.value) == (
        "task 'kind': the training data must hold two classes or more, but hold 0"
        if where == "train"
        else f"task 'kind' needs labels in its {where} data, but all are missing"
    )


def test_split_names_the_part_of_each_example() -> None:
    names = ["test", "train", "val", "train", "train", "test"]
    x, y = np.arange(12).reshape(6, 2), {"a": np.arange(6)}
    data = Data((x, y), split=names)
    assert isinstance(data.validation, Part)
    assert [part.labels["a"].tolist() for part in data.parts] == [[1, 3, 4], [2], [0, 5]]
    assert data.train.inputs[:].tolist() == x[[1, 3, 4]].tolist()
    without = Data((x, y), split=np.array(names).astype(object)[[0, 1, 1, 3, 4, 5]], validation=1)
    assert without.validation == 1
    assert len(without.train) == 4


def test_split_leaves_inputs_on_disk_where_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(6, 2))
    inputs = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = Data((inputs, np.arange(6)), split=["train", "test"] * 3)
    assert isinstance(data.test.inputs, OnDisk)
    assert data.test.inputs[:].tolist() == inputs[1::2].tolist()


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({}, "neither"),
        ({"split": ["train", "test"], "test": (X[:2], Y[:2])}, "both"),
        ({"split": ["train", "test"], "validation": (X[:2], Y[:2])}, "both"),
    ],
)
def test_parts_are_given_either_way(options: Any, got: str) -> None:
    with pytest.raises(DataError, match=rf"^Data needs test=\(inputs, labels\), or split= .* but got {got}$"):
        Data((X[:2], Y[:2]), **options)

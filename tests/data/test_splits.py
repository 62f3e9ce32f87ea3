"""The validation part is drawn by the split seed alone, with its share of every class."""

import numpy as np
import pytest
import torch
from problems import CLASSES, classes, disjoint, inputs, loaded
from torch import Tensor

from mtlsearch import Data
from mtlsearch.data.examples.parts import Part
from mtlsearch.data.splits import divide
from mtlsearch.errors import DataError

X, Y = inputs(20, 0), torch.arange(20) % CLASSES


def rows_of(part: Part) -> list[int]:
    """The examples of a part, where the first input numbers them."""
    return part.inputs[:, 0].long().tolist()


def numbered(rows: int) -> Data:
    x = torch.stack([torch.arange(rows), torch.zeros(rows)], 1)
    return Data((x, classes(inputs(rows, 3))), (x, classes(inputs(rows, 3))), validation=0.25)


@pytest.mark.parametrize("size", [0, 20, 25, -3, 1.0, 0.0])
def test_validation_must_leave_examples_on_both_sides(size: float) -> None:
    data = Data((X, Y), (X, Y), validation=size)
    with pytest.raises(DataError) as error:
        divide(data, None, 0)
    assert str(error.value) == (f"validation must hold out 1 to 19 of the 20 training examples, but got {size}")


def test_parts_are_disjoint_and_complete() -> None:
    data = numbered(200)
    train, validation = divide(data, data.column(data.train, "a"), 0)
    assert len(validation) == 50
    assert sorted(rows_of(train) + rows_of(validation)) == list(range(200))


def test_the_division_depends_on_the_split_seed_alone() -> None:
    data = numbered(200)
    labels = data.column(data.train, "a")
    torch.manual_seed(1)
    np.random.seed(1)
    first = rows_of(divide(data, labels, 5)[1])
    torch.manual_seed(2)
    np.random.seed(2)
    assert rows_of(divide(numbered(200), labels, 5)[1]) == first
    assert rows_of(divide(data, labels, 6)[1]) != first


def test_the_division_keeps_the_share_of_each_class() -> None:
    labels = torch.tensor([0] * 160 + [1] * 30 + [2] * 10)
    data = Data((inputs(200, 0), labels), (X, Y), validation=0.2)
    _, validation = divide(data, labels, 0)
    assert torch.bincount(data.column(validation, "a")).tolist() == [32, 6, 2]


def test_a_class_of_one_example_is_divided_without_strata() -> None:
    labels = torch.tensor([0] * 19 + [1])
    train, validation = divide(Data((X, labels), (X, Y), validation=4), labels, 0)
    assert (len(train), len(validation)) == (16, 4)


def test_own_validation_data_are_taken_as_they_are() -> None:
    data = Data((X, Y), (X, Y), validation=(X[:3], Y[:3]))
    train, validation = divide(data, Y, 0)
    assert len(train) == 20
    assert torch.equal(validation.inputs, X[:3])


def test_the_split_seed_divides_a_studys_data() -> None:
    def validation(split_seed: int) -> Tensor:
        return loaded(disjoint(split_seed=split_seed)).splits[0].validation.inputs

    assert torch.equal(validation(0), validation(0))
    assert not torch.equal(validation(0), validation(1))

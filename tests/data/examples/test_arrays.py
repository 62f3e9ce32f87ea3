"""Sparse matrices, data frames and lists as inputs and labels; what holds no numbers is refused with advice."""

# ruff: noqa: E501 (a table of messages, each in one line as its user sees it)

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from mtlsearch import Data
from mtlsearch.data.examples import arrays
from mtlsearch.errors import DataError

DENSE = np.array([[0, 3, 0], [250, 0, 0], [0, 0, 1], [0, 0, 0]])
Y = np.array([0, 1, 0, 1])


def inputs_of(x: Any) -> torch.Tensor:
    inputs = Data((x, Y), (x, Y)).train.inputs
    assert isinstance(inputs, torch.Tensor)
    return inputs


def refused(x: Any = DENSE, y: Any = Y) -> str:
    with pytest.raises(DataError) as error:
        Data((x, y), (DENSE, Y))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_a_sparse_matrix_becomes_dense_in_the_narrowest_type(form: str) -> None:
    matrix = sparse.csr_matrix(DENSE.astype(np.float64)).asformat(form)
    assert inputs_of(matrix).dtype == torch.uint8
    assert inputs_of(matrix).tolist() == DENSE.tolist()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (DENSE - (DENSE == 3) * 5, torch.int16),
        (DENSE * 1000, torch.int32),
        (DENSE > 0, torch.bool),
        (DENSE / 2, torch.float32),
        (DENSE * 0, torch.uint8),
    ],
)
def test_the_narrowest_type_holds_every_value(values: Any, dtype: torch.dtype) -> None:
    inputs = inputs_of(sparse.csr_array(values))
    assert inputs.dtype == dtype
    assert np.array_equal(inputs.numpy(), values)


def test_a_large_sparse_matrix_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(arrays, "MUCH", 10)
    inputs_of(sparse.csr_matrix(DENSE))
    line = "mtlsearch: train inputs: a sparse matrix of 4 × 3 is made dense, 0.0 GB\n"
    assert line in capsys.readouterr().err


def test_a_sparse_tensor_becomes_dense() -> None:
    assert inputs_of(torch.from_numpy(DENSE).to_sparse()).tolist() == DENSE.tolist()


def test_a_data_frame_of_numbers_is_an_array_of_its_columns() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3, 4], "b": [0.5, 1, 2, 3], "c": [True, False, True, False]})
    assert inputs_of(frame).tolist() == frame.astype(float).to_numpy().tolist()
    assert inputs_of(frame[["c"]]).dtype == torch.bool
    assert inputs_of(frame.astype({"a": "Int64", "c": "boolean"})).tolist() == inputs_of(frame).tolist()


def test_a_gap_in_a_data_frame_is_told_as_any_missing_number() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None, 3, 4], dtype="Int64")})
    assert "train inputs must be finite, but 1 of 4 hold NaN" in refused(frame)


def test_labels_may_be_a_data_frame_whose_columns_are_the_tasks() -> None:
    frame = pd.DataFrame({"a": Y, "b": [0.5, None, 2, 3]})
    data = Data((DENSE, frame), (DENSE, frame))
    assert data.column(data.train, "a").tolist() == Y.tolist()
    assert data.column(data.train, "b").isnan().tolist() == [False, True, False, False]


def test_lists_and_foreign_byte_orders_are_arrays() -> None:
    assert inputs_of(DENSE.tolist()).tolist() == DENSE.tolist()
    assert inputs_of(DENSE.astype(">i4")).tolist() == DENSE.tolist()


ADVICE = "encode it (pandas.get_dummies), or give the file to Table or `mtlsearch init --csv`"
NUMBERED = (
    "number the classes, `codes, names = pandas.factorize(labels, sort=True)`, and give Data the codes, and the names"
    " as classes"
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": pd.DataFrame({"a": Y, "city": list("abab")})}, f"column 'city' of train inputs must be numbers, but got str such as 'a': {ADVICE}"),
        ({"x": np.array([["a", "b"]] * 4)}, f"train inputs must be numbers, but got texts such as 'a': {ADVICE}"),
        ({"y": ["cat", "dog", "cat", "dog"]}, f"train labels must be numbers, but got texts such as 'cat': {NUMBERED}"),
        ({"y": {"pet": pd.Series(["cat", "dog"] * 2, dtype="category")}}, f"train labels 'pet' must be numbers, but got category such as 'cat': {NUMBERED}"),
        ({"y": np.array([object()] * 4)}, "train labels must be numbers, but got object"),
        ({"x": [[1, 2], [1], [1], [1]]}, "train inputs must be an array of numbers, but: ValueError: "),
        ({"x": DENSE + 1j}, "train inputs must be real numbers, but got torch.complex128: give real and imaginary parts"),
    ],
)  # fmt: skip
def test_what_holds_no_numbers_is_refused_with_advice(given: dict[str, Any], message: str) -> None:
    assert refused(**given).startswith(message)

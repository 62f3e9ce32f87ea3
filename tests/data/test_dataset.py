"""Map-style Datasets as data: read once, through a user's collate function."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from mtlsearch import Classification, Data, Regression, SharedTrunk, Study
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import load_data

N = 600  # more than two chunks


class Records(Dataset[Any]):
    """Examples as dicts, made by a function of their number."""

    def __init__(self, make: Callable[[int], Any], count: int = N) -> None:
        self.make, self.count, self.asked = make, count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> Any:
        self.asked += 1
        return self.make(n)


def record(n: int) -> dict[str, Any]:
    return {"x": np.full(3, n, np.float32), "a": n % 2, "b": float(n)}


def collate(records: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    return np.stack([r["x"] for r in records]), {name: np.array([r[name] for r in records]) for name in ("a", "b")}


def refused(train: Any, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        Data(train, (np.zeros((2, 3)), [0, 1]), **options)
    return str(error.value)


def test_examples_are_collated_in_their_order_each_read_once() -> None:
    train = Records(record)
    data = Data(train, Records(record, 7), validation=Records(record, 5), collate=collate)
    assert train.asked == N
    assert torch.equal(data.train.inputs, torch.arange(N).float()[:, None].expand(N, 3))
    assert torch.equal(data.train.labels["a"], torch.arange(N) % 2)
    assert torch.equal(data.train.labels["b"].double(), torch.arange(N).double())
    assert [len(part) for part in data.parts] == [N, 5, 7]


def test_pairs_need_no_collate_function() -> None:
    x, y = torch.randn(N, 4), torch.arange(N) % 3
    data = Data(TensorDataset(x, y), Subset(TensorDataset(x, y), [5, 3]))
    assert torch.equal(data.train.inputs, x)
    assert torch.equal(data.train.labels["label"], y)
    assert torch.equal(data.test.inputs, x[[5, 3]])
    by_task = Data(Records(lambda n: (x[n], {"a": y[n], "b": 0.5})), (x, {"a": y, "b": x[:, 0]}))
    assert torch.equal(by_task.train.labels["a"], y)
    assert by_task.train.labels["b"].unique().tolist() == [0.5]


def test_study_of_a_dataset_loads_as_one_of_arrays(tmp_path: Path) -> None:
    def study(train: Any) -> Study:
        def source(_: Path) -> Data:
            return Data(train, train, collate=collate)

        return Study(
            tasks=[Classification("a", source), Regression("b", source)],
            model=lambda config: SharedTrunk(3, {"a": 2, "b": 1}, hidden=4),
            space={},
            default={},
        )

    arrays = collate([record(n) for n in range(N)])
    assert load_data(study(Records(record)), tmp_path).sha256 == load_data(study(arrays), tmp_path).sha256


def test_what_is_no_pair_and_no_dataset_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(())

    x = torch.zeros(4, 3)
    assert refused(x) == "train must be (inputs, labels) or a map-style Dataset, but got a Tensor"
    assert refused((x, x, x)) == "train must be (inputs, labels) or a map-style Dataset, but got 3 values"
    assert refused(Stream()).startswith("train must give its examples by number, but got a stream: write it once")
    assert refused(Records(record, 0), collate=collate) == "train must hold examples, but it is empty"
    assert refused(Records(record)) == (
        "train: examples must be (input, label) or (input, {task: label}); else collate= makes (inputs, labels), labels"
        " an array or {task: array}, but got a dict"
    )
    assert refused(Records(lambda n: (x[0], 1, 2.0))).endswith("labels an array or {task: array}, but got 3 values")
    assert refused(Records(record), collate=lambda records: None) == (
        "train: collate must give (inputs, labels), labels an array or {task: array}, but got a NoneType"
    )
    assert refused(Records(record), collate=lambda rs: (["a"] * len(rs), [0] * len(rs))) == (
        "train inputs must be numbers of one shape, but got a list"
    )


def test_examples_of_several_shapes_or_labels_are_refused() -> None:
    def padded(records: list[Any]) -> Any:
        return np.zeros((len(records), max(len(r) for r in records))), np.zeros(len(records))

    assert refused(Records(lambda n: np.zeros(3 if n < 300 else 4)), collate=padded) == (
        "train inputs must have one shape, but got (3,) and (4,): pad all examples to one length"
    )

    def other(records: list[Any]) -> Any:
        return np.zeros((len(records), 2)), {"a" if records[0]["b"] < 256 else "c": np.zeros(len(records))}

    assert refused(Records(record), collate=other) == (
        "train: every example must have the labels a, but some have others"
    )

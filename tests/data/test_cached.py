"""A stream of examples is written once, whole or not at all, and read from its files from then on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import contents
from problems import CLASSES, NOWHERE, classes, config, disjoint, inputs, trunk

from mtlsearch import Classification, Data, cached
from mtlsearch.data import cached as cache_module
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import load_data
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

X, Y = inputs(60, 0), classes(inputs(60, 0))


def stream(begun: list[int] | None = None) -> Iterator[tuple[Any, Any]]:
    if begun is not None:
        begun.append(1)
    yield from zip(X, Y, strict=True)


def test_stream_is_written_once_and_mapped(tmp_path: Path) -> None:
    begun: list[int] = []
    for _ in range(2):
        pictures, labels = cached(stream(begun), tmp_path / "new", "train")
        assert isinstance(pictures, np.memmap)
        assert torch.equal(torch.from_numpy(np.array(pictures)), X)
        assert list(labels) == ["label"]
        assert labels["label"].tolist() == Y.tolist()
    assert begun == [1]
    assert sorted(contents(tmp_path)) == [
        "new", "new/train.cached", "new/train.cached/inputs.npy", "new/train.cached/labels.npz"
    ]  # fmt: skip


def test_labels_may_be_columns_of_any_name_and_shape(tmp_path: Path) -> None:
    def examples() -> Iterator[tuple[Any, Any]]:
        for x, y in zip(X, Y, strict=True):
            yield x.numpy(), {"file": int(y), "a/b": x[:2].numpy()}

    _, labels = cached(examples(), tmp_path, "train")
    assert labels["file"].tolist() == Y.tolist()
    assert np.array_equal(labels["a/b"], X[:, :2].numpy())


def test_study_of_a_stream_trains_as_from_memory(tmp_path: Path) -> None:
    def study(data: Data) -> Any:
        return disjoint(tasks=[Classification("a", lambda directory: data)], model=trunk({"a": CLASSES}))

    def results(data: Data) -> list[Any]:
        made = study(data)
        trainer = SoloTrainer(Training(load_data(made, NOWHERE)))
        trainer.add(0, config(made))
        return [trainer.advance()[0] for _ in range(2)]

    streamed = Data(cached(stream(), tmp_path, "train"), (X, Y))
    assert results(streamed) == results(Data((X, Y), (X, Y)))


@pytest.mark.parametrize("count", [1, 9, 10, 1000])
def test_any_number_of_examples_fits_the_header(count: int, tmp_path: Path) -> None:
    numbers, labels = cached(((np.float32(n), n % 2) for n in range(count)), tmp_path, "numbers")
    assert numbers.tolist() == list(range(count))
    assert len(labels["label"]) == count


def test_stream_that_breaks_leaves_nothing_and_is_begun_again(tmp_path: Path) -> None:
    def breaks() -> Iterator[tuple[Any, Any]]:
        yield X[0], 0
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        cached(breaks(), tmp_path, "train")
    assert contents(tmp_path) == {}
    assert len(cached(stream(), tmp_path, "train")[0]) == 60


def test_of_two_that_write_at_once_the_first_to_end_is_kept(tmp_path: Path) -> None:
    def slower() -> Iterator[tuple[Any, Any]]:
        cached(stream(), tmp_path, "train")
        yield np.zeros(3), 1

    pictures, _ = cached(slower(), tmp_path, "train")
    assert pictures.shape == X.shape
    assert [path.name for path in tmp_path.iterdir()] == ["train.cached"]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "train must hold examples, but its stream gave none"),
        (
            [(np.zeros(3), 0), (np.zeros(4), 1)],
            "every input of train must be float64 of the shape (3,) as the first, but example 1 is float64 of (4,)",
        ),
        (
            [(np.zeros(3), 0), (np.zeros(3, np.uint8), 1)],
            "every input of train must be float64 of the shape (3,) as the first, but example 1 is uint8 of (3,)",
        ),
        (
            [(np.zeros(3), {"a": 0}), (np.zeros(3), {"b": 1})],
            "every label of train must have the columns a as the first, but example 1 has b",
        ),
        (
            [(np.zeros(3), [0]), (np.zeros(3), [0, 1])],
            "the labels 'label' of train must have one shape, but: ",
        ),
        ([(np.array("cat"), 0)], "the inputs of train must be numbers, but got <U3"),
        ([(np.zeros(3), None)], "the labels 'label' of train must be numbers, but got object"),
    ],
)
def test_unusable_streams_are_refused_in_one_line(examples: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        cached(examples, tmp_path, "train")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["inputs.npy", "labels.npz"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    cached(stream(), tmp_path, "train")
    path = tmp_path / "train.cached" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"^{tmp_path / 'train.cached'} is damaged .*: delete it and run again$"):
        cached(stream(), tmp_path, "train")


def test_long_writing_gives_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(stream(), tmp_path, "short")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cache_module, "NOTICE_SECONDS", -1.0)
    cached(stream(), tmp_path, "long")
    assert "writing long: 59 examples" in capsys.readouterr().err

"""torchvision's picture sets: read as bytes, damaged archives named, no long wait without a network."""

import gzip
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from mtlsearch import TorchvisionImages, load_study
from mtlsearch.download import DownloadError
from mtlsearch.errors import DataError
from mtlsearch.study.loaded import load_data

LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> None:
    """Every mirror is a closed port of this machine, and no proxy is set."""
    mirror = f"http://127.0.0.1:{free_port()}/"
    monkeypatch.setattr(datasets.MNIST, "mirrors", [mirror, mirror])
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [mirror])
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def write_idx(path: Path, *shape: int) -> None:
    """An unpacked file of zeros, as MNIST has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = torch.Size(shape).numel()
    path.write_bytes(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(size))


def tiny(directory: Path, name: str = "MNIST") -> Path:
    """A set of a few pictures with nothing packed."""
    raw = directory / name / "raw"
    for part, count in (("train", 30), ("t10k", 10)):
        write_idx(raw / f"{part}-images-idx3-ubyte", count, 28, 28)
        write_idx(raw / f"{part}-labels-idx1-ubyte", count)
    return raw


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_real_pictures_come_as_bytes_with_names_of_their_classes(data_directory: Path, name: str) -> None:
    data = TorchvisionImages(name)(data_directory)
    assert data.train.inputs.shape == (60_000, 28, 28)
    assert data.test.inputs.shape == (10_000, 28, 28)
    assert data.train.inputs.dtype == torch.uint8
    assert data.validation == 10_000
    assert len(data.class_names("anything")) == 10


def test_the_default_study_holds_out_ten_thousand_of_each(data_directory: Path) -> None:
    loaded = load_data(load_study("mnist-fashion"), data_directory)
    assert [splits.tasks for splits in loaded.splits] == [("mnist",), ("fashion",)]
    for splits in loaded.splits:
        assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [50_000, 10_000, 10_000]
        counts = torch.bincount(splits.validation.labels[splits.tasks[0]])
        expected = torch.bincount(splits.train.labels[splits.tasks[0]]) / 5
        assert (counts - expected).abs().max() <= 1


@pytest.mark.usefixtures("nobody_answers")
def test_unpacked_files_are_enough(tmp_path: Path) -> None:
    tiny(tmp_path)
    data = TorchvisionImages("MNIST", validation=5)(tmp_path)
    assert (len(data.train), len(data.test)) == (30, 10)


@pytest.mark.usefixtures("nobody_answers")
@pytest.mark.parametrize("kept", [-1, 20, 8, 5, 2, 0])
def test_an_unpacked_file_cut_short_is_named_and_what_to_delete(tmp_path: Path, kept: int) -> None:
    file = tiny(tmp_path) / LABELS
    file.write_bytes(file.read_bytes()[:-1] if kept < 0 else (file.read_bytes() * 2)[:kept])
    with pytest.raises(DataError) as error:
        TorchvisionImages("MNIST")(tmp_path)
    assert str(error.value) == f"{file} is cut short or damaged: delete it and run again"


@pytest.mark.usefixtures("nobody_answers")
def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    file = tiny(tmp_path) / LABELS
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"is cut short or damaged: delete it and run again$"):
        TorchvisionImages("MNIST")(tmp_path)


@pytest.mark.usefixtures("nobody_answers")
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_an_archive_cut_short_is_named_and_what_to_delete(tmp_path: Path, name: str) -> None:
    raw = tiny(tmp_path, name)
    (raw / LABELS).unlink()
    archive = raw / f"{LABELS}.gz"
    archive.write_bytes(gzip.compress(bytes(10_008))[:-7])
    with pytest.raises(DataError) as error:
        TorchvisionImages(name)(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{archive} is cut short or damaged (MD5 ")
    assert said.endswith(": delete it and run again")


@pytest.mark.usefixtures("nobody_answers")
def test_archives_that_are_whole_are_unpacked_without_a_network(data_directory: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (data_directory / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(archive, raw)
    assert len(TorchvisionImages("MNIST")(tmp_path).test) == 10_000


@pytest.mark.usefixtures("nobody_answers")
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_without_data_and_network_the_error_comes_within_seconds(tmp_path: Path, name: str) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError) as error:
        TorchvisionImages(name)(tmp_path / "data")
    assert time.monotonic() - start < 5
    assert str(error.value) == (
        f"{name} is not in the data directory {tmp_path / 'data'} and cannot be downloaded (no mirror answers):"
        f" put its archives into {tmp_path / 'data' / name / 'raw'}, or name another directory with --data"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("nobody_answers")
def test_one_missing_file_of_a_set_is_a_missing_set(tmp_path: Path) -> None:
    (tiny(tmp_path) / LABELS).unlink()
    with pytest.raises(DownloadError, match=r"^MNIST is not in the data directory"):
        TorchvisionImages("MNIST")(tmp_path)


def test_a_name_that_resolves_to_nothing_is_no_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["https://mirror.invalid/mnist/"])
    monkeypatch.setattr("mtlsearch.download.getproxies", dict)
    with pytest.raises(DownloadError, match=r"no mirror answers"):
        TorchvisionImages("MNIST")(tmp_path)


def test_a_set_that_torchvision_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^torchvision has no picture set 'MNITS' in MNIST's format"):
        TorchvisionImages("MNITS")(tmp_path)
    with pytest.raises(DataError, match=r"^torchvision has no picture set 'CIFAR10' in MNIST's format"):
        TorchvisionImages("CIFAR10")(tmp_path)

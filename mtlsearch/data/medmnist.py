"""MedMNIST's sets of medical pictures, from their `.npz` files."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mtlsearch.data.parts import SINGLE, Data
from mtlsearch.download import DownloadError, answers, download_failed
from mtlsearch.errors import DataError, one_line

PARTS = ("train", "val", "test")
CHEST = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
    "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)  # fmt: skip
COLUMNS = {"chestmnist": CHEST}  # the package medmnist names them too, but need not be installed
Numbers = np.ndarray[Any, Any]


@dataclass
class MedMNIST:
    """A set of MedMNIST: `NAME.npz`, or `NAME_SIZE.npz`, in the data directory, with its own validation part.

    A set of yes-or-no labels has a column [N, 1] for each label, named by `columns`, and a column [N, C] for each of
    `groups`, {name: columns}: a task is one diagnosis or several. A set of classes has one column, for a task of any
    name. A label below 0, or NaN, is missing. Your own file in this format needs its `columns` named.

    Raises DataError for a broken file, and DownloadError where the file is absent and the package medmnist is not
    installed or cannot download it.
    """

    name: str
    size: int = 28
    columns: tuple[str, ...] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A study lists its tasks by the columns of a known set before the file is read.
        self.columns = tuple(self.columns) or COLUMNS.get(self.name, ())

    def __call__(self, directory: Path, /) -> Data:
        path = directory / f"{self.name}{'' if self.size == 28 else f'_{self.size}'}.npz"
        if not path.is_file():
            download(self.name, self.size, path)
        groups, arrays = self._groups(), read_npz(path)
        train, validation, test = (
            (_pictures(path, f"{part}_images", arrays), self._labels(path, part, arrays, groups))
            for part in PARTS
        )
        return Data(train, test, validation=validation, classes=groups)

    def _labels(
        self, path: Path, part: str, arrays: Mapping[str, Numbers], groups: Mapping[str, Sequence[str]]
    ) -> dict[str, Numbers]:
        """Label columns by name; the one column of a set of classes serves a task of any name."""
        labels, count = arrays[f"{part}_labels"], len(arrays[f"{part}_images"])
        if labels.ndim != 2 or len(labels) != count or labels.dtype.kind not in "buif":
            raise DataError(
                f"{path}: {part}_labels must be numbers [N, L] of {count} pictures,"
                f" but is {labels.dtype} {labels.shape}"
            )
        if labels.shape[1] == 1 and not self.columns:
            return {SINGLE: labels[:, 0].astype(np.int64)}
        if labels.shape[1] != len(self.columns):
            raise DataError(
                f"{path} has {labels.shape[1]} labels a picture: name each in MedMNIST(columns=…),"
                f" which has {len(self.columns)}"
            )
        reals = labels.astype(np.float32)
        reals[reals < 0] = np.nan
        return {name: reals[:, [*map(self.columns.index, group)]] for name, group in groups.items()}

    def _groups(self) -> dict[str, tuple[str, ...]]:
        """The columns of each label by itself and of each group, by name."""
        for name, group in self.groups.items():
            if not group or not set(group) <= set(self.columns):
                known, got = ", ".join(self.columns) or "none", ", ".join(group) or "none"
                raise DataError(f"group {name!r} must name columns of {self.name} ({known}), but got {got}")
        single = {column: (column,) for column in self.columns}
        return single | {name: tuple(group) for name, group in self.groups.items()}


def _pictures(path: Path, key: str, arrays: Mapping[str, Numbers]) -> Numbers:
    """Pictures [N, H, W] or [N, C, H, W]; the file has the channels last."""
    pictures = arrays[key]
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4):
        raise DataError(
            f"{path}: {key} must be uint8 [N, H, W] or [N, H, W, C], but is {pictures.dtype} {pictures.shape}"
        )
    return pictures if pictures.ndim == 3 else np.ascontiguousarray(np.moveaxis(pictures, -1, 1))


def read_npz(path: Path) -> dict[str, Numbers]:
    """The six arrays of a file in MedMNIST's format. Raises DataError naming the file and any missing array."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        with np.load(path, allow_pickle=False) as file:
            keys = [f"{part}_{what}" for part in PARTS for what in ("images", "labels")]
            for key in keys:
                if key not in file:
                    has = ", ".join(file) or "none"
                    raise DataError(
                        f"{path} must hold the array {key!r}, as MedMNIST's files do, but holds {has}"
                    )
            return {key: file[key] for key in keys}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is no whole .npz file of arrays ({one_line(error)}): delete it and run again"
        ) from error


def download(name: str, size: int, path: Path) -> None:
    """Download a set by the package medmnist, which checks its MD5. Raises DownloadError."""
    if find_spec("medmnist") is None:
        raise DownloadError(
            f"{path.name} is not in the data directory {path.parent}: put it there, or"
            " `pip install 'mtlsearch[medmnist]'` to have it downloaded"
        )
    medmnist = import_module("medmnist")
    known = medmnist.INFO.get(name, {})
    url = known.get("url" if size == 28 else f"url_{size}")
    if url is None:
        raise DataError(f"MedMNIST has no set {path.stem!r}, and {path} is not there")
    try:
        if not answers(url):
            raise OSError("its host does not answer")
        path.parent.mkdir(parents=True, exist_ok=True)
        source = getattr(medmnist, known["python_class"])
        source(split="test", download=True, root=str(path.parent), size=size)
    except (OSError, RuntimeError) as error:
        raise download_failed(path.name, path.parent, error) from error

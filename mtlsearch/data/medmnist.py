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
from mtlsearch.download import DownloadError, answers
from mtlsearch.errors import DataError, one_line

PARTS = ("train", "val", "test")
CHEST = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
    "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)  # fmt: skip
COLUMNS = {"chestmnist": CHEST}
Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MedMNIST:
    """A set of MedMNIST: `NAME.npz`, or `NAME_SIZE.npz`, in the data directory; its own validation part is kept.

    A set of yes-or-no labels has a column [N, 1] for each, by the name of `columns`, and a column [N, C] for each of
    `groups`, {name: columns}: so a task is one diagnosis, or several. A set of classes has one column, for a task of
    any name. A label below 0, or NaN, is missing. A file of one's own in this format needs its `columns` named.

    Raises DataError for a broken file, and DownloadError where there is none and the package medmnist, which
    downloads it, is not installed or cannot.
    """

    name: str
    size: int = 28
    columns: tuple[str, ...] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Frozen, and yet the names of a known set are there without its file, for a study's list of tasks.
        object.__setattr__(self, "columns", tuple(self.columns) or COLUMNS.get(self.name, ()))

    def __call__(self, directory: Path, /) -> Data:
        path = directory / f"{self.name}{'' if self.size == 28 else f'_{self.size}'}.npz"
        if not path.is_file():
            download(self.name, self.size, path)
        groups, arrays = self._groups(), read_npz(path)
        train, validation, test = (self._part(path, arrays, stem) for stem in PARTS)
        return Data(train, test, validation=validation, classes=groups)

    def _part(
        self, path: Path, arrays: Mapping[str, Numbers], stem: str
    ) -> tuple[Numbers, dict[str, Numbers]]:
        pictures, labels = arrays[f"{stem}_images"], arrays[f"{stem}_labels"]
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4):
            raise DataError(
                f"{path}: {stem}_images must be uint8 [N, H, W] or [N, H, W, C],"
                f" but is {pictures.dtype} {pictures.shape}"
            )
        if labels.ndim != 2 or len(labels) != len(pictures) or labels.dtype.kind not in "buif":
            raise DataError(
                f"{path}: {stem}_labels must be numbers [N, L] of {len(pictures)} pictures,"
                f" but is {labels.dtype} {labels.shape}"
            )
        if pictures.ndim == 4:
            pictures = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
        return pictures, self._labels(path, labels)

    def _labels(self, path: Path, labels: Numbers) -> dict[str, Numbers]:
        """Columns by name; the only one of a set of classes takes any task's name."""
        if labels.shape[1] == 1 and not self.columns:
            return {SINGLE: labels[:, 0].astype(np.int64)}
        if labels.shape[1] != len(self.columns):
            raise DataError(
                f"{path} has {labels.shape[1]} labels a picture: name each in MedMNIST(columns=…),"
                f" which has {len(self.columns)}"
            )
        reals = labels.astype(np.float32)
        reals[reals < 0] = np.nan
        index = {column: i for i, column in enumerate(self.columns)}
        return {name: reals[:, [index[column] for column in group]] for name, group in self._groups().items()}

    def _groups(self) -> dict[str, tuple[str, ...]]:
        """Every column by itself, and the columns of each group, by name."""
        for name, group in self.groups.items():
            unknown = [column for column in group if column not in self.columns]
            if unknown or not group:
                known = ", ".join(self.columns) or "none"
                raise DataError(
                    f"group {name!r} must name columns of {self.name} ({known}), but got {', '.join(group) or 'none'}"
                )
        single = {column: (column,) for column in self.columns}
        return single | {name: tuple(group) for name, group in self.groups.items()}


def read_npz(path: Path) -> dict[str, Numbers]:
    """The six arrays of a file in MedMNIST's format. Raises DataError naming the file, and the key that it lacks."""
    due = [f"{stem}_{what}" for stem in PARTS for what in ("images", "labels")]
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in due if key not in file]
            if missing:
                raise DataError(
                    f"{path} must hold the array {missing[0]!r}, as MedMNIST's files do, but holds"
                    f" {', '.join(file) or 'none'}"
                )
            return {key: file[key] for key in due}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is no whole .npz file of arrays ({one_line(error)}): delete it and run again"
        ) from error


def download(name: str, size: int, path: Path) -> None:
    """Let the package medmnist download a set, whose MD5 it checks. Raises DownloadError."""
    if find_spec("medmnist") is None:
        raise DownloadError(
            f"{path.name} is not in the data directory {path.parent}: put it there, or"
            " `pip install 'mtlsearch[medmnist]'` to have it downloaded"
        )
    medmnist = import_module("medmnist")
    known = medmnist.INFO.get(name, {})
    key = "url" if size == 28 else f"url_{size}"
    if key not in known:
        raise DataError(f"MedMNIST has no set {path.stem!r}, and {path} is not there")
    try:
        if not answers(known[key]):
            raise OSError("its host does not answer")
        path.parent.mkdir(parents=True, exist_ok=True)
        getattr(medmnist, known["python_class"])(
            split="test", download=True, root=str(path.parent), size=size
        )
    except (OSError, RuntimeError) as error:
        raise DownloadError(
            f"{path.name} is not in the data directory {path.parent} and cannot be downloaded ({one_line(error)}):"
            " put it there, or name another directory with --data"
        ) from error

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

from mtlsearch.data.data import SINGLE, Data
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
            (arrays[f"{part}_images"], self._columns(path, arrays[f"{part}_labels"], groups)) for part in PARTS
        )
        return Data(train, test, validation=validation, classes=groups)

    def _columns(self, path: Path, labels: Numbers, groups: Mapping[str, Sequence[str]]) -> dict[str, Numbers]:
        """Label columns by name; the one column of a set of classes serves a task of any name."""
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


def read_npz(path: Path) -> dict[str, Numbers]:
    """The pictures [N, H, W] or [N, C, H, W] and labels [N, L] in MedMNIST's format, by the names of its arrays.

    Raises DataError naming the file, and the array that is missing or of another kind.
    """
    arrays: dict[str, Numbers] = {}
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive")
        with np.load(path, allow_pickle=False) as file:
            for key in (f"{part}_{what}" for part in PARTS for what in ("images", "labels")):
                if key not in file:
                    raise DataError(
                        f"{path} must hold the array {key!r}, as MedMNIST's files do, but holds"
                        f" {', '.join(file) or 'none'}"
                    )
                arrays[key] = file[key]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} is no whole .npz file of arrays ({one_line(error)}): delete it and run again"
        ) from error
    for part in PARTS:
        pictures, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4):
            raise _unfit(path, f"{part}_images", "uint8 [N, H, W] or [N, H, W, C]", pictures)
        if labels.ndim != 2 or len(labels) != len(pictures) or labels.dtype.kind not in "buif":
            raise _unfit(path, f"{part}_labels", f"numbers [N, L] of {len(pictures)} pictures", labels)
        if pictures.ndim == 4:
            arrays[f"{part}_images"] = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
    return arrays


def _unfit(path: Path, key: str, due: str, array: Numbers) -> DataError:
    return DataError(f"{path}: {key} must be {due}, but is {array.dtype} {array.shape}")


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

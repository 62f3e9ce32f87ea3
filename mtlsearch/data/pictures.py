"""Pictures from a folder as a source: one folder per class, or a CSV of file names and labels.

They are read and resized once, when the study is loaded, and stay uint8 on the device.
"""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from mtlsearch.data.augment import Augment
from mtlsearch.data.data import SINGLE, Data
from mtlsearch.data.examples.division import PARTS
from mtlsearch.data.table_file import check_columns, read_table
from mtlsearch.data.table_rows import Kind, categories_of, check_shares, check_targets, label_rows
from mtlsearch.errors import DataError, StudyError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


@dataclass(frozen=True)
class PictureFolder:
    """Pictures [N, C, H, W] of uint8: three channels where `colour`, else one.

    `folder` is absolute, or relative to the data directory. Without `labels` it holds a folder per class, or such
    folders below `train`, `test` and perhaps `validation`; the class is the label of every task. `labels` names a CSV
    or Parquet file in the folder: its column `file` gives paths below the folder, and its columns in `targets`, each
    "category" or "number", are the tasks' labels. `Table` documents the names of its tasks, and `split`, `split_seed`,
    `validation` and `test`.

    With `size`, a side or (height, width), each picture is resized to cover it and cropped at its centre; without
    `size` all must have one size. `augment`, such as a transform of torchvision's v2, changes each training picture
    [C, H, W] on the device in every batch, and keeps its shape. Raises DataError, naming the file.
    """

    folder: str | Path
    labels: str | None = None
    targets: Mapping[str, Kind] = field(default_factory=dict)
    file: str = "file"
    size: int | tuple[int, int] | None = None
    colour: bool = True
    validation: float = 0.2
    test: float = 0.2
    split: str | None = None
    split_seed: int = 0
    augment: Augment | None = None

    def __post_init__(self) -> None:
        check_shares(self.validation, self.test)
        if self.labels is not None:
            check_targets(self.targets)
        elif self.targets or self.split:
            raise StudyError("targets and split are columns of a CSV: name it with labels=")
        if self._height_width is not None and min(self._height_width) < 1:
            raise StudyError(f"size must be a side or (height, width) of 1 or more, but got {self.size!r}")

    @property
    def _height_width(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def __call__(self, directory: Path, /) -> Data:
        folder = directory / self.folder
        if not folder.is_dir():
            raise DataError(f"no folder of pictures {folder}: name an existing one")
        frame, targets, split = self._listed(folder)
        rows = label_rows(frame, targets, self.validation, self.test, split, self.split_seed)
        pictures = self._read(folder, frame[self.file].astype(str).tolist())
        return rows.data(pictures, augment=self.augment)

    def _listed(self, folder: Path) -> tuple[pd.DataFrame, Mapping[str, Kind], str | None]:
        """The table of files and labels, its targets, and its split column."""
        if self.labels is None:
            return by_folder(folder, self.file)
        frame = read_table(folder / self.labels, text=[self.file, *categories_of(self.targets)])
        check_columns(frame, [self.file], "the column of file names")
        check_columns(frame, self.targets, "the target")
        nameless = frame.index[frame[self.file].isna()]
        if len(nameless):
            raise DataError(f"{folder / self.labels}: {frame.index.name} {nameless[0]} names no file")
        return frame, self.targets, self.split

    def _read(self, folder: Path, files: Sequence[str]) -> np.ndarray[Any, Any]:
        """The pictures [N, C, H, W], read by several threads: decoders release Python's lock."""
        with quiet():
            return self._read_all(folder, files)

    def _read_all(self, folder: Path, files: Sequence[str]) -> np.ndarray[Any, Any]:
        first = self._picture(folder / files[0])
        pictures = np.empty((len(files), *first.shape), np.uint8)

        def fill(i: int) -> None:
            picture = self._picture(folder / files[i])
            if picture.shape != first.shape:
                raise DataError(
                    f"the pictures differ in size: {files[0]} is {_size(first)} and {files[i]} is {_size(picture)}:"
                    " give PictureFolder a size="
                )
            pictures[i] = picture

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(fill, range(len(files))):
                pass
        return pictures

    def _picture(self, path: Path) -> np.ndarray[Any, Any]:
        """One picture [C, H, W] of uint8 at `size`, upright by its EXIF orientation."""
        if not path.is_file():
            raise DataError(f"no picture {path}")
        try:
            with Image.open(path) as opened:
                picture = _eight_bits(ImageOps.exif_transpose(opened)).convert("RGB" if self.colour else "L")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is no whole picture ({one_line(error)}): mend or remove it") from error
        if self._height_width is not None:
            height, width = self._height_width
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        return pixels.transpose(2, 0, 1) if self.colour else pixels[None]


def quiet() -> warnings.catch_warnings:
    """Inside, decoders say nothing of what they can do without, such as a broken tag of the camera's."""
    return warnings.catch_warnings(action="ignore")


def by_folder(folder: Path, file: str) -> tuple[pd.DataFrame, Mapping[str, Kind], str | None]:
    """The pictures of a folder per class, perhaps below folders for train and test, as `_listed` gives them."""
    below = _folders(folder)
    parts = {path.name: path for path in below if path.name in PARTS}
    divided = "train" in {PARTS[name] for name in parts} and len(parts) == len(below)
    roots = parts if divided else {"": folder}
    rows = [
        (str(path.relative_to(folder)), kind.name, part)
        for part, root in roots.items()
        for kind in _folders(root)
        for path in sorted(kind.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not rows:
        raise DataError(
            f"{folder} holds no pictures in folders of its own: make a folder per class, or name a CSV with labels="
        )
    frame = pd.DataFrame(rows, columns=[file, SINGLE, "part"])
    frame.index = pd.Index(frame[file], name="picture")
    return frame, {SINGLE: "category"}, "part" if divided else None


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The upper 8 bits of a grey picture of 16, as X-rays often have; Pillow would clip all above 255."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _size(picture: np.ndarray[Any, Any]) -> str:
    return f"{picture.shape[1]} × {picture.shape[2]}"

"""NYUv2's three dense tasks, in the form to which MTAN and LibMTL reduce them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mtlsearch.data.data import Data
from mtlsearch.data.examples.arrays import read_npy
from mtlsearch.errors import DataError

Numbers = np.ndarray[Any, Any]
# Of each folder beside the pictures': the column that it becomes, its channels, and its type.
FOLDERS: dict[str, tuple[str, tuple[int, ...], type]] = {
    "label": ("segmentation", (), np.int16),
    "depth": ("depth", (1,), np.float32),
    "normal": ("normals", (3,), np.float32),
}


@dataclass(frozen=True)
class NYUv2:
    """`train` and `val` in `folder` of the data directory, each with `image`, `label`, `depth`, `normal`.

    Each of these holds `0.npy`, `1.npy`, …: pictures [H, W, 3] in [0, 1], classes [H, W] (−1 missing), depths
    [H, W, 1] in metres (0 missing) and normals [H, W, 3] (0 missing); the usual H × W is 288 × 384. `val` is the test
    part, as in the literature; a fraction `validation` of `train` is held out. The columns are `segmentation`, `depth`
    and `normals`. Pictures become uint8, as the camera gave them. Raises DataError naming the file.
    """

    folder: str = "nyuv2"
    validation: float = 0.2

    def __call__(self, directory: Path, /) -> Data:
        train, test = (_read_part(directory / self.folder / part) for part in ("train", "val"))
        return Data(train, test, validation=self.validation)


def _read_part(folder: Path) -> tuple[Numbers, dict[str, Numbers]]:
    images = folder / "image"
    if not images.is_dir():
        raise DataError(
            f"no folder {images}: NYUv2 is read from train and val, each with image, label, depth and normal of"
            " .npy files"
        )
    names = sorted((path.name for path in images.glob("*.npy")), key=_number)
    if not names:
        raise DataError(f"{images} must hold .npy files, but has none")
    pictures = _stacked(images, names, (3,), _bytes)
    columns = {}
    for what, (column, channels, dtype) in FOLDERS.items():
        arrays = _stacked(folder / what, names, channels, partial(np.asarray, dtype=dtype))
        due, got = pictures.shape[1:3], arrays.shape[1:3]
        if got != due:
            raise DataError(f"{folder / what} must have the pictures' size {due}, but has {got}")
        columns[column] = _channels_first(arrays) if channels == (3,) else arrays.reshape(len(arrays), *got)
    return _channels_first(pictures), columns


def _stacked(
    folder: Path, names: list[str], channels: tuple[int, ...], convert: Callable[[Numbers], Numbers]
) -> Numbers:
    """The arrays [N, H, W, *channels] of `names`, converted one by one, so that no second copy is held."""
    arrays: list[Numbers] = []
    for name in names:
        array = _read(folder / name)
        # A channel of one may be left out.
        fits = array.shape[2:] == channels or (channels == (1,) and array.ndim == 2)
        if array.ndim < 2 or not fits or (arrays and array.shape != arrays[0].shape):
            due = ", ".join(map(str, arrays[0].shape if arrays else ("height", "width", *channels)))
            raise DataError(f"{folder / name} must have the shape ({due}), but got {array.shape}")
        arrays.append(convert(array))
    return np.stack(arrays)


def _read(path: Path) -> Numbers:
    if not path.is_file():
        raise DataError(f"{path} is missing: each picture of NYUv2 needs a file of its name in every folder")
    array = read_npy(path)
    if array.dtype.kind not in "buif":
        raise DataError(f"{path} must hold numbers, but holds {array.dtype}")
    return array


def _bytes(picture: Numbers) -> Numbers:
    """A picture in [0, 1], or already in 0 … 255, as uint8."""
    scale = 1 if picture.dtype == np.uint8 or float(picture.max()) > 1 else 255
    return np.asarray(np.round(np.clip(picture * scale, 0, 255)), np.uint8)


def _channels_first(arrays: Numbers) -> Numbers:
    return np.ascontiguousarray(np.moveaxis(arrays, -1, 1))


def _number(name: str) -> tuple[int, str]:
    """A key that sorts `10.npy` after `9.npy`."""
    stem = name.removesuffix(".npy")
    return (int(stem), "") if stem.isdigit() else (-1, name)

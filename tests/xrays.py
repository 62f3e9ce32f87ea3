"""Small files in MedMNIST's format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtlsearch.data.medmnist import CHEST

SIZES = {"train": 192, "val": 64, "test": 64}
SIDE = 12


def chest_arrays(labels: int = len(CHEST)) -> dict[str, np.ndarray[Any, Any]]:
    """Pictures whose k-th bright row is the k-th diagnosis, in MedMNIST's format."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for part, count in SIZES.items():
        yes = random.random((count, labels)) < 0.2
        pictures = random.integers(0, 120, (count, max(SIDE, labels), SIDE))
        pictures[:, :labels] += 100 * yes[:, :, None]
        arrays |= {f"{part}_images": pictures.astype(np.uint8), f"{part}_labels": yes.astype(np.uint8)}
    return arrays


def write(path: Path, changes: Mapping[str, Any] | None = None, without: str = "", labels: int = len(CHEST)) -> Path:
    arrays = {**chest_arrays(labels), **(changes or {})}
    np.savez(path, **{key: array for key, array in arrays.items() if key != without})
    return path

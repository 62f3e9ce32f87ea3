"""An array in a file of the user's cache that is written a batch at a time, and goes on where it stopped.

The file has the final header from the first batch on; what is written of it is in its length. Until it is whole it has
a name of its own, which one process at a time locks.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_magic, write_array_header_1_0
from numpy.typing import NDArray

from mtlsearch.activity import doing
from mtlsearch.errors import DataError, one_line
from mtlsearch.files import data_directory

MOST_BYTES = 1 << 34  # of all files of a folder; the ones that were not used for longest go
LOOK_SECONDS = 0.2
Make = Callable[[int, int], NDArray[np.float32]]  # the examples [n, ...] from one row to another


def features_file(key: str) -> Path:
    """The file of the user's cache for the features that `key` tells from all others."""
    return data_directory(None) / "features" / f"{key}.npy"


def appended(place: Path, rows: int, batch: int, make: Make, advance: Callable[[int], None]) -> NDArray[np.float32]:
    """The array [rows, ...] in the file `place`, memory-mapped; what is missing of it is made by `make`.

    `advance` is told of rows as they are there. Raises DataError where the file cannot be written.
    """
    try:
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(place, rows, batch, make, advance)
        else:
            advance(rows)
        os.utime(place)
        return np.load(place, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(
            f"features cannot be kept in {place} ({one_line(error)}): free some space, or delete the file and run again"
        ) from error


def _write(place: Path, rows: int, batch: int, make: Make, advance: Callable[[int], None]) -> None:
    with _locked(place.with_suffix(".part")) as file:
        if place.exists():  # another process has been faster
            advance(rows)
            return
        start = _rows_of(file)
        advance(start)
        while start < rows:
            made = np.ascontiguousarray(make(start, min(start + batch, rows)), dtype=np.float32)
            if start == 0:
                file.seek(0)
                file.truncate()
                header = {"descr": "<f4", "fortran_order": False, "shape": (rows, *made.shape[1:])}
                write_array_header_1_0(file, header)
            file.write(made.astype("<f4").tobytes())
            file.flush()
            start += len(made)
            advance(len(made))
        os.fsync(file.fileno())
        Path(file.name).rename(place)
    _forget(place)


def _rows_of(file: BinaryIO) -> int:
    """The whole rows in a file, which stands behind them."""
    file.seek(0)
    try:
        read_magic(file)
        shape, _, dtype = read_array_header_1_0(file)
    except ValueError:  # it is empty, or was cut in its header
        return 0
    begin, size = file.tell(), int(np.prod(shape[1:])) * dtype.itemsize
    rows = (file.seek(0, os.SEEK_END) - begin) // size
    file.seek(begin + rows * size)
    file.truncate()
    return int(rows)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, which this process alone writes; another one is waited for."""
    with path.open("ab") as held:
        pass
    with path.open("r+b") as held:
        if not _lock(held):
            with doing("waiting for the features that another run computes"):
                while not _lock(held):
                    time.sleep(LOOK_SECONDS)
        if path.exists() and path.stat().st_ino == os.fstat(held.fileno()).st_ino:
            yield held
            return
    with _locked(path) as file:  # the other one has ended, and the file has its final name
        yield file


def _lock(file: BinaryIO) -> bool:
    """Lock a file, if no other process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(place: Path) -> None:
    """Remove the files that were not used for longest, where all take too much room; never this one."""
    room = MOST_BYTES
    for path in sorted(place.parent.glob("*.npy"), key=lambda path: -path.stat().st_mtime_ns):
        room -= path.stat().st_size
        if room < 0 and path != place:
            path.unlink(missing_ok=True)

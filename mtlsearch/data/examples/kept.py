"""Examples that took long to read, kept in the user's cache: the second time they are there at once.

They are arrays, and facts as JSON holds them, under a key of the file's content, the settings and the code that reads
it. Whatever is wrong with the cache, the file is read anew.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtlsearch.errors import ConfigError
from mtlsearch.files import data_directory, replacing

LEAST_SECONDS = 1.0  # of reading that are worth a file
MOST_BYTES = 1 << 31  # of all files; the ones that were not used for longest go
FACTS = "facts"
DIGEST = 32  # bytes before the archive: its SHA-256
BITS, REST, COLUMNS = ":bits", ":rest", ":columns"  # behind the name of an array that is kept in parts
ONE = int(np.float32(1).view(np.uint32))
CHUNK = 4096  # rows
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Examples:
    """Examples as `arrays` by name, and the `facts` about them."""

    arrays: Arrays
    facts: Mapping[str, Any]


def kept(path: Path, settings: object, read: Callable[[], Examples]) -> Examples:
    """The examples that `read` makes of the file at `path`, or that it made before of the same content.

    `settings`, as JSON holds them, are all else that the examples depend on.
    """
    if not path.is_file():
        return read()  # which refuses it
    before = _stamp(path)
    place = data_directory(None) / "examples" / f"{_key(path, settings)}.npz"
    if (found := _found(place)) is not None:
        return found
    begun = time.monotonic()
    made = read()
    if time.monotonic() - begun >= LEAST_SECONDS and _stamp(path) == before:
        _keep(place, made)
    return made


def _stamp(path: Path) -> tuple[int, int]:
    """The size of a file, and when it was changed."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _key(path: Path, settings: object) -> str:
    digest = hashlib.sha256(json.dumps([path.suffixes, settings], sort_keys=True, default=list).encode())
    try:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:  # reading it tells why
        pass
    return digest.hexdigest()


def _found(place: Path) -> Examples | None:
    """The examples in a file of the cache, None where there is none or it is damaged."""
    try:
        with place.open("rb") as file:
            if file.read(DIGEST) != hashlib.file_digest(file, "sha256").digest():
                return None
            file.seek(DIGEST)
            with np.load(file, allow_pickle=False) as arrays:
                loaded = {name: arrays[name] for name in arrays.files}
        os.utime(place)
    except OSError:
        return None
    facts = dict(json.loads(loaded.pop(FACTS).tobytes()))
    return Examples(_whole(loaded), facts)


def _keep(place: Path, made: Examples) -> None:
    """Write a file of the cache, whole or not at all, and remove the oldest where all take too much room."""
    arrays: dict[str, Any] = {FACTS: np.frombuffer(json.dumps(made.facts).encode(), np.uint8)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as partial, partial.open("wb+") as file:
            file.write(bytes(DIGEST))
            np.savez(file, **arrays, **_in_parts(made.arrays))
            file.seek(DIGEST)
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            file.write(digest)
        files = sorted(place.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        room = MOST_BYTES
        for path in files:
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)
    except (OSError, ConfigError):
        pass  # without a cache the file is read again the next time


def _in_parts(arrays: Arrays) -> dict[str, Any]:
    """The arrays as they are kept: columns of nothing but 0 and 1, as categories give, are kept as bits."""
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.ndim != 2:
            found[name] = array
            continue
        binary = np.ones(array.shape[1], bool)
        for start in range(0, len(array), CHUNK):
            numbers = np.ascontiguousarray(array[start : start + CHUNK]).view(np.uint32)  # −0 is not 0
            binary &= ((numbers == 0) | (numbers == ONE)).all(0)
        found |= {name + COLUMNS: binary, name + REST: array[:, ~binary]}
        found[name + BITS] = np.packbits((array != 0) & binary, axis=1)
    return found


def _whole(kept_arrays: Arrays) -> Arrays:
    """The arrays of which `_in_parts` made these."""
    found = {name: array for name, array in kept_arrays.items() if not name.endswith((BITS, REST, COLUMNS))}
    for name in (name.removesuffix(COLUMNS) for name in kept_arrays if name.endswith(COLUMNS)):
        binary, rest = kept_arrays[name + COLUMNS], kept_arrays[name + REST]
        whole = np.unpackbits(kept_arrays[name + BITS], axis=1, count=len(binary)).astype(np.float32)
        whole[:, ~binary] = rest
        found[name] = whole
    return found

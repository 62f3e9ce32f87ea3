"""A cache of a stream of examples: written to files once, and memory-mapped from then on."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray

from mtlsearch.data.data import SINGLE
from mtlsearch.errors import DataError
from mtlsearch.processes import clear_unfinished, unfinished
from mtlsearch.terminal import notice

Example = tuple[Any, Any]
Columns = dict[str, NDArray[Any]]
NOTICE_SECONDS = 10.0
INPUTS, LABELS = "inputs.npy", "labels.npz"
COLUMN = "column:"  # before a column's name in the file: `savez` takes no argument `file`


def cached(examples: Iterable[Example], directory: Path, name: str) -> tuple["np.memmap[Any, Any]", Columns]:
    """The inputs and labels of a stream of (input, label) pairs, as `Data` takes them; inputs stay on disk.

    A label is a number, an array, or {column: label}. The first call writes all examples into the folder
    `name`.cached in `directory`, which appears when it is complete. Later calls read it and do not iterate over
    `examples`. Delete the folder to have it written again.

    Raises DataError where an example differs from the first in shape or type.
    """
    folder = directory / f"{name}.cached"
    if not folder.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        _write_whole(examples, folder)
    try:
        inputs = np.load(folder / INPUTS, mmap_mode="r", allow_pickle=False)
        with (folder / LABELS).open("rb") as file, np.load(file, allow_pickle=False) as labels:
            return inputs, {column.removeprefix(COLUMN): labels[column] for column in labels.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{folder} is damaged ({error}): delete it and run again") from error


def _write_whole(examples: Iterable[Example], folder: Path) -> None:
    """Write a folder beside `folder` and rename it, unless another process has been faster."""
    about = f".{folder.stem}"
    clear_unfinished(folder.parent, about)
    with unfinished(folder.parent, about) as place:
        partial = place / "whole"
        partial.mkdir()
        with (partial / INPUTS).open("wb") as file:
            labels = _write_inputs(file, _with_notices(examples, folder.stem), folder.stem)
        np.savez(partial / LABELS, **{COLUMN + column: values for column, values in labels.items()})  # type: ignore[arg-type]
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _write_inputs(file: BinaryIO, examples: Iterable[Example], name: str) -> Columns:
    """Write every input, and the header when their number is known; the labels by column."""
    first: NDArray[Any] | None = None
    labels: dict[str, list[Any]] = {}
    count = 0
    for count, (given, label) in enumerate(examples, start=1):
        array = np.asarray(given, order="C")
        if first is None:
            first = _check_numbers(array, f"the inputs of {name}")
            _write_header(file, first, 0)
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise DataError(
                f"every input of {name} must be {first.dtype} of the shape {first.shape} as the first,"
                f" but example {count - 1} is {array.dtype} of {array.shape}"
            )
        file.write(array.data)
        _append(labels, label, count - 1, name)
    if first is None:
        raise DataError(f"{name} must hold examples, but its stream gave none")
    file.seek(0)
    _write_header(file, first, count)
    return {column: _label_array(values, f"the labels {column!r} of {name}") for column, values in labels.items()}


def _write_header(file: BinaryIO, example: NDArray[Any], count: int) -> None:
    """The header of an array of `count` examples; NumPy pads it to the same length for any count."""
    description = dtype_to_descr(example.dtype)
    write_array_header_1_0(file, {"descr": description, "fortran_order": False, "shape": (count, *example.shape)})


def _append(labels: dict[str, list[Any]], label: Any, number: int, name: str) -> None:
    columns = label if isinstance(label, Mapping) else {SINGLE: label}
    if number == 0:
        labels.update({column: [] for column in columns})
    if columns.keys() != labels.keys():
        raise DataError(
            f"every label of {name} must have the columns {', '.join(labels)} as the first,"
            f" but example {number} has {', '.join(columns)}"
        )
    for column, value in columns.items():
        labels[column].append(value)


def _label_array(values: list[Any], what: str) -> NDArray[Any]:
    try:
        return _check_numbers(np.asarray(values), what)
    except ValueError as error:
        raise DataError(f"{what} must have one shape, but: {error}") from error


def _check_numbers(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} must be numbers, but got {array.dtype}")
    return array


def _with_notices(examples: Iterable[Example], name: str) -> Iterator[Example]:
    """The same examples, with a notice on stderr from time to time."""
    last = time.monotonic()
    for number, example in enumerate(examples):
        if time.monotonic() - last > NOTICE_SECONDS:
            last = time.monotonic()
            notice(f"writing {name}: {number:,} examples")
        yield example

"""Arrays, lists, sparse matrices and data frames as tensors on the CPU, in a compact type; arrays of `.npy` files.

Whatever holds no numbers is a DataError that says what to write instead.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlsearch.errors import DataError, kind_and_line, one_line
from mtlsearch.terminal import notice

NUMBERS = "biuf"  # NumPy's kinds of number: bool, int, unsigned, float
MUCH = 1e9  # bytes, from which on a matrix that is made dense is told
WHOLE = (np.uint8, np.int8, np.int16, np.int32, np.int64)
ENCODE_INPUTS = "encode it (pandas.get_dummies), or give the file to Table or `mtlsearch init --csv`"
NUMBER_LABELS = (
    "number the classes, `codes, names = pandas.factorize(labels, sort=True)`, and give Data the codes, and the names"
    " as classes"
)


def is_sparse(array: object) -> bool:
    """Whether `array` is a sparse matrix of SciPy, which is imported where somebody holds one."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(array))


def as_tensor(what: str, array: Any, advice: str) -> Tensor:
    """`array` as a tensor [N, ...] on the CPU.

    Raises DataError where it does not hold numbers; where it holds texts, with the `advice` of what to do.
    """
    if isinstance(array, Tensor):
        tensor = array if array.layout == torch.strided else array.to_dense()
    else:
        numbers = _numbers(what, array, advice)
        # `require` copies memory that torch cannot share: read-only, of negative strides, of another byte order.
        native = numbers.dtype.newbyteorder("=")
        tensor = torch.from_numpy(np.require(numbers, dtype=native, requirements=["C", "W"]))
    if not tensor.ndim:
        raise DataError(f"{what} must be an array of examples, but got a single number")
    if tensor.is_complex():
        raise DataError(f"{what} must be real numbers, but got {tensor.dtype}: give real and imaginary parts")
    return tensor.detach().cpu()


def read_npy(path: Path) -> np.ndarray[Any, Any]:
    """The array in a `.npy` file. Raises DataError."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:
        # numpy reads the header as Python: it may be nested too deeply, cut short, or claim more memory than there is.
        raise DataError(f"{path} is no whole .npy array of numbers ({one_line(error)})") from error


def _numbers(what: str, array: Any, advice: str) -> NDArray[Any]:
    if is_sparse(array):
        return _dense(what, array)
    if hasattr(array, "to_numpy"):
        array = _of_frame(what, array, advice)
    try:
        numbers = np.asarray(array)
    except (TypeError, ValueError) as error:  # rows of several lengths, say
        raise DataError(f"{what} must be an array of numbers, but: {kind_and_line(error)}") from error
    if numbers.dtype.kind not in f"{NUMBERS}c" or numbers.dtype.itemsize > 16:
        raise DataError(f"{what} must be numbers, but got {_described(numbers)}{_told(numbers, advice)}")
    return numbers


def _described(array: NDArray[Any]) -> str:
    first = array.flat[0] if array.size else None
    return f"texts such as {str(first)!r}" if isinstance(first, str | bytes) else f"{array.dtype}"


def _told(array: NDArray[Any], advice: str) -> str:
    return f": {advice}" if _described(array).startswith("texts") else ""


def _dense(what: str, matrix: Any) -> NDArray[Any]:
    """A sparse matrix as an array of the narrowest type that holds its whole numbers, float32 for fractions."""
    compact = matrix.astype(_narrowest(matrix.tocoo().data))
    size = float(np.prod(matrix.shape)) * compact.dtype.itemsize
    if size > MUCH:
        rows, columns = matrix.shape
        notice(f"{what}: a sparse matrix of {rows:,} × {columns:,} is made dense, {size / 1e9:.1f} GB")
    return np.asarray(compact.toarray())


def _narrowest(values: NDArray[Any]) -> Any:
    if values.dtype.kind == "b":
        return np.bool_
    if not len(values):
        return np.uint8
    if values.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return np.float32
    low, high = values.min(), values.max()
    return next((kind for kind in WHOLE if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max), np.float32)


def _of_frame(what: str, frame: Any, advice: str) -> NDArray[Any]:
    """The numbers [N, columns] of a data frame, or [N] of one column; NaN where a value is missing."""
    if frame.ndim == 1:
        return _of_column(what, frame, advice)
    columns = [_of_column(f"column {name!r} of {what}", frame[name], advice) for name in frame.columns]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _of_column(what: str, column: Any, advice: str) -> NDArray[Any]:
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # of pandas' nullable types
    if not isinstance(dtype, np.dtype) or dtype.kind not in NUMBERS:
        first = next(iter(column.dropna()), None)
        raise DataError(f"{what} must be numbers, but got {column.dtype} such as {str(first)!r}: {advice}")
    if column.hasnans:
        return np.asarray(column.to_numpy(dtype if dtype.kind == "f" else np.float64, na_value=np.nan))
    return np.asarray(column.to_numpy(dtype))

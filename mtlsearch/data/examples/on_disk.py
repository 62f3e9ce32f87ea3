"""Inputs that stay on disk, or wherever they are, and are read a batch at a time.

`OnDisk` stands in for a tensor as a part's inputs: it has a length, a shape and a dtype, and indexing reads the
examples. It wraps a `np.memmap`, or anything else that gives `Rows`.
"""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlsearch.errors import DataError, kind_and_line

SAMPLES, SAMPLE_BYTES = 64, 4096  # the digest reads this many places of the content, this much at each
MAPPED_BYTES = 32 << 20  # a mapped file may fill this much of the process's memory before its pages are released
FAULT_BYTES = 64 << 10  # the system maps this much around each row that is read

CPU = torch.device("cpu")

Index = NDArray[np.int64]


@runtime_checkable
class Rows(Protocol):
    """N examples that are read on request, as from arrays of h5py and zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""
        ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Index, /) -> Any:
        """The examples [n, ...] at `rows` [n], which are sorted and distinct."""
        ...


def reads_rows(array: object) -> bool:
    """Whether `array` stays where it is: a memory-mapped file, or `Rows` that are no array in memory."""
    if isinstance(array, np.memmap):
        return getattr(array, "_mmap", None) is not None
    # The columns of a data frame lie in memory, and are indexed by label.
    resident = isinstance(array, Tensor | np.ndarray) or hasattr(array, "to_numpy")
    return not resident and isinstance(array, Rows)


class OnDisk:
    """The examples of `rows`, or of those at `index` [n]; reading puts them on `device`."""

    def __init__(self, rows: Rows, index: Index | None = None, device: torch.device = CPU) -> None:
        self.rows, self.index, self.device = rows, index, device
        # Raises TypeError for a kind of number that torch does not have.
        self.dtype = torch.from_numpy(np.empty(0, np.dtype(rows.dtype))).dtype
        self._mapped = 0
        self._stamp = _stamp(rows)
        self._sampled: bytes | None = None

    def __len__(self) -> int:
        return len(self.rows) if self.index is None else len(self.index)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.rows.shape[1:]))

    @property
    def example_bytes(self) -> int:
        return self.shape[1:].numel() * self.dtype.itemsize

    def to(self, device: torch.device) -> "OnDisk":
        return OnDisk(self.rows, self.index, device)

    def taken(self, index: Tensor) -> "OnDisk":
        """The examples at `index` [n], without reading them."""
        own = index.numpy()
        return OnDisk(self.rows, own if self.index is None else self.index[own], self.device)

    def __getitem__(self, rows: slice | int) -> Tensor:
        """The example at `rows`, or those in that slice, on the device."""
        chosen = range(len(self))[rows]
        if isinstance(chosen, int):
            return self.read(np.array([chosen]))[0].to(self.device)
        return self.read(np.arange(chosen.start, chosen.stop, chosen.step)).to(self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The examples [n, ...] at `index` [n], on the device."""
        assert dim == 0
        return self.read(index.cpu().numpy()).to(self.device)

    def read(self, index: Index) -> Tensor:
        """The examples [n, ...] at `index` [n], on the host; pinned where the device is CUDA.

        Each is read once, in the order of the file, which disks and page caches serve fastest.
        """
        rows = index if self.index is None else self.index[index]
        ordered, back = np.unique(rows, return_inverse=True)
        found = self._found(ordered)
        batch = torch.empty((len(index), *found.shape[1:]), dtype=self.dtype, pin_memory=self.device.type == "cuda")
        # Mode "clip" writes without an intermediate copy; `back` is in range anyway.
        np.take(found, back, axis=0, out=batch.numpy(), mode="clip")
        return batch

    def _found(self, ordered: Index) -> NDArray[Any]:
        """The examples at `ordered` rows. Raises DataError where they cannot be read."""
        if not isinstance(self.rows, np.memmap):
            return self._given(ordered)
        whole: NDArray[Any] = np.asarray(self.rows)
        # `take` is several times as fast, but would first copy the whole file where its layout is another.
        plain = whole.flags.c_contiguous and whole.flags.aligned
        found = whole.take(ordered, axis=0, mode="clip") if plain else whole[ordered]
        self._mapped += len(ordered) * max(self.example_bytes, FAULT_BYTES)
        if self._mapped > MAPPED_BYTES:
            self._release(self.rows)
        return found

    def _given(self, ordered: Index) -> NDArray[Any]:
        kind = type(self.rows).__name__
        try:
            found = np.asarray(self.rows[ordered])
        except Exception as error:
            raise DataError(f"inputs of {kind} cannot be read: {kind_and_line(error)}") from error
        due = (len(ordered), *self.rows.shape[1:]), np.dtype(self.rows.dtype)
        if (found.shape, found.dtype) != due:
            raise DataError(
                f"{kind} must give {due[1]} of the shape {due[0]} for {len(ordered)} rows,"
                f" but gave {found.dtype} of {found.shape}"
            )
        return found

    def _release(self, rows: "np.memmap[Any, Any]") -> None:
        """Drop a file's pages from this process's memory; the system's cache keeps them while it has room."""
        self._mapped = 0
        mapped: mmap.mmap = rows._mmap  # type: ignore[attr-defined]
        if rows.mode != "c":  # a private copy would lose what was written to it
            mapped.madvise(mmap.MADV_DONTNEED)

    def sample(self) -> Iterator[bytes]:
        """Bytes that identify these inputs without reading all of them: shape, dtype, samples of the content.

        The file's time is left out: a copy of the data is the same data, and its study can be resumed.
        """
        yield f"{self.dtype} {tuple(self.shape)} sampled".encode()
        many = max(1, SAMPLE_BYTES // max(1, self.example_bytes))
        starts = np.linspace(0, max(0, len(self) - many), SAMPLES).astype(np.int64)
        for start in np.unique(starts):
            yield self.read(np.arange(start, min(start + many, len(self)))).numpy().tobytes()

    def changed(self) -> bool:
        """Whether the content has changed since the first call; it is read only where the file's size or time has."""
        stamp = _stamp(self.rows)
        if self._sampled is not None and stamp == self._stamp:
            return False
        before, self._stamp, self._sampled = self._sampled, stamp, b"".join(self.sample())
        return before is not None and before != self._sampled


class Joined:
    """The rows of several inputs, one after the other."""

    def __init__(self, inputs: Sequence[OnDisk]) -> None:
        self.inputs = inputs
        self.starts = np.cumsum([0, *map(len, inputs)])
        self.dtype = np.dtype(inputs[0].rows.dtype)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.inputs[0].shape[1:]

    def __getitem__(self, rows: Index, /) -> NDArray[Any]:
        ends = np.searchsorted(rows, self.starts)
        found = [
            each.read(rows[first:last] - start).numpy()
            for each, start, first, last in zip(self.inputs, self.starts, ends, ends[1:], strict=False)
            if last > first
        ]
        return np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype)


def joined_inputs(inputs: Sequence[Tensor | OnDisk]) -> OnDisk:
    """The inputs of several parts, one after the other, of which one is on disk or all; nothing is read."""
    first, *others = (x if isinstance(x, OnDisk) else OnDisk(x.cpu().numpy()) for x in inputs)
    device = next(x.device for x in inputs if isinstance(x, OnDisk))
    if all(other.rows is first.rows for other in others):
        indices = [np.arange(len(x)) if x.index is None else x.index for x in (first, *others)]
        return OnDisk(first.rows, np.concatenate(indices), device)
    return OnDisk(Joined([first, *others]), None, device)


def _stamp(rows: Rows) -> tuple[int, int] | None:
    """The size and modification time of the file behind `rows`, None where there is none."""
    name = getattr(rows, "filename", None)
    if not isinstance(name, str | Path) or not Path(name).is_file():
        return None
    found = Path(name).stat()
    return found.st_size, found.st_mtime_ns

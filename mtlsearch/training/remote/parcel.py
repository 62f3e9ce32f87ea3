"""A training as bytes and tensors, so that a worker gets code and data once.

The study's functions and classes travel by value (`cloudpickle`), so a worker needs no study file. The tensors are
left out of the bytes: a transport puts their memory where all workers of a machine read it. Tasks travel without their
sources, and terms without their points, since these are loaded. A memory-mapped file is opened again by its path, and
must be the same there.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mtlsearch.errors import DataError
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.tasks.evaluation import Evaluation
from mtlsearch.tasks.task import Task
from mtlsearch.tasks.term import Term
from mtlsearch.training.remote.messages import PROTOCOL, CodePickler, CodeUnpickler
from mtlsearch.training.trainer import Training

Memory = Tensor  # [bytes] of uint8: one storage
FIELDS = ("seed", "precision", "dtype", "method", "slots", "mixes_seeds")  # of a training, beside its data
SAMPLES, SAMPLE_BYTES = 64, 4096  # of a mapped file: its digest reads this many places, this much at each


@dataclass(frozen=True)
class Packed:
    """The bytes of a training, and the memory of its tensors; a storage that several tensors share is there once."""

    structure: bytes
    memories: Sequence[Memory]


class Parcel(Protocol):
    """A packed training on its way to workers; `key` tells it from others. It can be pickled."""

    @property
    def key(self) -> str: ...

    def open(self) -> Packed:
        """What was packed, in a worker; the memory is shared where it can be."""


def pack(training: Training) -> Packed:
    """The training without what it has computed so far. Data on a device are copied to the CPU."""
    loaded = replace(training.loaded)  # without its cached values
    stream = io.BytesIO()
    packer = _Packer(stream)
    packer.dump({"loaded": loaded, **{name: getattr(training, name) for name in FIELDS}})
    return Packed(stream.getvalue(), packer.memories)


def unpack(packed: Packed, device: torch.device) -> Training:
    """The training on `device`. Raises DataError where a mapped file is another here."""
    values = _Unpacker(io.BytesIO(packed.structure), packed.memories).load()
    return Training(**{**values, "loaded": on_device(values["loaded"], device)})


def on_device(loaded: LoadedStudy, device: torch.device) -> LoadedStudy:
    """The study with its data on a device."""
    splits = tuple(each.to(device) for each in loaded.splits)
    return replace(loaded, splits=splits, points=tuple(each.to(device) for each in loaded.points))


class _Packer(CodePickler):
    """Pickles by value what no other process can import, and leaves out tensors, and what only loading needs."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.memories: list[Memory] = []
        self.numbers: dict[int, int] = {}  # of memories, by the address of their storage

    def reducer_override(self, given: Any) -> Any:
        loaded = _loaded_by_now(given)
        if loaded is None:
            return super().reducer_override(given)
        # A model may use a source, as the width of a table: so it is left out of the task, not of everything.
        make, arguments, state, *_ = given.__reduce_ex__(PROTOCOL)
        return make, arguments, {**state, loaded: no_source}

    def persistent_id(self, given: Any) -> Any:
        # A parameter, and any other kind of tensor, pickles by itself.
        if type(given) is Tensor and given.layout == torch.strided and not given.is_quantized:
            return self._tensor(given)
        if isinstance(given, np.memmap) and (mapped := _mapped(given)) is not None:
            return "mapped", *mapped
        return None

    def _tensor(self, given: Tensor) -> Any:
        here = given.detach().cpu()
        storage = here.untyped_storage()
        number = self.numbers.get(storage.data_ptr())
        if number is None:
            number = len(self.memories)
            self.memories.append(torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,)))
            self.numbers[storage.data_ptr()] = number
        place = here.storage_offset(), tuple(here.shape), here.stride()
        return "tensor", number, here.dtype, *place


class _Unpacker(CodeUnpickler):
    def __init__(self, stream: io.BytesIO, memories: Sequence[Memory]) -> None:
        super().__init__(stream)
        self.memories = memories

    def persistent_load(self, told: Any) -> Any:
        kind, *about = told
        opened: Callable[..., Any] = self._tensor if kind == "tensor" else _opened
        return opened(*about)

    def _tensor(
        self, number: int, dtype: torch.dtype, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
    ) -> Tensor:
        return torch.empty(0, dtype=dtype).set_(self.memories[number].untyped_storage(), offset, shape, stride)


def _loaded_by_now(given: object) -> str | None:
    """The field of a task, an evaluation or a term that only loading needs; None for any other object."""
    if isinstance(given, Task) or (isinstance(given, Evaluation) and callable(given.data)):
        return "data"
    return "points" if isinstance(given, Term) and not callable(given.points) else None


def no_source(directory: Path) -> Any:
    """Stands for what is loaded already."""
    raise AssertionError("a worker has its data, and loads none")


def _mapped(array: "np.memmap[Any, Any]") -> tuple[Any, ...] | None:
    """Where a mapped file's array lies in it: path, type, offset, shape, digest; None for a part in another order."""
    if array.filename is None or not array.flags.c_contiguous or array.size == 0:
        return None
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    offset = whole.offset + array.ctypes.data - whole.ctypes.data
    path = str(Path(array.filename).resolve())
    return path, array.dtype, offset, array.shape, _digest(array)


def _opened(
    path: str, dtype: "np.dtype[Any]", offset: int, shape: tuple[int, ...], digest: str
) -> "np.memmap[Any, Any]":
    try:
        array = np.memmap(path, dtype, "r", offset, shape)
    except (OSError, ValueError) as error:
        raise DataError(f"a worker cannot read {path} ({error}): put the same file there on its machine") from error
    if _digest(array) != digest:
        raise DataError(f"{path} holds other data on a worker's machine than here: copy the same file to it")
    return array


def _digest(array: "np.memmap[Any, Any]") -> str:
    """A digest of samples of the content: reading all of a large file would take minutes."""
    content = array.reshape(-1).view(np.uint8)
    starts = np.unique(np.linspace(0, max(0, len(content) - SAMPLE_BYTES), SAMPLES).astype(np.int64))
    digest = hashlib.sha256()
    for start in starts:
        digest.update(content[start : start + SAMPLE_BYTES].tobytes())
    return digest.hexdigest()

"""Memory that all processes of one machine read: a file without a name, which is gone with the last of them."""

import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mtlsearch.training.remote.parcel import Memory, Packed

ALIGNMENT = 64


@dataclass(frozen=True)
class FileParcel:
    """A parcel whose memory lies in the file at `path`, at `places` of (offset, bytes)."""

    key: str
    structure: bytes
    path: str
    places: Sequence[tuple[int, int]]

    def open(self) -> Packed:
        size = max((offset + length for offset, length in self.places), default=0)
        if not size:
            return Packed(self.structure, [torch.empty(0, dtype=torch.uint8) for _ in self.places])
        # Private pages are copied when they are written: a worker that changes its data changes nobody else's.
        whole = torch.from_file(self.path, shared=False, size=size, dtype=torch.uint8)
        # Each tensor counts its offset from its own memory's start.
        return Packed(self.structure, [_own(whole, offset, length) for offset, length in self.places])


def _own(whole: Memory, offset: int, length: int) -> Memory:
    """A part of the memory as a storage by itself, which keeps the whole one alive."""
    if not length:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(whole.numpy(), dtype=torch.uint8, count=length, offset=offset)


class SharedFile:
    """A parcel's memory, written once; it lasts until `close`, and no longer than this process and its workers."""

    def __init__(self, packed: Packed) -> None:
        if hasattr(os, "memfd_create"):
            self.file = os.fdopen(os.memfd_create("mtlsearch-data"), "wb")
            path = f"/proc/{os.getpid()}/fd/{self.file.fileno()}"
        else:
            named = tempfile.NamedTemporaryFile(prefix="mtlsearch-data-")  # noqa: SIM115, it lasts until close
            self.file, path = named, named.name  # type: ignore[assignment]
        places = []
        for memory in packed.memories:
            self.file.write(b"\0" * (-self.file.tell() % ALIGNMENT))
            places.append((self.file.tell(), len(memory)))
            self.file.write(memory.numpy().data)
        self.file.flush()
        self.parcel = FileParcel(uuid.uuid4().hex, packed.structure, path, places)

    def close(self) -> None:
        self.file.close()

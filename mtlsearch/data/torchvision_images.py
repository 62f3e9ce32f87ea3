"""torchvision's picture sets as sources: uint8 as they come, downloaded where absent, held to their MD5."""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtlsearch.collection import without_collection
from mtlsearch.data.data import Data
from mtlsearch.download import answers, download_failed
from mtlsearch.errors import DataError

SETS = ("MNIST", "FashionMNIST", "KMNIST")


@dataclass(frozen=True)
class TorchvisionImages:
    """A torchvision picture set in MNIST's format (`SETS`), with `validation` training examples held out.

    Raises DataError for a damaged file, and its subclass DownloadError where the data are absent and cannot be
    downloaded.
    """

    name: str
    validation: int = 10_000

    def __call__(self, directory: Path, /) -> Data:
        with without_collection():
            from torchvision import datasets

        if self.name not in SETS:
            raise DataError(f"torchvision has no picture set {self.name!r} in MNIST's format; it has {', '.join(SETS)}")
        kind = getattr(datasets, self.name)
        raw = directory / self.name / "raw"
        complete = _check_files(raw, dict(kind.resources))
        try:
            if not complete and not answers(*kind.mirrors):
                raise OSError("no mirror answers")
            train, test = (kind(str(directory), train=part, download=True) for part in (True, False))
        except PermissionError as error:
            raise DataError(f"the data directory {directory} must be writable: {error.strerror}") from error
        except (OSError, RuntimeError) as error:
            put = f"put its archives into {raw}"
            raise download_failed(self.name, directory, error, put) from error
        pairs = ((part.data, part.targets) for part in (train, test))
        return Data(*pairs, validation=self.validation, classes=train.classes)


def _check_files(raw: Path, archives: Mapping[str, str]) -> bool:
    """Whether every file is there, packed or not. Raises DataError for a cut one, or an archive of another MD5."""
    complete = True
    for name, md5 in archives.items():
        archive, unpacked = raw / name, raw / name.removesuffix(".gz")
        if unpacked.exists():
            if unpacked.stat().st_size != _idx_size(unpacked):
                raise DataError(f"{unpacked} is cut short or damaged: delete it and run again")
        elif archive.exists():
            found = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
            if found != md5:
                raise DataError(f"{archive} is cut short or damaged (MD5 {found}, not {md5}): delete it and run again")
        else:
            complete = False
    return complete


def _idx_size(path: Path) -> int:
    """The size in bytes that the header of an IDX file of unsigned bytes promises; −1 for any other file."""
    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
            return -1
        header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        return -1
    values: int = math.prod(struct.unpack(f">{magic[3]}I", header))
    return 4 + len(header) + values

"""torchvision's picture sets as sources, as they come: downloaded, their MD5 checked, uint8."""

import hashlib
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from mtlsearch.data.parts import Data
from mtlsearch.download import PROBE_SECONDS, DownloadError
from mtlsearch.errors import DataError
from mtlsearch.importing import importing

SETS = ("MNIST", "FashionMNIST", "KMNIST")


@dataclass(frozen=True)
class TorchvisionImages:
    """A torchvision picture set in MNIST's format (`SETS`).

    `validation` training examples are held out. Raises DataError where an archive is damaged, and its subclass
    DownloadError where the data are not there and cannot be downloaded.
    """

    name: str
    validation: int = 10_000

    def __call__(self, directory: Path, /) -> Data:
        with importing():
            from torchvision import datasets

        if self.name not in SETS:
            raise DataError(
                f"torchvision has no picture set {self.name!r} in MNIST's format; it has {', '.join(SETS)}"
            )
        kind = getattr(datasets, self.name)
        raw = directory / self.name / "raw"
        _check_files(raw, dict(kind.resources))
        if not _is_there(raw, kind):
            _probe(self.name, directory, kind.mirrors)
        try:
            train = kind(str(directory), train=True, download=True)
            test = kind(str(directory), train=False, download=True)
        except PermissionError as error:
            raise DataError(f"the data directory {directory} must be writable: {error.strerror}") from error
        except (OSError, RuntimeError) as error:
            raise _cannot_download(self.name, directory, str(error)) from error
        return Data(
            (train.data, train.targets),
            (test.data, test.targets),
            validation=self.validation,
            classes=train.classes,
        )


def _is_there(raw: Path, kind: type) -> bool:
    names = [name for name, _ in kind.resources]  # type: ignore[attr-defined]
    return all((raw / name).exists() or (raw / name.removesuffix(".gz")).exists() for name in names)


def _check_files(raw: Path, archives: dict[str, str]) -> None:
    """Raise DataError for an unpacked file that is cut short, or an archive of another MD5 with none unpacked."""
    for name, md5 in archives.items():
        archive, unpacked = raw / name, raw / name.removesuffix(".gz")
        if unpacked.exists():
            if unpacked.stat().st_size != _idx_size(unpacked):
                raise DataError(f"{unpacked} is cut short or damaged: delete it and run again")
        elif archive.exists():
            found = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
            if found != md5:
                raise DataError(
                    f"{archive} is cut short or damaged (MD5 {found}, not {md5}): delete it and run again"
                )


def _idx_size(path: Path) -> int:
    """The size in bytes that an IDX file of unsigned bytes must have, by its header."""
    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
            return -1
        header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        return -1
    size = 1
    for dimension in struct.unpack(f">{magic[3]}I", header):
        size *= dimension
    return 4 + len(header) + size


def _probe(name: str, directory: Path, mirrors: list[str]) -> None:
    """Raise DownloadError within seconds where no mirror answers; a download by itself may hang for minutes."""
    if getproxies():
        return
    for mirror in mirrors:
        parts = urlsplit(mirror)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            with socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS):
                return
        except OSError:
            continue
    raise _cannot_download(name, directory, "no mirror answers")


def _cannot_download(name: str, directory: Path, why: str) -> DownloadError:
    reason = why.strip().splitlines()[0] if why.strip() else "no reason given"
    return DownloadError(
        f"{name} is not in the data directory {directory} and cannot be downloaded ({reason}):"
        f" put its archives into {directory / name / 'raw'}, or name another directory with --data"
    )

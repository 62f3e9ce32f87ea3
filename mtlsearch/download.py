"""Downloads of data: whether a host answers, and the error where data cannot be had."""

import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from mtlsearch.errors import DataError, one_line

PROBE_SECONDS = 3.0  # a download from a host that does not answer may hang for minutes


class DownloadError(DataError):
    """Data are not in the data directory and cannot be downloaded."""


def answers(*urls: str) -> bool:
    """Whether the host of one of `urls` takes a connection; behind a proxy the answer is always yes."""
    return bool(getproxies()) or any(map(_connects, urls))


def _connects(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def download_failed(what: str, directory: Path, error: Exception, put: str = "put it there") -> DownloadError:
    """The error for `what`, which the `directory` lacks and whose download ended in `error`."""
    return DownloadError(
        f"{what} is not in the data directory {directory} and cannot be downloaded ({one_line(error)}):"
        f" {put}, or name another directory with --data"
    )

"""What a download must be told beforehand: that its host answers, in seconds and not after a minute's silence."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from mtlsearch.errors import DataError


def answers(url: str) -> bool:
    """Whether the host of `url` takes a connection; behind a proxy that is for the proxy to say."""
    if getproxies():
        return True
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


PROBE_SECONDS = 3.0


class DownloadError(DataError):
    """Data are neither in the data directory nor downloadable."""

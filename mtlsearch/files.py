"""Files that are written whole or not at all, the user's cache folder, and the default store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlsearch.errors import ConfigError, UsageError
from mtlsearch.wording import shortened

DEFAULT_STORAGE = "sqlite:///mtlsearch.db"


LONGEST_PART, LONGEST_PATH = 255, 4095  # bytes, on the file systems in use


def check_path(path: Path) -> None:
    """Raise UsageError for a path that no file can have: one that is too long, or holds a null or a lone surrogate."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise UsageError(f"no file can have the name {shortened(path, 60)!r}: it is not Unicode") from None
    if len(encoded) > LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_PART:
        raise UsageError(f"no file can have the name {shortened(path, 60)!r}: it is {len(encoded)} bytes long")
    if b"\0" in encoded:
        raise UsageError(f"no file can have the name {shortened(path, 60)!r}: it holds a null character")


def check_writable(*paths: Path | None) -> None:
    """Raise ConfigError where a file cannot be written, before any work is done for it."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            reason = "it is a folder"
        elif not path.parent.is_dir():
            reason = f"there is no folder {path.parent}"
        elif not os.access(path.parent, os.W_OK):
            reason = f"the folder {path.parent} is not writable"
        else:
            continue
        raise ConfigError(f"{path} cannot be written: {reason}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` that replaces it at the end, so that `path` is whole or as it was.

    Raises ConfigError where the file cannot be written.
    """
    import tempfile

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o644)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises ConfigError where it cannot be written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def data_directory(chosen: Path | None) -> Path:
    """The data directory: `chosen`, else `mtlsearch` in the user's cache folder (XDG_CACHE_HOME on Linux)."""
    from platformdirs import user_cache_path

    return user_cache_path("mtlsearch", appauthor=False) if chosen is None else chosen

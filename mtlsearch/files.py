"""Files that are written whole or not at all, the user's cache folder, and the default store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlsearch.errors import ConfigError

DEFAULT_STORAGE = "sqlite:///mtlsearch.db"


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

"""Folders of the user, and files written whole or not at all."""

import os
import tempfile
from pathlib import Path

from mtlsearch.errors import ConfigError


def check_writable(*paths: Path | None) -> None:
    """Raise ConfigError where a file cannot be written there, before any work is done for it."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            rule = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise ConfigError(f"{path} cannot be written: {rule}")
        if path is not None and not os.access(path.parent, os.W_OK):
            raise ConfigError(f"{path} cannot be written: the folder {path.parent} may not be written")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or as it was. Raises ConfigError where it cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def data_directory(chosen: Path | None) -> Path:
    """The data directory: the one that was named, else `mtlsearch` in the user's cache."""
    if chosen is not None:
        return chosen
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtlsearch"

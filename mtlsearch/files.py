"""Files that are written whole or not at all, the user's cache folder, and the default store."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mtlsearch.errors import ConfigError, UsageError
from mtlsearch.processes import clear_unfinished, unfinished
from mtlsearch.wording import shortened

DEFAULT_STORAGE = "sqlite:///mtlsearch.db"
_STREAMS = ("/dev/fd/", "/dev/std", "/proc/")  # names of what a process has open, which a rename would not reach


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
        reason = None if path is None else _hindrance(path)
        if reason is not None:
            raise ConfigError(f"{path} cannot be written: {reason}")


def _hindrance(path: Path) -> str | None:
    """The reason why `path` cannot be written, None where it seems that it can."""
    folder = _target(path).parent
    into_a_folder = not _is_stream(path)
    hindrances = {
        "it is a folder": path.is_dir(),
        "it is a socket": path.is_socket(),
        "the link leads back to itself": _target(path).is_symlink(),
        "it is not writable": path.exists() and not os.access(path, os.W_OK),
        f"there is no folder {folder}": into_a_folder and not folder.is_dir(),
        f"the folder {folder} is not writable": into_a_folder and not os.access(folder, os.W_OK),
    }
    return next((reason for reason, holds in hindrances.items() if holds), None)


def _is_stream(path: Path) -> bool:
    """Whether bytes are written into what is there, a device or a pipe: it must not be replaced by a file."""
    return path.exists() and (not path.is_file() or str(path.absolute()).startswith(_STREAMS))


def _target(path: Path) -> Path:
    """The file that is written: of a link the file that it leads to, so that the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` that replaces it at the end, so that `path` is whole or as it was.

    A link is followed. A device and a pipe are written into. A new file's mode follows the umask, a file that is
    replaced keeps its mode. Raises ConfigError where the file cannot be written.
    """
    with replacing_together(path) as (partial,):
        yield partial


@contextmanager
def replacing_together(*paths: Path) -> Iterator[list[Path]]:
    """New files that replace `paths` at the end, so that the files are of one writing, or all but the first are gone.

    That holds also after a kill at any point: the others are removed before the first is replaced. See `replacing`.
    """
    check_writable(*paths)
    with ExitStack() as stack:
        partials = [stack.enter_context(_partial(path)) for path in paths]
        yield partials
        for path in paths[1:]:
            with telling(path):
                if not _is_stream(path):
                    _target(path).unlink(missing_ok=True)
        for path, partial in zip(paths, partials, strict=True):
            with telling(path):
                _put(partial, path)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Inside, an error of the system becomes a ConfigError that names `path`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """An empty file for the content of `path`, with the mode that `path` is to have; it is gone afterwards."""
    import tempfile

    with telling(path):
        folder = Path(tempfile.gettempdir()) if _is_stream(path) else _target(path).parent
        about = f".{path.name.encode()[:100].decode(errors='ignore')}"  # of bytes a file's name has 255
        clear_unfinished(folder, about)
        with unfinished(folder, about) as place:
            partial = place / "part"
            # `open` and not `mkstemp`, so that the umask decides.
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            if path.is_file() and not _is_stream(path):
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            yield partial


def _put(partial: Path, path: Path) -> None:
    """Move what was written to `path`, or write it into a device or a pipe."""
    import shutil

    if not _is_stream(path):
        partial.replace(_target(path))
        return
    with partial.open("rb") as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises ConfigError where it cannot be written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def data_directory(chosen: Path | None) -> Path:
    """The data directory: `chosen`, else `mtlsearch` in the user's cache folder (XDG_CACHE_HOME on Linux)."""
    from platformdirs import user_cache_path

    return user_cache_path("mtlsearch", appauthor=False) if chosen is None else chosen

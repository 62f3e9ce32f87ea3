"""The folder of a server: for each search the log, the result and the live line of its process, below its id."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import parse_url

TAIL = 64 << 10  # bytes that are read of a log's end


@dataclass(frozen=True)
class Folder:
    """Where the processes of the searches write."""

    path: Path

    def log(self, search_id: int) -> Path:
        """The log: what the command writes to stderr."""
        return self.path / str(search_id) / "log"

    def result(self, search_id: int) -> Path:
        """What the command writes to stdout: its result as one JSON object."""
        return self.path / str(search_id) / "result.json"

    def progress(self, search_id: int) -> Path:
        """The live line of a running command."""
        return self.path / str(search_id) / "progress.json"

    def make(self, search_id: int) -> None:
        """Make a search's own folder. Raises StoreError where it cannot be made."""
        try:
            (self.path / str(search_id)).mkdir(parents=True, exist_ok=True)
            self.progress(search_id).unlink(missing_ok=True)
            self.result(search_id).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"the folder {self.path} of the server must be writable: {error.strerror}") from error

    def remove(self, search_id: int) -> None:
        """Remove what a search has left."""
        shutil.rmtree(self.path / str(search_id), ignore_errors=True)

    def read_result(self, search_id: int) -> Mapping[str, Any] | None:
        """The whole result, None where there is none yet."""
        return _object(self.result(search_id))

    def read_progress(self, search_id: int) -> Mapping[str, Any] | None:
        """The live line with its numbers, None where there is none yet."""
        return _object(self.progress(search_id))

    def last_lines(self, search_id: int, most: int) -> list[str]:
        """The last lines of the log."""
        try:
            with self.log(search_id).open("rb") as file:
                file.seek(0, os.SEEK_END)
                size = file.tell()
                file.seek(max(0, size - TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return text.splitlines()[-most:]


def _object(path: Path) -> Mapping[str, Any] | None:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def server_folder(storage_url: str, chosen: Path | None) -> Path:
    """The folder of a server: `chosen`, else beside a SQLite store. Raises StoreError for a wrong URL."""
    if chosen is not None:
        return chosen.absolute()
    url = parse_url(storage_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).with_suffix(".service").absolute()
    return Path("mtlsearch.service").absolute()

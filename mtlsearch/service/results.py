"""Results of a search, made by the command that a person would call, in a process of its own.

So the API gives what the command line gives, a figure that takes all memory does not take the server with it, and the
server itself loads neither torch nor plotly.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlsearch.errors import MtlsearchError, StoreError
from mtlsearch.processes import unfinished
from mtlsearch.service.folder import Folder
from mtlsearch.service.views import SearchView

AT_ONCE = 2
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Kind:
    """A result: the file, its media type, and the arguments of the command that writes it."""

    file: str
    media_type: str
    command: Sequence[str]
    shown: bool = False  # in the browser, and not saved


KINDS: Mapping[str, Kind] = {
    "best": Kind("best.json", "application/json", ("best", "--json")),
    "export": Kind("best.json", "application/json", ("export", "-o", "best.json")),
    "checkpoint": Kind(
        "best.safetensors",
        "application/octet-stream",
        ("export", "-o", "best.json", "--checkpoint", "best.safetensors"),
    ),
    "report": Kind("report.html", "text/html", ("report", "-o", "report.html"), shown=True),
    "csv": Kind("trials.csv", "text/csv", ("trials", "--format", "csv", "-o", "trials.csv")),
    "json": Kind("trials.json", "application/json", ("trials", "--format", "json", "-o", "trials.json")),
    "parquet": Kind(
        "trials.parquet",
        "application/vnd.apache.parquet",
        ("trials", "--format", "parquet", "-o", "trials.parquet"),
    ),
}
TAKE_ARTIFACTS = ("best", "export")


class NotYet(MtlsearchError):
    """There is no such result, in the words of the command."""


class Results:
    """Makes results and keeps the last of each kind below the search's folder."""

    def __init__(self, storage: str, artifacts: Path, folder: Folder) -> None:
        self.storage, self.artifacts, self.folder = storage, artifacts, folder
        self.room = asyncio.Semaphore(AT_ONCE)
        self.locks: dict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def make(self, search: SearchView, kind: str) -> Path:
        """The file of a result. Raises NotYet with the command's own line, StoreError."""
        stands = search.model_copy(update={"line": None, "seconds_left": None, "reason": None})
        key = hashlib.sha256(stands.model_dump_json().encode()).hexdigest()[:16]
        place = self.folder.path / str(search.id) / "results" / kind
        path = place / key / KINDS[kind].file
        async with self.locks[search.id, kind]:
            if not path.is_file():
                async with self.room:
                    await self._write(search.name, KINDS[kind], place, key)
            return path

    async def _write(self, name: str, kind: Kind, place: Path, key: str) -> None:
        """Write a result into `place`/`key`, whole or not at all, and remove older ones there."""
        try:
            place.mkdir(parents=True, exist_ok=True)
            with unfinished(place, "tmp") as made:
                await self._run(name, kind, made)
                (made / "kept").mkdir()
                for file in [each for each in made.iterdir() if each.is_file()]:
                    file.replace(made / "kept" / file.name)
                for older in [each for each in place.iterdir() if not each.name.startswith("tmp-")]:
                    shutil.rmtree(older, ignore_errors=True)
                (made / "kept").replace(place / key)
        except OSError as error:
            raise StoreError(f"the folder {place} of the server cannot be written: {error.strerror}") from error

    async def _run(self, name: str, kind: Kind, folder: Path) -> None:
        command, *rest = kind.command
        artifacts = [f"--artifacts={self.artifacts}"] if command in TAKE_ARTIFACTS else []
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mtlsearch",
            command,
            f"--name={name}",
            *artifacts,
            *rest,
            cwd=folder,
            env={**os.environ, "MTLSEARCH_STORAGE": self.storage},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            lines = errors.decode(errors="replace").splitlines()
            own = [line.removeprefix("mtlsearch: ") for line in lines if line.startswith("mtlsearch: ")]
            raise NotYet(own[-1] if own else f"`mtlsearch {command}` ended with status {process.returncode}")
        if not (folder / kind.file).exists():
            (folder / kind.file).write_bytes(output)

"""The machine of a server: its devices and folders, and how the process of a search begins on it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlsearch.limits import ONE_PROCESS
from mtlsearch.service.folder import Folder
from mtlsearch.service.queue import Search
from mtlsearch.service.submission import Studies, arguments
from mtlsearch.tuning.progress import PROGRESS_FILE

ANY_DEVICE = "auto"


@dataclass(frozen=True)
class Machine:
    """What the searches of a server get: `at_once` of them on each of `devices`, and its folders."""

    devices: Sequence[str]
    at_once: int
    studies: Studies
    data: Path | None
    artifacts: Path

    def slots(self, asked: str) -> Sequence[str]:
        """The devices on which a search that asks for `asked` may run."""
        if asked == ANY_DEVICE:
            return self.devices
        return [device for device in self.devices if device in (asked, ANY_DEVICE)]

    def command(self, search: Search, device: str) -> list[str]:
        """The command of a search on a device, without the program. Raises UsageError where its study is gone."""
        options = dict(search.options)
        if device != ANY_DEVICE:
            options["device"] = device
        study = self.studies.argument(search.study)
        given = [f"--name={search.name}", *arguments(search.kind, options), f"--artifacts={self.artifacts}", "--json"]
        return [search.kind, study, *given]

    def start(
        self, storage: str, folder: Folder, search_id: int, secret: str, command: Sequence[str]
    ) -> "subprocess.Popen[bytes]":
        """Start the process of a search, which writes into the server's `folder`. Raises OSError."""
        environment = {**os.environ, "MTLSEARCH_STORAGE": storage}
        environment[PROGRESS_FILE] = str(folder.progress(search_id))
        environment[ONE_PROCESS] = "1"
        environment.pop("MTLSEARCH_TOKEN", None)
        if self.data is not None:
            environment["MTLSEARCH_DATA"] = str(self.data)
        launch = [sys.executable, "-m", "mtlsearch.service.launch", str(search_id), secret, "--", *command]
        with folder.log(search_id).open("ab") as errors, folder.result(search_id).open("wb") as output:
            # A session of its own: what ends the server, Ctrl-C say, does not end its searches.
            return subprocess.Popen(
                launch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

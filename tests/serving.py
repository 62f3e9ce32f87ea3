"""A server of the tests' own: a real process on a free port, its client, and the folder that it works in."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from commands import STUDY_FILE

import mtlsearch
from mtlsearch.service.remote.client import Service

PATIENCE_S = 120.0
# An opener that asks no proxy: urllib keeps the one that the first test of a process had.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# A search of `tiny.py` that costs two seconds.
TINY = {"study": "tiny.py", "epochs": 2, "threads": 1, "population": 1, "confirm": False}


@dataclass
class Served:
    """`mtlsearch serve` in `folder`, which holds `studies/tiny.py`."""

    folder: Path
    options: tuple[str, ...] = ()
    storage: str | None = None
    token: str | None = None
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    started: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Service:
        return mtlsearch.connect(self.url)

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def start(self) -> "Served":
        """Start the server, again on the same port after its end, and wait until it answers."""
        (self.folder / "studies").mkdir(exist_ok=True)
        if not (self.folder / "studies" / "tiny.py").exists():
            (self.folder / "studies" / "tiny.py").write_text(STUDY_FILE.replace('"fine", "broken"', '"fine", "good"'))
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        storage = self.storage or f"sqlite:///{self.folder / 'store.db'}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MTLSEARCH_STORAGE": storage}
        command = [sys.executable, "-m", "mtlsearch", "serve", "--port", str(self.port), "--studies", "studies"]
        with (self.folder / "server.log").open("a") as errors:
            self.process = subprocess.Popen(
                [*command, *self.options], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stderr=errors
            )
        self.started.append(self.process.pid)
        self.until(self.answers, "an answer")
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            with DIRECT.open(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def until(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < deadline, f"no {what} after {patience:g} s\n{self.log}"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server in order; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

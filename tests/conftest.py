"""Fixtures that every test may use: the real data where they are, one thread, a free port."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from postgres_server import PostgresServer

# `--import-mode=importlib` does not put this folder on the path, where the tests' helpers lie.
sys.path.insert(0, str(Path(__file__).parent))

# A job in the background of a shell ignores Ctrl-C, and so would every program that a test starts and ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The same sums in the same order on every machine, and no threads that fight for its cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_line_for_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command is slow enough for the lines that break a log's silence: a test reads what stderr holds else."""
    monkeypatch.setattr("mtlsearch.tuning.progress.SILENCE_SECONDS", 600.0)


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The real data that MTLSEARCH_DATA names."""
    named = os.environ.get("MTLSEARCH_DATA")
    if not named or not (Path(named) / "MNIST" / "raw").is_dir():
        pytest.skip("the real data are absent: set MTLSEARCH_DATA to a folder that holds MNIST and FashionMNIST")
    return Path(named)


@pytest.fixture(scope="module")
def server() -> Iterator["PostgresServer"]:
    """A PostgreSQL server of the test module's own."""
    from postgres_server import start_or_skip

    server = start_or_skip()
    yield server
    server.remove()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a loopback port on which nothing listens."""

    def free() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return free

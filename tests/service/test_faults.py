"""Kills and slow clients: nothing is lost or doubled, and nobody is held up. `tests/service_harness.py` counts more."""

import socket
import time
from pathlib import Path

import pytest
from service_harness import NAMES, play
from serving import Served


@pytest.mark.slow
def test_three_searches_survive_kills_of_the_server_and_of_their_processes(tmp_path: Path) -> None:
    seen, killed = play(tmp_path, kills=2, trials=25, seed=3)
    assert killed.total() >= 2
    assert (seen.lost, seen.doubled) == ([], [])
    assert len(seen.trials) == 25 * len(NAMES)


def test_clients_that_hang_or_read_slowly_hold_nobody_up(tmp_path: Path) -> None:
    served = Served(tmp_path).start()
    hanging = []
    try:
        for request in (
            b"GET /api/v1/searches HTTP/1.1\r\nHost: ",
            b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ) * 30:
            each = socket.create_connection(("127.0.0.1", served.port))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            each.sendall(request)
            hanging.append(each)
        begun = time.monotonic()
        for _ in range(10):
            assert served.client.searches() == []
        assert time.monotonic() - begun < 10
        begun = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - begun < 10
    finally:
        for each in hanging:
            each.close()
        if served.process is not None and served.process.poll() is None:
            served.kill()

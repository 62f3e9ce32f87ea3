"""The service: fifty clients at once, and searches that survive kills of the server and of their processes.

    python benchmarks/service.py [--clients 50] [--searches 1000] [--kills 20] [--dry-run]

A server holds `--searches` searches that have ended, and runs one of `digits`. In windows that take turns, nobody asks,
or `--clients` clients follow the search's events and list searches every two seconds each. About ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from common import conclude, parser

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))
WINDOWS, WINDOW_S, EVERY_S = 4, 20.0, 2.0


class Client(threading.Thread):
    """Follows a search's events in one thread, and lists searches in another, until it is told to stop."""

    def __init__(self, url: str, search: int, stop: threading.Event, taken: list[float]) -> None:
        super().__init__(daemon=True)
        self.url, self.search, self.stop_, self.taken = url, search, stop, taken

    def run(self) -> None:
        threading.Thread(target=self.follow, daemon=True).start()
        while not self.stop_.wait(EVERY_S):
            begun = time.monotonic()
            with urllib.request.urlopen(f"{self.url}/api/v1/searches", timeout=60) as answer:
                answer.read()
            self.taken.append(time.monotonic() - begun)

    def follow(self) -> None:
        with urllib.request.urlopen(f"{self.url}/api/v1/searches/{self.search}/events", timeout=60) as answer:
            while not self.stop_.is_set() and answer.readline():
                pass


def clients(url: str, search: int, number: int) -> None:
    """All clients in this process for one window; the seconds of each list go to stdout."""
    stop, taken = threading.Event(), list[float]()
    begun = [Client(url, search, stop, taken) for _ in range(number)]
    for each in begun:
        each.start()
        time.sleep(EVERY_S / number)  # they are no choir
    time.sleep(WINDOW_S)
    stop.set()
    print(json.dumps(taken))


def filled(storage: str, searches: int) -> None:
    """Put searches that have ended into the queue, each with a whole curve."""
    from mtlsearch.service.queue import Queue

    queue = Queue(storage, create=True)
    told = {"trials": 100, "best": 0.9, "curve": [[i, 0.5 + i / 200] for i in range(60)], "verdict": "words " * 20}
    for i in range(searches):
        search, _ = queue.submit("run", "digits", f"old {i}", {"trials": 100, "epochs": 10})
        secret = queue.take(search, {"pid": 1}, "auto", 0)
        taken = queue.get(search.id)
        assert secret is not None
        assert taken is not None
        queue.end(taken, "done", None, told)
    queue.close()


def epochs(url: str, search: int, folder: Path) -> int:
    """The trial-epochs that the store holds."""
    from commands import stored

    return sum(len(trial.intermediate_values) for trial in stored(folder / "store.db", "watched"))


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(number: int, searches: int) -> str:
    """The rates without and with clients, and how long a list takes."""
    from serving import Served

    with tempfile.TemporaryDirectory(prefix="mtlsearch-service-") as name:
        folder = Path(name)
        filled(f"sqlite:///{folder / 'store.db'}", searches)
        server = Served(folder).start()
        options: dict[str, Any] = {"trials": 10**5, "epochs": 10, "threads": 1, "population": 1, "pruner": "none"}
        search = server.client.submit("digits", **options, name="watched", confirm=False)
        next(now for now in search.follow() if now["trials"] >= 3)
        rates: dict[str, list[float]] = {"nobody": [], f"{number} clients": []}
        taken: list[float] = []
        busy = dict.fromkeys(rates, 0.0)
        assert server.process is not None
        for window in range(2 * WINDOWS):
            who = list(rates)[window % 2]
            before, begun = epochs(server.url, search.id, folder), time.monotonic()
            used = cpu_seconds(server.process.pid)
            if window % 2:
                command = [sys.executable, __file__, "--as-clients", server.url, str(search.id), str(number)]
                taken += json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            else:
                time.sleep(WINDOW_S)
            seconds = time.monotonic() - begun
            rates[who].append((epochs(server.url, search.id, folder) - before) / seconds)
            busy[who] += 100 * (cpu_seconds(server.process.pid) - used) / seconds / WINDOWS
            print(f"{who}: {rates[who][-1]:.2f} trial-epochs/s", flush=True)
        search.stop()
        search.wait()
        server.stop()
    nobody, with_clients = map(median, rates.values())
    cuts = quantiles(taken, n=100)
    shares = [f"{share:.0f} %" for share in busy.values()]
    lines = [
        f"- {searches:,} searches in the store, one of `digits` in training on one thread; {WINDOWS} windows of"
        f" {WINDOW_S:g} s each, taking turns.",
        f"- Nobody asks: {nobody:.2f} trial-epochs a second (of {_all(rates['nobody'])}).",
        f"- {number} clients on the same machine follow its events and list 50 searches every {EVERY_S:g} s:"
        f" {with_clients:.2f} ({_all(rates[f'{number} clients'])}), {100 * (with_clients / nobody - 1):+.1f} %.",
        f"- A list takes {1000 * median(taken):.0f} ms in the median of {len(taken):,}, p99 {1000 * cuts[98]:.0f} ms.",
        f"- The server itself takes {shares[0]} of a core without clients, {shares[1]} with them.",
    ]
    return "\n".join(lines)


def _all(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def killed(kills: int) -> str:
    """The last line of the harness of kills."""
    command = [sys.executable, str(TESTS / "service_harness.py"), "--kills", str(kills), "--trials", str(75 * kills)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.splitlines()[-1]
    if not last.startswith("kills: "):
        sys.exit("the harness did not come to its count: nothing is written down")
    return f"- Kills (SIGKILL, `tests/service_harness.py`): **{last}**"


def main() -> None:
    if sys.argv[1:2] == ["--as-clients"]:
        clients(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    made = parser(__doc__)
    made.add_argument("--clients", type=int, default=50)
    made.add_argument("--searches", type=int, default=1000)
    made.add_argument("--kills", type=int, default=20)
    options: argparse.Namespace = made.parse_args()
    if options.quick:
        options.searches, options.kills = 20, 1
    told = [watched(options.clients, options.searches), *([killed(options.kills)] if options.kills else [])]
    body = "\n".join(told)
    conclude(options, "The service: fifty clients, and kills", f"{body}\n")


if __name__ == "__main__":
    main()

"""A long search under fire: what grows, and what is lost.

    python benchmarks/soak.py [--trials 2000] [--kill-every 60] [--quick] [--dry-run]

A tiny study is searched for 2,000 trials, one process at a time. Meanwhile the run is killed every minute and started
again at once, optuna-dashboard is polled every second, and a report is written every 100 trials. A confirmation ends
it. The table holds what the processes use, the median of the first and of the last tenth of the samples of each:
memory, open files and threads of the run and of the dashboard, and the files beside the store. A trial that was
announced and is not in the store is lost. About an hour on two cores.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from common import conclude, parser, table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from commands import STUDY_FILE
from crash_harness import Book, announced_in

START_S = 12.0  # a run younger than this is still importing: it is left out of what is compared
MTLSEARCH = [sys.executable, "-m", "mtlsearch"]


@dataclass
class Samples:
    """The resources that one kind of process used, sample by sample."""

    memory: list[float] = field(default_factory=list)  # MB, resident
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def take(self, process: int) -> None:
        """Add what the process uses now; nothing where it has ended."""
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
            opened = len(list(Path(f"/proc/{process}/fd").iterdir()))
            self.memory.append(int(status["VmRSS"].split()[0]) / 1024)
        except (OSError, KeyError):
            return
        self.descriptors.append(opened)
        self.threads.append(int(status["Threads"]))


def ends(values: Sequence[float]) -> tuple[str, str]:
    """The median of the first and of the last tenth."""
    part = max(1, len(values) // 10)
    return f"{median(values[:part]):.0f}", f"{median(values[-part:]):.0f}"


@dataclass
class Soak:
    """One search with what disturbs it."""

    folder: Path
    total: int
    kill_every: float
    report_every: int
    book: Book
    run: Samples = field(default_factory=Samples)
    dashboard: Samples = field(default_factory=Samples)
    files: list[float] = field(default_factory=list)
    kills: int = 0
    polls: int = 0
    reports: int = 0
    problems: list[str] = field(default_factory=list)

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [*MTLSEARCH, *arguments],
                stdout=file,
                stderr=file,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def search(self) -> subprocess.Popen[bytes]:
        options = (
            "--threads 1 --population 4 --sampler random --set kind=fine --no-confirm --storage sqlite:///store.db"
        )
        self.log = self.folder / f"log-{self.kills}"
        return self.start(self.log, "run", "digits.py", *options.split(), "--trials", str(self.total))

    def go(self, moments: random.Random) -> None:
        """Search to the total, killed, watched and reported."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        running, begun, announced = self.search(), time.monotonic(), 0
        next_kill, shown = self._later(moments), None
        try:
            while running.poll() is None:
                time.sleep(1.0)
                if time.monotonic() - begun > START_S:
                    self.run.take(running.pid)
                announced_now = announced_in(self.log.read_text())
                if shown is None and (self.folder / "store.db").exists() and announced_now:
                    options = ("--storage", "sqlite:///store.db", "--port", str(port))
                    shown = self.start(self.folder / "log-dashboard", "dashboard", *options)
                if shown is not None:
                    self.poll(port, shown)
                self.files.append(len(list(self.folder.glob("store.db*"))))
                if (announced + len(announced_now)) // self.report_every > self.reports:
                    self.report()
                # On a busy machine a run may not have come to a trial yet: then it would never end.
                if time.monotonic() > next_kill and announced_now:
                    running.send_signal(signal.SIGKILL)
                    running.wait()
                    self.kills += 1
                    self.look()
                    announced += len(announced_now)
                    running, begun, next_kill = self.search(), time.monotonic(), self._later(moments)
            self.look()
            if running.returncode != 0:
                self.problems.append(f"the run ended with {running.returncode}: {self.log.read_text()[-500:]}")
        finally:
            running.kill()
            if shown is not None:
                shown.terminate()
                shown.wait()

    def _later(self, moments: random.Random) -> float:
        return time.monotonic() + self.kill_every * moments.uniform(0.8, 1.2)

    def poll(self, port: int, shown: subprocess.Popen[bytes]) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
                json.load(answer)
            self.polls += 1
        except OSError:
            if shown.poll() is not None:
                self.problems.append("the dashboard ended")
        self.dashboard.take(shown.pid)

    def report(self) -> None:
        log = self.folder / "log-report"
        if self.start(log, "report", "--storage", "sqlite:///store.db").wait() != 0:
            self.problems.append(f"a report failed: {log.read_text()[-500:]}")
        self.reports += 1

    def look(self) -> None:
        """Hold the store against what was announced."""
        said = self.log.read_text()
        if "Traceback" in said:
            self.problems.append(f"a traceback: {said[-1500:]}")
        self.book.look(announced_in(said))

    def confirm(self) -> None:
        log = self.folder / "log-confirm"
        options = "--threads 1 --top 2 --seeds 2 --storage sqlite:///store.db"
        if self.start(log, "confirm", "digits.py", *options.split()).wait() != 0:
            self.problems.append(f"the confirmation failed: {log.read_text()[-500:]}")

    def body(self) -> str:
        rows = []
        for name, samples in (("run", self.run), ("dashboard", self.dashboard)):
            for what, values in (
                ("memory, MB", samples.memory),
                ("descriptors", samples.descriptors),
                ("threads", samples.threads),
            ):
                if values:
                    rows.append([f"{name}: {what}", *ends(values), f"{max(values):.0f}"])
        rows.append(["files of the store", *ends(self.files), f"{max(self.files):.0f}"])
        left = len(list((self.folder / "store.artifacts").glob("tmp*")))
        left += len(list(self.folder.glob("store.db-*")))
        counts = (
            f"trials: {self.total}, kills: {self.kills}, polls: {self.polls}, reports: {self.reports}, files left:"
            f" {left}, lost: {self.book.lost}, doubled: {self.book.doubled}, problems: {len(self.problems)}"
        )
        problems = "".join(f"- {problem}\n" for problem in self.problems)
        return f"{table(['', 'first tenth', 'last tenth', 'highest'], rows)}\n\n**{counts}**\n{problems}"


def main() -> None:
    """Soak as the command line says, and write down the table and the counts."""
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=2000)
    made.add_argument("--kill-every", type=float, default=60.0, help="seconds")
    options = made.parse_args()
    total = 12 if options.quick else options.trials
    with tempfile.TemporaryDirectory(prefix="mtlsearch-soak-") as name:
        folder = Path(name)
        (folder / "digits.py").write_text(STUDY_FILE)
        book = Book(f"sqlite:///{folder}/store.db", total)
        every = 6 if options.quick else 100
        soak = Soak(folder, total, 20.0 if options.quick else options.kill_every, every, book)
        soak.go(random.Random(0))
        soak.confirm()
        soak.book.look_at_end({})
        body = soak.body()
    conclude(options, f"Soak: {total:,} trials under kills, a dashboard and reports", body)
    sys.exit(1 if soak.book.lost or soak.book.doubled or soak.problems else 0)


if __name__ == "__main__":
    main()

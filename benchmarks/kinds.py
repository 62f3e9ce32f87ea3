"""Every kind of study: the default ÷ one trial at a time ÷ a plain PyTorch loop, whole runs in one table.

    python benchmarks/kinds.py --data DIR [ROW …] [--rounds 5] [--threads 1] [--list] [--keep DIR]

Each row is a fixed small budget of one study: every shipped one, tables of several sizes that `mtlsearch init` made a
study for, convolutions, dense pixels, text, and data on disk. *Default* is `mtlsearch run` as a user starts it, with
nothing compiled before. *Solo* is the same with `--population 1`. Both ask a random sampler and prune nothing, so the
trials are the same. Each is a process of its own, from its start to its end. *Plain* is a loop that trains the configs
of the same trials one after the other: data resident, torch's own layers, losses and optimizers. Its start and its
reading are left out.

The ways take turns in every round, and the table shows medians. *Start* is the default's time to its first step with a
warm cache of data, *first* the time to its first complete trial beside that of solo for three, and *compiling* what
compiling held up. CPU is the time of the process in all its threads, on which other load has little effect. A row under
its least is marked with ✗.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import add_data_option, conclude, interleaved, parser, rounded, table
from kinds_studies import KINDS, Kind

CHILD = Path(__file__).with_name("kinds_child.py")
QUICK = ("digits", "2,000 × 60 × 2, init")


@dataclass(frozen=True)
class Run:
    """Seconds of a whole run: wall and CPU time, its first step and first complete trial, and what compiling took."""

    wall: float
    cpu: float
    start: float
    first: float
    compiling: float
    told: str = ""

    @property
    def after_start(self) -> float:
        return self.wall - self.start


class Row:
    """The three ways of one kind."""

    def __init__(self, name: str, kind: Kind, scratch: Path, options: argparse.Namespace) -> None:
        self.name, self.kind, self.scratch, self.options = name, kind, scratch, options
        self.study = kind.write(scratch)
        self.count = 0
        self.store = ""

    def search(self, *more: str) -> Run:
        """`mtlsearch run` in a process of its own, with a store of its own and nothing compiled."""
        self.count += 1
        folder = self.scratch / f"{self.name}-{self.count}".replace(" ", "_").replace("/", "_")
        folder.mkdir()
        store = f"sqlite:///{folder}/search.db"
        budget = ["--trials", str(self.kind.trials), "--epochs", str(self.kind.epochs), "--storage", store]
        asked = ["--sampler", "random", "--pruner", "none", "--no-confirm", "--seed", "0"]
        fixed = [part for pair in self.kind.fixed for part in ("--set", pair)]
        threads = ["--threads", str(self.options.threads)] if self.options.threads else []
        data = ["--data", str(self.options.data or self.scratch)]
        if "--population" in more:
            self.store = store
        return self.child("search", self.study, *budget, *asked, *fixed, *threads, *data, *more, cache=folder)

    def plain(self) -> Run:
        """The plain loop over the trials of the last solo run."""
        data = str(self.options.data or self.scratch)
        threads = str(self.options.threads or os.cpu_count())
        return self.child("plain", self.study, self.store, data, threads, *self.kind.fixed, cache=self.scratch)

    def child(self, *arguments: str, cache: Path) -> Run:
        environment = {
            **os.environ,
            "STARTED": str(time.monotonic()),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
            "XDG_CACHE_HOME": str(self.scratch / "cache"),
            "OMP_NUM_THREADS": str(self.options.threads or os.cpu_count()),
        }
        command = [sys.executable, str(CHILD), *arguments]
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            subprocess.Popen(command, stdout=out, stderr=err, env=environment) as process,
        ):
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            told = err.read()
            if process.returncode:
                raise SystemExit(f"{self.name}: {' '.join(command)}\n{told}")
            found = json.loads(out.read().splitlines()[-1])
        first = found.get("first", found["wall"])
        return Run(found["wall"], used.ru_utime + used.ru_stime, found["start"], first, found["compiling"], told)

    def ways(self) -> dict[str, Callable[[], Run]]:
        return {"solo": lambda: self.search("--population", "1"), "default": self.search, "plain": self.plain}


def line(row: Row, found: dict[str, list[Run]]) -> list[str]:
    """The medians of a row, and whether it reaches what it must."""

    def middle(way: str, what: Callable[[Run], float]) -> float:
        return median(what(run) for run in found[way])

    wall = {way: middle(way, lambda run: run.wall) for way in found}
    after = {way: middle(way, lambda run: run.after_start) for way in found}
    cpu = {way: middle(way, lambda run: run.cpu) for way in found}
    ratio, least = wall["solo"] / wall["default"], row.kind.least
    three = middle("solo", lambda run: run.start + 3 * (run.first - run.start))
    return [
        f"{row.name} ({row.kind.trials} × {row.kind.epochs})",
        rounded(wall["default"]),
        rounded(wall["solo"]),
        rounded(after["plain"]),
        f"{ratio:.2f}{'' if ratio >= least else ' ✗'}",
        f"{least:g}",
        f"{after['plain'] / after['default']:.2f}",
        f"{cpu['solo'] / cpu['default']:.2f}",
        rounded(middle("default", lambda run: run.start)),
        f"{rounded(middle('default', lambda run: run.first))} / {rounded(three)}",
        rounded(middle("default", lambda run: run.compiling)),
    ]


def main() -> None:
    made = parser(__doc__)
    add_data_option(made)
    made.add_argument("rows", nargs="*", metavar="ROW", help="the beginnings of rows' names; default all")
    made.add_argument("--list", action="store_true", help="the rows' names")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--threads", type=int, help="CPU threads; default what a run chooses")
    made.add_argument("--keep", type=Path, metavar="DIR", help="leave studies and stores here")
    options = made.parse_args()
    if options.list:
        print("\n".join(KINDS))
        return
    names = [name for name in KINDS if not options.rows or name.startswith(tuple(options.rows))]
    if options.quick:
        options.rounds, options.threads, names = 1, 1, [name for name in names if name in QUICK]
    lines, left_out = [], []
    with tempfile.TemporaryDirectory(prefix="mtlsearch-kinds-") as temporary:
        scratch = options.keep or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for name in names:
            kind = KINDS[name].quick() if options.quick else KINDS[name]
            if not all((Path(options.data or scratch) / needed).exists() for needed in kind.needs):
                left_out.append(f"{name} (no {', '.join(kind.needs)})")
                continue
            row = Row(name, kind, scratch, options)
            if options.rounds > 1:
                row.search("--timeout", "0.001", "--population", "1")  # reads the data into the cache
            found = interleaved(row.ways(), options.rounds)
            lines.append(line(row, found))
            print(" | ".join(lines[-1]), flush=True)
    head = ["trials × epochs", "default s", "solo s", "plain s", "default ÷ solo", "must", "default ÷ plain"]
    head += ["CPU: default ÷ solo", "start s", "first trial s / solo's third", "compiling s"]
    told = f"- {options.rounds} rounds, {options.threads or 'as many as a run chooses'} CPU threads."
    if left_out:
        told += f"\n- Left out for want of data: {'; '.join(left_out)}."
    conclude(options, "Every kind of study", f"{table(head, lines)}\n\n{told}")


if __name__ == "__main__":
    main()

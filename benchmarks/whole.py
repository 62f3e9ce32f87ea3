"""Whole commands: `mtlsearch run` by default, beside one trial at a time in its own process.

    python benchmarks/whole.py [--data DIR] [--rounds N] [--only TEXT …] [--dry-run]

Each row is a search without confirmation, by random sampling and without pruning, so that every way trains the same
number of trial-epochs. The ways take turns: the default; one trial at a time with the CPU threads that are measured to
be fastest (`--population 1 --device cpu`); the same with one thread. Times are of the whole process, start included.
*way* is what the default chose.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from common import add_data_option, conclude, cores, interleaved, parser, spread, table

ONE = ("--population", "1", "--device", "cpu")
WAYS: dict[str, tuple[str, ...]] = {"default": (), "one at a time": ONE, "one thread": (*ONE, "--threads", "1")}
# A study file of the table that `kinds.py` measures, in the space that `mtlsearch init` writes.
TABLE = """
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, {folder!r})
from kinds_studies import table

study = table({rows}, 60, 2, Path(), is_fixed=False)
"""


@dataclass(frozen=True)
class Case:
    name: str
    study: str
    trials: int
    epochs: int
    rows: int = 0  # of a made table


CASES = (
    Case("init's space, 42,000 × 60, 2 tasks, 40 trials × 5 epochs", "made", 40, 5, 42_000),
    Case("init's space, 42,000 × 60, 2 tasks, 16 trials × 2 epochs", "made", 16, 2, 42_000),
    Case("digits, 48 trials × 4 epochs", "digits", 48, 4),
    Case("scenes, 8 trials × 2 epochs", "scenes", 8, 2),
)
QUICK = (Case("init's space, 300 × 60, 2 tasks, 4 trials × 2 epochs", "made", 4, 2, 300),)


def measured(case: Case, options: argparse.Namespace, folder: Path) -> list[object]:
    """One row: the seconds of each way, ratios round by round, and what the default chose."""
    study = case.study
    if case.rows:
        study = str(folder / f"made{case.rows}.py")
        Path(study).write_text(TABLE.format(folder=str(Path(__file__).parent), rows=case.rows))
    stores = iter(range(1000))
    last: list[str] = []

    def run(way: str) -> float:
        store = f"sqlite:///{folder}/{case.trials}-{case.study}-{next(stores)}.db"
        line = f"run {study} --trials {case.trials} --epochs {case.epochs} --sampler random --pruner none --no-confirm"
        data = ("--data", str(options.data)) if options.data else ()
        command = (sys.executable, "-m", "mtlsearch", *line.split(), "--quiet", "--storage", store, *data, *WAYS[way])
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        print(f"{case.name}: {way} {seconds:.1f} s", file=sys.stderr, flush=True)
        if way == "default":
            last.append(store)
        return seconds

    found = interleaved({way: lambda way=way: run(way) for way in WAYS if way in options.ways}, options.rounds)
    each = [spread(found[way]) if way in found else "–" for way in WAYS]
    ratios = [
        spread([other / default for other, default in zip(found[way], found["default"], strict=True)])
        if way in found
        else "–"
        for way in list(WAYS)[1:]
    ]
    return [case.name, chosen(last[-1]), *each, *ratios]


def chosen(store: str) -> str:
    """What a default run chose, as its store keeps it."""
    (name,) = optuna.get_all_study_names(store)
    info: dict[str, Any] = optuna.load_study(study_name=name, storage=store).user_attrs["mtlsearch"]
    plan, threads = info["plan"], info["threads"]
    at_once = "one at a time" if info["population"] == 1 else f"{info['population']} at once"
    at_once += ", compiled" if plan["compiles"] else ""
    if plan["workers"] == 1:
        return f"{at_once}, {threads} thread{'s' * (threads > 1)}"
    return f"{plan['workers']} workers, {at_once if info['population'] > 1 else str(plan['each']) + ' each'}"


def main() -> None:
    made = parser(__doc__)
    add_data_option(made)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--only", nargs="+", default=[], help="rows whose name holds one of these texts")
    made.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="the ways to measure")
    options = made.parse_args()
    options.rounds = 1 if options.quick else options.rounds
    cases = QUICK if options.quick else CASES
    wanted = [case for case in cases if not options.only or any(text in case.name for text in options.only)]
    with tempfile.TemporaryDirectory(prefix="mtlsearch-whole-") as folder:
        rows = [measured(case, options, Path(folder)) for case in wanted]
    head = ["", "way", *(f"{way}, s" for way in WAYS), *(f"{way} ÷ default" for way in list(WAYS)[1:])]
    note = f"{cores()} cores; seconds of the whole command, medians and ranges of {options.rounds} rounds in turns."
    conclude(options, "Whole commands: the default beside one trial at a time", f"{table(head, rows)}\n\n{note}")


if __name__ == "__main__":
    main()

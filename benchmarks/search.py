"""A whole search: wall time and best score of `mtlsearch run`, the loop people write, and where the time goes.

    python benchmarks/search.py --data DIR [--trials 100] [--device cuda] [--warm] [--one-at-a-time] [--keep DIR]

`mtlsearch run mnist-fashion --trials 100 --no-confirm` is started as a user starts it, with an empty folder for
compiled code. So its wall time includes Python's start, imports, data, compiling and the store. --warm runs it again
with the code that the first run has compiled. --one-at-a-time adds a run with `--population 1 --pruner none`, which is
slow and gives the score of a search without pruning.

The loop people write is not run to its end. Its epoch is measured at the best thread and worker count at three widths,
and its total is extrapolated (~) over the widths of the same trials: *unpruned* with all epochs of each trial, *same
pruner* with as many epochs as each trial had. Its sampler and store are left out, in its favour.

The profile is a second search in this process with fewer trials (--profile-trials). It takes each part's own time,
without the parts inside it.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import (
    HELD_OUT,
    TINY,
    TINY_EPOCHS,
    add_data_option,
    add_device_options,
    conclude,
    data_folder,
    mnist_fashion,
    parser,
    rounded,
    table,
)
from people import PeopleLoop, best_people
from stopwatch import profile, profile_table, start_seconds

from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record

WIDTHS = (32, 128, 512)
TINY_STUDY = """
from dataclasses import replace
from mtlsearch import Classification, TorchvisionImages
from mtlsearch.study.study_file import load_study

names = ("mnist", "MNIST"), ("fashion", "FashionMNIST")
tasks = [Classification(task, TorchvisionImages(name, validation={held_out})) for task, name in names]
study = replace(load_study("mnist-fashion"), tasks=tasks, epochs={epochs})
"""
MTLSEARCH = "from mtlsearch.cli import main; main()"


@dataclass(frozen=True)
class Searched:
    """The result of a whole search: wall time in seconds, best score, and each trial's width and epochs."""

    wall: float
    score: float
    trials: list[tuple[int, int]]

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.trials)


def command_line(options: argparse.Namespace, study: str, folder: Path, store: Path) -> list[str]:
    """The command as a user would type it."""
    given: dict[str, Any] = {
        "trials": options.trials,
        "data": folder,
        "device": options.device,
        "threads": options.threads,
        "precision": options.precision,
        "storage": f"sqlite:///{store}",
    }
    told = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-c", MTLSEARCH, "run", study, *told, "--no-confirm", "--quiet", "--json"]


def whole_run(command: Sequence[str], cache: Path, store: Path) -> Searched:
    """Run the command in a process of its own, and read its trials from the store."""
    environment = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
    }
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    wall = time.perf_counter() - begun
    with open_storage(f"sqlite:///{store}", create=False) as storage:
        found = find_record(storage, None, store.with_suffix(".artifacts")).trials()
        trials = [(int(trial.params["hidden"]), int(trial.user_attrs["epochs"])) for trial in found]
    return Searched(wall, float(json.loads(done.stdout)["score"]["value"]), trials)


def people_epochs(
    options: argparse.Namespace, folder: Path, device: torch.device
) -> tuple[Callable[[int], float], str]:
    """Seconds of an epoch of the loop people write by width, and a line on its threads and workers."""
    held_out = TINY if options.quick else HELD_OUT
    if options.quick:
        threads, workers = 1, 0
    else:
        threads, workers = best_people(folder, device, options.threads, options.workers)
    found: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for _ in range(options.rounds):
        for width, times in found.items():
            loop = PeopleLoop(folder, device, threads, workers, width, held_out)
            times.append(1 / loop.sample(options.steps).epochs)
    logs, medians = [math.log(width) for width in WIDTHS], [median(times) for times in found.values()]
    told = ", ".join(f"{rounded(t)} s at width {w}" for w, t in zip(WIDTHS, medians, strict=True))
    where = f"{threads} threads and {workers} workers, an epoch ~{told}"
    return lambda width: float(np.interp(math.log(width), logs, medians)), where


def comparison(searches: Mapping[str, Searched], epoch: Callable[[int], float], epochs: int, where: str) -> str:
    """The table of wall times; the trials are those of the first search."""
    first = next(iter(searches.values()))
    unpruned = sum(epochs * epoch(width) for width, _ in first.trials)
    pruned = sum(trained * epoch(width) for width, trained in first.trials)
    head = [
        "",
        "wall s",
        "trials",
        "trial-epochs",
        "best score",
        "people unpruned ÷ this",
        "same pruner ÷ this",
    ]
    rows = [
        [
            name,
            rounded(found.wall),
            len(found.trials),
            found.epochs,
            f"{found.score:.4f}",
            rounded(unpruned / found.wall),
            rounded(pruned / found.wall),
        ]
        for name, found in searches.items()
    ]
    count = len(first.trials)
    rows.append(["the loop people write, unpruned", f"~{rounded(unpruned)}", count, epochs * count, "–", "1", "–"])
    rows.append(["the loop people write, same pruner", f"~{rounded(pruned)}", count, first.epochs, "–", "–", "1"])
    return f"{table(head, rows)}\n\n- The loop people write: {where}; ~ extrapolated.\n"


def whole_runs(options: argparse.Namespace, study: str, folder: Path, scratch: Path) -> dict[str, Searched]:
    """The searches that the options ask for, by name."""
    kinds: dict[str, list[str]] = {"mtlsearch run, nothing compiled before": []}
    if options.warm:
        kinds["mtlsearch run, compiled before"] = []
    if options.one_at_a_time:
        kinds["mtlsearch run, one at a time, unpruned"] = ["--population", "1", "--pruner", "none"]
    searches = {}
    for number, (name, more) in enumerate(kinds.items()):
        store = scratch / f"search{number}.db"
        command = [*command_line(options, study, folder, store), *more]
        searches[name] = whole_run(command, scratch / "cache", store)
        print(f"{name}: {searches[name].wall:.1f} s", flush=True)
    return searches


def main() -> None:
    made = parser(__doc__)
    add_device_options(made)
    add_data_option(made)
    made.add_argument("--trials", type=int, default=100)
    made.add_argument("--profile-trials", type=int, default=30)
    made.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    made.add_argument("--warm", action="store_true", help="once more, with the code that was compiled")
    made.add_argument("--one-at-a-time", action="store_true", help="also --population 1 --pruner none")
    made.add_argument("--keep", type=Path, metavar="DIR", help="leave the searches' stores here")
    made.add_argument("--rounds", type=int, default=3, help="of the loop people write, at each width")
    made.add_argument("--steps", type=int, default=200, help="steps a round of the loop people write")
    made.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="tried, up to the cores")
    options = made.parse_args()
    if options.quick:
        options.trials, options.profile_trials, options.rounds, options.threads = 2, 2, 1, 1
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory(prefix="mtlsearch-search-") as name:
        scratch = Path(name)
        folder, study = data_folder(options, scratch / "data"), "mnist-fashion"
        if options.quick:
            study = str(scratch / "tiny.py")
            Path(study).write_text(TINY_STUDY.format(held_out=TINY, epochs=TINY_EPOCHS))
        searches = whole_runs(options, study, folder, scratch)
        if options.keep:
            shutil.copytree(scratch, options.keep, ignore=shutil.ignore_patterns("cache", "data"), dirs_exist_ok=True)
        epoch, where = people_epochs(options, folder, device)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "profiled")
        watch = profile(options, study, folder, scratch / "profiled.db")
    body = comparison(searches, epoch, mnist_fashion(options.quick).epochs, where)
    start = 0.0 if options.quick else start_seconds()
    body += "\n" + profile_table(watch, start, options.profile_trials)
    title = f"A whole search of {options.trials} trials, {options.precision}, {options.threads} CPU threads"
    conclude(options, title, body, device)


if __name__ == "__main__":
    main()

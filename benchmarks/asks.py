"""Cost of asking, reporting and telling in a search: 1,000 trials of one second, 16 in training at once.

    python benchmarks/asks.py [--trials 1000] [--seconds 1] [--dry-run]

The search is `mtlsearch run` on the study digits with its defaults: loop, sampler, pruner, and a SQLite store on disk
that gets every epoch and the best trial's parameters. Two things differ: the trainer sleeps instead of training, and
the pruner's decisions are not followed. So every trial takes its second. The ideal is the sleeping alone: 63 rounds
of 16. Each row is one search. The second table holds the mean time of each part in the last tenth of the search, where
the history is longest.
"""

import argparse
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
import torch
from common import conclude, parser, rounded, table
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import Record
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult, TrialProgress
from mtlsearch.study.space import Config
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions
from mtlsearch.training.kept import Kept
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.choices import make_pruner, make_sampler
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress as Watcher
from mtlsearch.tuning.session import Session

EPOCHS, IN_FLIGHT = 10, 16
PARTS = {"ask": "ask", "report": "report", "should_prune": "prune?", "tell": "tell", "refresh": "refresh"}


@dataclass
class Sleeping:
    """A trainer that sleeps; a trial's score depends on its config, so that TPE has something to learn."""

    seconds: float
    members: dict[int, tuple[TrialProgress, float]] = field(default_factory=dict)
    epoch: int = 0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    kind: str = "sleeping"

    def keep(self) -> Kept:
        return Kept({}, {})

    def restore(self, kept: Kept) -> None:
        """Nothing is kept, so there is nothing to take back."""

    def room(self) -> int:
        return IN_FLIGHT - len(self.members)

    def add(self, number: int, config: Config, *, entry_epoch: int | None = None, seed: int | None = None) -> int:
        rate = math.log10(config.number("learning_rate", 1e-3))
        score = 0.95 - 0.02 * (rate + 2.5) ** 2 - 0.1 * config.number("dropout", 0.0)
        score += 0.01 * math.log2(config.number("hidden", 16)) - 0.05 * abs(config.task_weights["left"] - 0.4)
        self.members[number] = TrialProgress(number, EPOCHS, None, self.epoch), score
        return self.epoch

    def advance(self) -> list[EpochResult]:
        time.sleep(self.seconds / EPOCHS)
        self.epoch += 1
        return [self._result(progress, score) for progress, score in self.members.values()]

    def _result(self, progress: TrialProgress, score: float) -> EpochResult:
        now = score * (1 - 0.5 ** (progress.epoch + 1)) + 0.002 * float(self.random.normal())
        validation = {task: {"accuracy": now, "macro_f1": now} for task in ("left", "right")}
        return progress.update(now, validation)[0]

    def drop(self, number: int) -> None:
        self.members.pop(number, None)

    def conditions(self, number: int) -> dict[str, Any]:
        return {"lane_width": 128, "device": "cpu", "threads": 1, "precision": "fp32"}

    def state(self, number: int) -> dict[str, torch.Tensor]:
        return {"weight": torch.zeros(128, 144)}


def unheeded(pruner: BasePruner) -> BasePruner:
    """The pruner, made to decide as usual and then let every trial go on."""
    prune = pruner.prune

    def decide(study: optuna.Study, trial: FrozenTrial) -> bool:
        prune(study, trial)
        return False

    pruner.prune = decide  # type: ignore[method-assign]
    return pruner


@contextmanager
def timed_parts() -> Iterator[dict[str, list[float]]]:
    """The seconds of every call of each part, in order."""
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[part].append(time.perf_counter() - begun)

        return run

    with ExitStack() as patches:
        for name, part in PARTS.items():
            patches.enter_context(patch.object(Record, name, timed(getattr(Record, name), part)))
        yield spent


def whole_search(
    trials: int, seconds: float, sampler: BaseSampler, pruner: BasePruner
) -> tuple[float, dict[str, list[float]]]:
    """The wall time of a search in a new store, and the seconds of its parts."""
    study = replace(load_study("digits"), epochs=EPOCHS)
    training = Training(load_data(study, Path(), "cpu"))
    with tempfile.TemporaryDirectory(prefix="mtlsearch-asks-") as folder:
        artifacts = Path(folder) / "artifacts"
        artifacts.mkdir()
        with open_storage(f"sqlite:///{folder}/store.db", create=True) as storage:
            info = {**describe(training.loaded), "population": IN_FLIGHT}
            record = open_record(storage, "digits", info, 0, artifacts)
            enqueue_default(record, study)
            record.study.sampler, record.study.pruner = sampler, pruner
            session = Session(
                record,
                training,
                lambda training: Sleeping(seconds),
                Watcher(quiet=True),
                Conditions(torch.device("cpu"), 1),
            )
            with timed_parts() as spent:
                begun = time.perf_counter()
                search(session, trials)
            wall = time.perf_counter() - begun
            assert record.counted() == trials
    return wall, spent


# Each row makes its own sampler and pruner: both remember what they have seen.
CASES: dict[str, Callable[[], tuple[BaseSampler, BasePruner]]] = {
    "mtlsearch's TPE and pruner of peers (the defaults)": lambda: (
        make_sampler("tpe", 0),
        unheeded(make_pruner(RunOptions.pruner, EPOCHS)),
    ),
    "mtlsearch's TPE and Hyperband": lambda: (
        make_sampler("tpe", 0),
        unheeded(make_pruner("hyperband", EPOCHS)),
    ),
    "mtlsearch's TPE, no pruner": lambda: (make_sampler("tpe", 0), NopPruner()),
    "Optuna's TPE and Hyperband": lambda: (TPESampler(seed=0), unheeded(HyperbandPruner(1, EPOCHS, 3))),
    "random, no pruner": lambda: (RandomSampler(seed=0), NopPruner()),
}


def late(times: list[float]) -> float:
    """The mean of the last tenth of `times`, in milliseconds."""
    return 1000 * fmean(times[-max(1, len(times) // 10) :])


def measured(options: argparse.Namespace) -> str:
    ideal = math.ceil(options.trials / IN_FLIGHT) * options.seconds
    walls, parts = [], []
    for name, make in CASES.items():
        if options.only not in name:
            continue
        wall, spent = whole_search(options.trials, options.seconds, *make())
        added = 1000 * (wall - ideal) / options.trials
        ratio = f"{wall / ideal:.3f}" if ideal else "–"
        print(f"{name}: {wall:.1f} s, {ratio} of the ideal", flush=True)
        walls.append([name, f"{wall:.1f}", ratio, f"{added:.1f}"])
        parts.append([name, *(rounded(late(spent[part])) for part in PARTS.values())])
    wide = table(["", "wall s", "÷ ideal", "ms added a trial"], walls)
    deep = table(["ms a call, last tenth", *PARTS.values()], parts)
    return f"The ideal is {rounded(ideal)} s.\n\n{wide}\n\n{deep}\n"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=1000)
    made.add_argument("--seconds", type=float, default=1.0, help="of each trial")
    made.add_argument("--only", default="", help="only the rows whose names contain this")
    options = made.parse_args()
    if options.quick:
        options.trials, options.seconds = 40, 0.05
    title = f"A search of {options.trials:,} trials of {options.seconds:g} s, {IN_FLIGHT} in flight"
    conclude(options, title, measured(options))


if __name__ == "__main__":
    main()

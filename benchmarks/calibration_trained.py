"""Error rate of the verdict in whole runs, search and confirmation, of a study whose task weights do not matter.

    python benchmarks/calibration_trained.py [--runs 100] [--jobs 2] [--cache FILE]

Each run does in this process what `mtlsearch run` does: a few trials of random sampling, then the best two configs and
their twins of equal weights with five fresh seeds. The two tasks share their data and nothing else. Adam ignores a
loss's scale, so a weight changes only the rounding of a gradient (apart from Adam's ε of 1e-8). The learning rates are
so large that training is chaotic: by its end that rounding has grown into another model, about as good. So tuned minus
equal is noise around zero, as large as the noise of other seeds, and every *tuned* verdict is false.

The report gives the share of false verdicts with a Clopper-Pearson interval, how often the winner's interval covers
zero, and the noise. The exit status is 1 only where the interval of the share lies above 5 %. The cache keeps each run
as it ends, so a stopped benchmark goes on; give a changed verdict a cache of its own. Each run takes one thread, and
--jobs runs are made at once.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from threading import Event
from typing import Any

import numpy as np
import torch
from common import commit, conclude, parser, table
from shares import MOST_FALSE, percent
from torch import Tensor, nn

from mtlsearch import Classification, Config, Data, Study, real
from mtlsearch.evidence.statistics import detectable
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import run_search

TASKS = ("a", "b")
FEATURES, WIDTH = 4, 16
SIZES = 256, 256, 1024  # train, validation, test
CONFIGS, SEEDS = 2, 5
TRIALS = 8


@dataclass(frozen=True)
class Outcome:
    """The verdict of one run; differences as fractions."""

    run: int
    kind: str
    weight: float  # the winner's, of the first task
    mean: float
    low: float
    high: float
    sd: float
    seconds: float
    commit: str

    @property
    def covers_zero(self) -> bool:
        return self.low <= 0 <= self.high


class OwnNetworks(nn.Module):
    """A network of two hidden layers for each task; nothing is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({task: self._network() for task in TASKS})

    @staticmethod
    def _network() -> nn.Sequential:
        first, second, last = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.networks[task](x) for task, x in inputs.items()}


def no_effect(run: int) -> Study:
    """The study, with data of the run's own; a task tells whether two inputs, its own two, have the same sign."""

    def signs(directory: Path) -> Data:
        random = np.random.default_rng(run)

        def part(count: int) -> tuple[Any, dict[str, Any]]:
            x = random.normal(size=(count, FEATURES)).astype(np.float32)
            return x, {task: (x[:, i] * x[:, i + 1] > 0).astype(np.int64) for i, task in enumerate(TASKS)}

        train, validation, test = map(part, SIZES)
        return Data(train, test, validation=validation)

    def model(config: Config) -> nn.Module:
        return OwnNetworks()

    return Study(
        tasks=[Classification(task, signs) for task in TASKS],
        model=model,
        space={"learning_rate": real(0.2, 0.35, log=True)},
        default={"learning_rate": 0.25},
        epochs=10,
        batch_size=32,
    )


def whole_run(run: int, seeds: int = SEEDS) -> Outcome:
    """One search with its confirmation, in a store of its own, in one thread."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mtlsearch-calibration-") as folder:
        options = RunOptions(
            study=no_effect(run),
            name="no-effect",
            trials=TRIALS,
            storage=f"sqlite:///{folder}/run.db",
            device="cpu",
            seed=run,
            sampler="random",
            pruner="none",
            population=1,
            threads=1,
            seeds=seeds,
            top=CONFIGS,
            single=False,
        )
        verdict = run_search(options, Progress(TRIALS, quiet=True), Event())["verdict"]
    found = verdict["difference"]
    return Outcome(
        run=run,
        kind=verdict["kind"],
        weight=verdict["weights"][TASKS[0]],
        mean=found["mean"],
        low=found["low"],
        high=found["high"],
        sd=found["sd"],
        seconds=round(time.perf_counter() - begun, 1),
        commit=commit(),
    )


class Cache:
    """The outcomes so far, a JSON line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.outcomes = {outcome.run: outcome for outcome in (Outcome(**json.loads(line)) for line in lines)}

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def outcomes(todo: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """The outcome of every run as it ends; `jobs` at once, in processes of their own."""
    if jobs == 1:
        yield from map(whole_run, todo)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, context) as pool:
        for done in as_completed([pool.submit(whole_run, run) for run in todo]):
            yield done.result()


def failing(false: int, runs: int) -> bool:
    """Whether chance cannot explain so many false wins."""
    return percent(false, runs)[1] > MOST_FALSE


def report(found: Sequence[Outcome]) -> str:
    """The counts, and what they say."""
    runs, kinds = len(found), Counter(outcome.kind for outcome in found)
    covered = sum(outcome.covers_zero for outcome in found)
    rows = [
        ["false tuned", kinds["tuned"], interval(kinds["tuned"], runs)],
        ["undecided", kinds["undecided"], interval(kinds["undecided"], runs)],
        ["equal weights", kinds["equal"], interval(kinds["equal"], runs)],
        ["the winner's interval covers zero", covered, interval(covered, runs)],
    ]
    sd = median(outcome.sd for outcome in found)
    seen = detectable(SEEDS, sd, 0.05 / CONFIGS)
    held = "not held" if failing(kinds["tuned"], runs) else "held"
    notes = [
        f"False wins are not above {MOST_FALSE:g} %, by the interval's lower end: {held}.",
        f"A run: {TRIALS} trials, then {CONFIGS} configs and their twins with {SEEDS} seeds;"
        f" {median(outcome.seconds for outcome in found):.0f} s; run at commit"
        f" {', '.join(sorted({outcome.commit for outcome in found}))}.",
        f"Tuned minus equal has an sd over seeds of {100 * sd:.2f} points (median of the runs): {SEEDS} seeds see a"
        f" difference of {100 * seen:.2f} points 80 % of the time.",
        f"The winner had equal weights itself in {sum(o.weight == 0.5 for o in found)} runs, where it cannot win.",
        f"Mean of tuned minus equal over the runs: {100 * fmean(outcome.mean for outcome in found):+.2f} points.",
    ]
    return table(["", f"of {runs} runs", "% [95 %]"], rows) + "\n\n" + "\n".join(f"- {note}" for note in notes)


def interval(hits: int, runs: int) -> str:
    return "{:.0f} [{:.1f}, {:.1f}]".format(*percent(hits, runs))


def options_of() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=100)
    made.add_argument("--jobs", type=int, default=1, help="runs at once")
    made.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mtlsearch-calibration.jsonl")
    options = made.parse_args()
    if options.quick:
        options.runs, options.cache = 2, Path(os.devnull)
    return options


def main() -> None:
    options = options_of()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    cache = Cache(options.cache)
    todo = [run for run in range(options.runs) if run not in cache.outcomes]
    for number, outcome in enumerate(outcomes(todo, options.jobs), 1):
        cache.add(outcome)
        gain = f"{100 * outcome.mean:+.2f} points [{100 * outcome.low:+.2f}, {100 * outcome.high:+.2f}]"
        print(
            f"{number}/{len(todo)}: run {outcome.run}: {outcome.kind}, {gain}, {outcome.seconds:.0f} s",
            flush=True,
        )
    found = [cache.outcomes[run] for run in range(options.runs)]
    conclude(options, "Calibration of the verdict, trained: task weights that do not matter", report(found))
    if failing(sum(outcome.kind == "tuned" for outcome in found), len(found)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

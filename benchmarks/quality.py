"""The best score after N trials on `digits`: the population, one at a time, random search, and the pruners.

    python benchmarks/quality.py [--trials 100] [--seeds 20] [--arms NAME …] [--sizes 8 32] [--jobs 2] [--cache FILE]

Every arm does in this process what `mtlsearch run` does, with all defaults except those in the arm's name: the same
budget, the same space, a store of its own. An arm and a seed give one number, the validation score of the best complete
trial. Arms are compared seed by seed, by the mean difference in points (hundredths of the score) with Student's 95 %
interval. *wins* counts the seeds that are at least as good as the reference.

The cache keeps each run as it ends, so a stopped benchmark goes on, also with more seeds. A run that is there is not
made again, so give a changed search a cache of its own. Each run takes one thread, and --jobs runs are made at once.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from threading import Event

from common import commit, conclude, parser, rounded, table

from mtlsearch.evidence.statistics import t_interval
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.training.population.layout import LEAST_AT_ONCE
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import run_search

STUDY, REFERENCE, POPULATION = "digits", "one at a time", "population"
PRUNERS = ("peers", "median", "hyperband", "halving", "none")
MARGIN = -0.2  # points that the interval's lower end must stay above


@dataclass(frozen=True)
class Arm:
    """A way to search, under the name of its row."""

    name: str
    population: int = LEAST_AT_ONCE  # of a search of 100 trials
    sampler: str = "tpe"
    pruner: str = RunOptions.pruner

    @property
    def way(self) -> str:
        """The search by its settings, whatever the defaults are: rows of the same search share its runs."""
        return f"population {self.population}, {self.sampler}, {self.pruner}"


@dataclass(frozen=True)
class Outcome:
    """The result of one search; `trained` is in trial-epochs."""

    way: str
    seed: int
    trials: int
    epochs: int | None
    score: float
    trained: int
    seconds: float
    commit: str

    @property
    def key(self) -> tuple[object, ...]:
        return self.way, self.seed, self.trials, self.epochs


def all_arms(sizes: Sequence[int]) -> dict[str, Arm]:
    """Every arm by its name."""
    arms = [
        Arm(REFERENCE, population=1),
        Arm(POPULATION),
        *(Arm(f"population of {size}", population=size) for size in sizes),
        Arm("random search", sampler="random"),
        *(Arm(f"population, {pruner}", pruner=pruner) for pruner in PRUNERS),
        *(Arm(f"one at a time, {pruner}", population=1, pruner=pruner) for pruner in PRUNERS),
    ]
    return {arm.name: arm for arm in arms}


def default_arms(sizes: Sequence[int]) -> list[str]:
    """Every arm except the one-at-a-time pruners, which only `--arms` runs."""
    return [name for name in all_arms(sizes) if not name.startswith(f"{REFERENCE},")]


def search(arm: Arm, seed: int, trials: int, epochs: int | None) -> Outcome:
    """One whole search in this process, in one thread."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mtlsearch-quality-") as folder:
        url = f"sqlite:///{folder}/search.db"
        options = RunOptions(
            study=STUDY,
            trials=trials,
            storage=url,
            device="cpu",
            seed=seed,
            sampler=arm.sampler,
            epochs=epochs,
            pruner=arm.pruner,
            population=arm.population,
            threads=1,
            confirm=False,
        )
        best = run_search(options, Progress(trials, quiet=True), Event())
        with open_storage(url, create=False) as storage:
            found = find_record(storage, STUDY, Path(folder)).trials()
            trained = sum(int(trial.user_attrs.get("epochs", 0)) for trial in found)
    took = time.perf_counter() - begun
    return Outcome(arm.way, seed, trials, epochs, best["score"]["value"], trained, took, commit())


class Cache:
    """The outcomes so far, a JSON line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.outcomes = {outcome.key: outcome for outcome in (Outcome(**json.loads(line)) for line in lines)}

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.key] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def of(self, arm: Arm, options: argparse.Namespace) -> dict[int, Outcome]:
        """An arm's outcomes by seed."""
        keys = [(arm.way, seed, options.trials, options.epochs) for seed in range(options.seeds)]
        return {int(key[1]): self.outcomes[key] for key in keys if key in self.outcomes}


def run_missing(cache: Cache, arms: Sequence[Arm], options: argparse.Namespace) -> None:
    """Run what is not in the cache, all arms of a seed before the next seed, so that any stop leaves pairs."""
    ways = {arm.way: arm for arm in arms}
    todo = [
        (arm, seed)
        for seed in range(options.seeds)
        for way, arm in ways.items()
        if (way, seed, options.trials, options.epochs) not in cache.outcomes
    ]
    for number, outcome in enumerate(outcomes(todo, options), 1):
        cache.add(outcome)
        told = f"score {outcome.score:.4f}, {outcome.trained} trial-epochs, {outcome.seconds:.0f} s"
        print(f"{number}/{len(todo)}: {outcome.way}, seed {outcome.seed}: {told}", flush=True)


def outcomes(todo: Sequence[tuple[Arm, int]], options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcome of every search, as they end; --jobs at once in processes of their own."""
    if options.jobs == 1:
        for arm, seed in todo:
            yield search(arm, seed, options.trials, options.epochs)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(options.jobs, context) as pool:
        waiting = [pool.submit(search, arm, seed, options.trials, options.epochs) for arm, seed in todo]
        for done in as_completed(waiting):
            yield done.result()


def compared(found: dict[int, Outcome], reference: dict[int, Outcome]) -> tuple[str, str, float | None]:
    """The mean difference in points with its interval, the wins, and the interval's lower end."""
    seeds = sorted(found.keys() & reference.keys())
    differences = [100 * (found[seed].score - reference[seed].score) for seed in seeds]
    if len(seeds) < 2:
        return "–", "–", None
    interval = t_interval(differences)
    mean, low, high = float(interval.mean), float(interval.low), float(interval.high)
    wins = sum(difference >= 0 for difference in differences)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", f"{wins}/{len(seeds)}", low


def report(cache: Cache, arms: Sequence[Arm], options: argparse.Namespace) -> str:
    """Every arm compared with one at a time, and with the population."""
    head = ["", "seeds", "mean best score", "points over one at a time [95 %]", "wins"]
    more = ["points over the default population [95 %]", "trial-epochs", "s"]
    known = all_arms(())
    one, many = (cache.of(known[name], options) for name in (REFERENCE, POPULATION))
    rows = []
    for arm in arms:
        found = cache.of(arm, options)
        if not found:
            continue
        values = list(found.values())
        difference, wins, _ = compared(found, one) if found != one else ("–", "–", None)
        beside = compared(found, many)[0] if found != many else "–"
        mean = f"{fmean(o.score for o in values):.5f}"
        costs = [rounded(fmean(o.trained for o in values)), rounded(fmean(o.seconds for o in values))]
        rows.append([arm.name, len(found), mean, difference, wins, beside, *costs])
    low = compared(many, one)[2]
    verdict = "not to be said yet" if low is None else "held" if low > MARGIN else "not held"
    commits = sorted({o.commit for arm in arms for o in cache.of(arm, options).values()})
    budget = "the study's" if options.epochs is None else options.epochs
    notes = [
        f"Population − one at a time, lower end above {MARGIN} points: {verdict}.",
        f"{options.trials} trials of at most {budget} epochs, one thread; run at commit {', '.join(commits)}.",
        f"The population is {known[POPULATION].population}, the pruner {known[POPULATION].pruner} where none is named.",
    ]
    return table([*head, *more], rows) + "\n\n" + "\n".join(f"- {note}" for note in notes)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=100)
    made.add_argument("--seeds", type=int, default=20)
    made.add_argument("--epochs", type=int, help="of a trial; default the study's")
    made.add_argument("--arms", nargs="+", metavar="NAME", help="default: all but the one-at-a-time pruners")
    made.add_argument("--sizes", type=int, nargs="+", default=[], help="more population sizes")
    made.add_argument("--jobs", type=int, default=1, help="searches at once")
    made.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mtlsearch-quality.jsonl")
    options = made.parse_args()
    if options.quick:
        options.trials, options.seeds, options.epochs, options.arms = 3, 2, 1, [REFERENCE, POPULATION]
        options.cache = Path(os.devnull)
    known = all_arms(options.sizes)
    names = options.arms or default_arms(options.sizes)
    unknown = [name for name in names if name not in known]
    if unknown:
        made.error(f"no arm {unknown[0]!r}; there are: {'; '.join(known)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arms, cache = [known[name] for name in names], Cache(options.cache)
    run_missing(cache, arms, options)
    conclude(options, f"Search quality on {STUDY}", report(cache, arms, options))


if __name__ == "__main__":
    main()

"""Cost of storing one trial: 7 params, 10 reports, 3 attributes, and the tell, beside plain Optuna.

    python benchmarks/store.py [--full] [--dry-run]

Each store is filled with finished trials (100, 1,000; with --full 10,000). Then more are asked, reported and told for
3 seconds, at least TRIALS of them, with PAUSE seconds between them in place of the training. Sampling is random and
nothing is pruned, so only Optuna's bookkeeping and the store count.

The cost of an open dashboard is measured separately, in pairs: five times without it and with it, each for 10 s on a
copy of the same store, because the machine's load varies more than one trial's cost. The dashboard is
optuna-dashboard's server in a process of its own. It is asked what its page asks, but every second (the page asks every
2 s below 100 trials, every 5 s below 500, then every 10 s).
"""

import json
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from statistics import fmean, median
from typing import Any

import optuna
import sqlalchemy as sa
from common import conclude, parser, rounded, table
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, create_trial

from mtlsearch.store.database.opening import Storage, open_storage

TRIALS, PAUSE, PAIR_PAUSE, REPORTS = 30, 0.01, 0.05, 10
SPACE: dict[str, BaseDistribution] = {
    **{f"p{i}": FloatDistribution(0, 1) for i in range(6)},
    "optimizer": CategoricalDistribution(("adamw", "rmsprop", "sgd")),
}
ATTRS: dict[str, Any] = {
    "task_weights": {"left": 0.4, "right": 0.6},
    "validation": {"left": {"accuracy": 0.97}, "right": {"accuracy": 0.96}},
    "seconds": 1.5,
}


@dataclass(frozen=True)
class Effort:
    """Numbers of finished trials, seconds for each store, and rounds and seconds for the dashboard's pairs."""

    counts: tuple[int, ...] = (100, 1000)
    seconds: float = 3.0
    rounds: int = 5
    pair_seconds: float = 10.0


def finished_trial() -> FrozenTrial:
    params = {f"p{i}": 0.1 * i for i in range(6)} | {"optimizer": "sgd"}
    reports = {step: step / REPORTS for step in range(REPORTS)}
    return create_trial(value=0.9, params=params, distributions=SPACE, user_attrs=ATTRS, intermediate_values=reports)


def milliseconds(storage: BaseStorage, seconds: float, pause: float) -> float:
    """The mean cost of one trial, from the ask to the return of the tell, without the training."""
    study = load(storage)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < TRIALS or time.perf_counter() < end:
        time.sleep(pause)
        start = time.perf_counter()
        trial = ask(study, storage)
        for step in range(REPORTS):
            trial.report(step / REPORTS, step)
        for key, value in ATTRS.items():
            trial.set_user_attr(key, value)
        study.tell(trial, 0.9)
        times.append(1000 * (time.perf_counter() - start))
    return fmean(times)


def ask(study: optuna.Study, storage: BaseStorage) -> optuna.Trial:
    if not isinstance(storage, Storage):
        return study.ask(SPACE)
    storage.refresh(study._study_id)
    trial = storage.ask(study, 10**9, {"owner": {"pid": os.getpid()}})
    assert trial is not None
    for name, distribution in SPACE.items():
        trial._suggest(name, distribution)
    return trial


def load(storage: BaseStorage) -> optuna.Study:
    sampler, pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    return optuna.create_study(
        study_name="benchmark",
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        sampler=sampler,
        pruner=pruner,
    )


def fill(storage: BaseStorage, count: int) -> None:
    study = load(storage)
    for _ in range(count - len(study.get_trials(deepcopy=False))):
        study.add_trial(finished_trial())


@contextmanager
def ours(folder: Path) -> Iterator[BaseStorage]:
    with open_storage(f"sqlite:///{folder}/ours.db", create=True) as storage:
        yield storage


@contextmanager
def dashboard(url: str) -> Iterator[None]:
    """An open dashboard, from its first answer on."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    reader = context.Process(target=poll_dashboard, args=(url, ready), daemon=True)
    reader.start()
    if not ready.wait(120):
        raise RuntimeError("the dashboard does not answer")
    try:
        yield
    finally:
        reader.kill()
        reader.join()


def poll_dashboard(url: str, ready: Any) -> None:
    """Ask as an open page does, but every second: for the studies, and for new trials of the first study."""
    from optuna_dashboard import wsgi

    app: Any = wsgi(url)
    known: list[dict[str, Any]] = []
    while True:
        answer(app, "/api/studies", "")
        # The page keeps the trials before the first that is not finished.
        unfinished = (i for i, trial in enumerate(known) if trial["state"] in ("Running", "Waiting"))
        after = next(unfinished, len(known))
        known[after:] = json.loads(answer(app, "/api/studies/1", f"after={after}"))["trials"]
        ready.set()
        time.sleep(1)


def answer(app: Any, path: str, query: str) -> bytes:
    """The server's answer to a GET, without a network in between."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
    }
    statuses: list[str] = []
    body = b"".join(app(environ, lambda status, headers, info=None: statuses.append(status)))
    assert statuses[0].startswith("200"), (statuses, body)
    return body


@contextmanager
def plain(folder: Path, name: str = "plain", wal: bool = False) -> Iterator[BaseStorage]:
    rdb = RDBStorage(f"sqlite:///{folder}/{name}.db")
    if wal:
        with rdb.engine.connect() as connection:
            connection.execute(sa.text("PRAGMA journal_mode = WAL"))
    try:
        yield get_storage(rdb)
    finally:
        rdb.engine.dispose()


@contextmanager
def plain_wal(folder: Path) -> Iterator[BaseStorage]:
    with plain(folder, "wal", wal=True) as storage:
        yield storage


@contextmanager
def journal(folder: Path) -> Iterator[BaseStorage]:
    yield JournalStorage(JournalFileBackend(f"{folder}/journal.log"))


@contextmanager
def in_memory(folder: Path) -> Iterator[BaseStorage]:
    yield InMemoryStorage()


STORES: dict[str, Callable[[Path], Any]] = {
    "mtlsearch (SQLite, WAL)": ours,
    "Optuna, SQLite as it comes": plain,
    "Optuna, SQLite with WAL": plain_wal,
    "Optuna, journal file": journal,
    "Optuna, in memory (kept nowhere)": in_memory,
}


def fill_quickly(folder: Path, count: int) -> None:
    """Fill Optuna's SQLite files through our store, whose tables are the same."""
    for name in ("plain", "wal", "pairs"):
        with open_storage(f"sqlite:///{folder}/{name}.db", create=True) as storage:
            fill(storage, count)
    with closing(sqlite3.connect(folder / "plain.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def beside(folder: Path, seconds: float, open_page: bool) -> float:
    """The cost of a trial in a copy of the store, with or without an open page."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        shutil.copy(folder / "pairs.db", own)
        url = f"sqlite:///{own}/pairs.db"
        with open_storage(url, create=True) as storage:
            load(storage)
            if not open_page:
                return milliseconds(storage, seconds, PAIR_PAUSE)
            with dashboard(url):
                return milliseconds(storage, seconds, PAIR_PAUSE)


def pairs(folder: Path, effort: Effort) -> list[tuple[float, float]]:
    """The costs without and with a page, round by round; the two take turns in going first."""
    found = []
    for number in range(effort.rounds):
        first = beside(folder, effort.pair_seconds, number % 2 == 1)
        second = beside(folder, effort.pair_seconds, number % 2 == 0)
        found.append((first, second) if number % 2 == 0 else (second, first))
    return found


def measured(effort: Effort) -> str:
    """The milliseconds per trial of each store at each number of finished trials, and the cost of a dashboard."""
    times: dict[str, list[float]] = {name: [] for name in STORES}
    added = []
    for count in effort.counts:
        with tempfile.TemporaryDirectory(prefix="mtlsearch-store-") as name:
            folder = Path(name)
            fill_quickly(folder, count)
            for store, found in times.items():
                with STORES[store](folder) as storage:
                    fill(storage, count)
                    found.append(milliseconds(storage, effort.seconds, PAUSE))
                print(f"{store} at {count:,}: {found[-1]:.2f} ms", flush=True)
            added.append(pair_row(count, pairs(folder, effort)))
            print(*added[-1], sep=" · ", flush=True)
    head = ["ms per trial with … finished trials", *(f"{count:,}" for count in effort.counts)]
    costs = table(head, ([name, *(f"{ms:.1f}" for ms in found)] for name, found in times.items()))
    pair_head = ["finished trials", "ms alone", "ms with a page open", "added", "round by round"]
    return (
        f"7 params, {REPORTS} reports, {len(ATTRS)} attributes, random sampling; mean over {effort.seconds:g} s,"
        f" {TRIALS} trials at least. Optuna {optuna.__version__}, SQLAlchemy {sa.__version__}.\n\n{costs}\n\n"
        f"What an open dashboard adds: medians of {effort.rounds} rounds of {effort.pair_seconds:g} s, a trial every"
        f" {1000 * PAIR_PAUSE:g} ms.\n\n{table(pair_head, added)}\n"
    )


def pair_row(count: int, found: list[tuple[float, float]]) -> list[str]:
    ratios = [100 * (seen / alone - 1) for alone, seen in found]
    alone, seen = (median(side) for side in zip(*found, strict=True))
    each = ", ".join(f"{ratio:+.0f} %" for ratio in ratios)
    return [f"{count:,}", rounded(alone), rounded(seen), f"{median(ratios):+.0f} %", each]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--full", action="store_true", help="also at 10,000 finished trials")
    options = made.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    effort = Effort((100, 1000, 10000)) if options.full else Effort()
    if options.quick:
        effort = replace(effort, counts=(20,), seconds=0.1, rounds=1, pair_seconds=0.1)
    conclude(options, "Storing, per trial", measured(effort))


if __name__ == "__main__":
    main()

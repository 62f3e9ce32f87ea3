"""What storing costs per trial: 7 params, 10 reports, 3 attributes, and the tell, beside plain Optuna.

    python benchmarks/store.py [--full] [--dry-run]

Each store is filled with finished trials (100, 1,000; with --full 10,000), then more are asked, reported and
told for SECONDS, TRIALS at least, with PAUSE seconds between them for the training. Random sampling and no
pruning, so that Optuna's bookkeeping and the store are all that counts. The table goes to standard output and,
without --dry-run, to the end of benchmarks/RESULTS.md.
"""

import argparse
import multiprocessing
import os
import platform
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, create_trial

from mtlsearch.storage import Storage, open_storage

TRIALS, SECONDS, PAUSE, REPORTS = 30, 3.0, 0.01, 10
SPACE: dict[str, BaseDistribution] = {
    **{f"p{i}": FloatDistribution(0, 1) for i in range(6)},
    "optimizer": CategoricalDistribution(("adamw", "rmsprop", "sgd")),
}
ATTRS: dict[str, Any] = {
    "task_weights": {"left": 0.4, "right": 0.6},
    "validation": {"left": {"accuracy": 0.97}, "right": {"accuracy": 0.96}},
    "seconds": 1.5,
}
Row = tuple[str, list[float]]


def finished_trial() -> FrozenTrial:
    params = {f"p{i}": 0.1 * i for i in range(6)} | {"optimizer": "sgd"}
    reports = {step: step / REPORTS for step in range(REPORTS)}
    return create_trial(
        value=0.9, params=params, distributions=SPACE, user_attrs=ATTRS, intermediate_values=reports
    )


def milliseconds(storage: BaseStorage) -> float:
    """The mean of what one trial costs, from the ask to the return of the tell, the training left out."""
    study = load(storage)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < TRIALS or time.perf_counter() < end:
        time.sleep(PAUSE)
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
def ours_with_dashboard(folder: Path) -> Iterator[BaseStorage]:
    url = f"sqlite:///{folder}/dashboard.db"
    with open_storage(url, create=True) as storage:
        load(storage)
        context = multiprocessing.get_context("spawn")
        ready, reader = context.Event(), None
        reader = context.Process(target=poll_dashboard, args=(url, ready), daemon=True)
        reader.start()
        ready.wait(60)
        try:
            yield storage
        finally:
            reader.kill()
            reader.join()


def poll_dashboard(url: str, ready: Any) -> None:
    """An open dashboard: asks for the list of studies and all of the study's trials every second."""
    from optuna_dashboard import wsgi

    app: Any = wsgi(url)
    while True:
        for path, query in (("/api/studies", ""), ("/api/studies/1", "after=0")):
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
            answers: list[str] = []
            body = app(environ, lambda status, headers, info=None, answers=answers: answers.append(status))
            b"".join(body)
            assert answers[0].startswith("200"), answers
        ready.set()
        time.sleep(1)


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
    "mtlsearch, a dashboard open": ours_with_dashboard,
    "Optuna, SQLite as it comes": plain,
    "Optuna, SQLite with WAL": plain_wal,
    "Optuna, journal file": journal,
    "Optuna, in memory (kept nowhere)": in_memory,
}


def fill_quickly(folder: Path, count: int) -> None:
    """Fills the three SQLite files of others through our store: the tables are the same."""
    for name in ("plain", "wal", "dashboard"):
        with open_storage(f"sqlite:///{folder}/{name}.db", create=True) as storage:
            fill(storage, count)
    with closing(sqlite3.connect(folder / "plain.db")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def measure(counts: list[int]) -> list[Row]:
    """Per store its milliseconds per trial at each number of finished trials."""
    rows: list[Row] = [(name, []) for name in STORES]
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="mtlsearch-store-") as folder:
            fill_quickly(Path(folder), count)
            for name, times in rows:
                with STORES[name](Path(folder)) as storage:
                    fill(storage, count)
                    times.append(milliseconds(storage))
                print(f"{name} at {count:,}: {times[-1]:.2f} ms", flush=True)
    return rows


def table(rows: list[Row], counts: list[int]) -> str:
    head = "| ms per trial with … finished trials | " + " | ".join(f"{c:,}" for c in counts) + " |"
    lines = [f"| {name} | " + " | ".join(f"{t:.1f}" for t in times) + " |" for name, times in rows]
    return "\n".join([head, "|---|" + "---:|" * len(counts), *lines])


def machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    versions = f"Python {platform.python_version()}, Optuna {optuna.__version__}, SQLAlchemy {sa.__version__}"
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores (load {load:.1f}), {versions}"
    )


def section(rows: list[Row], counts: list[int]) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"\n## Storing, per trial ({date.today()}, commit {commit or 'none'})\n\n{machine()}.\n"
        f"`python benchmarks/store.py`: 7 params, {REPORTS} reports, {len(ATTRS)} attributes, random sampling; "
        f"mean over {SECONDS:g} s, {TRIALS} trials at least."
        f" The dashboard asks for all trials every second.\n\n{table(rows, counts)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also at 10,000 finished trials")
    parser.add_argument("--dry-run", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    counts = [100, 1000, 10000] if options.full else [100, 1000]
    text = section(measure(counts), counts)
    print(text)
    if not options.dry_run:
        with (Path(__file__).parent / "RESULTS.md").open("a") as results:
            results.write(text)


if __name__ == "__main__":
    main()

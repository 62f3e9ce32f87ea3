"""Kills and disturbs real `mtlsearch run` processes and counts what was lost: `python tests/crash_harness.py`.

    python tests/crash_harness.py [--kills 50] [--trials 24] [--no-faults] [--seed 0]

A round is one study in a new store. Its run is killed at random moments and started again at once, until it has
all its trials; after every death the store is held against what it held before, and against every trial that
the dead process had announced as finished. Then come the faults, each followed by the same command again. The
last line counts: kills, faults, trials, lost, doubled. The status is 1 if anything was lost or doubled.

Every process is a fork of one that has imported what a run imports, so that a start takes seconds less.
"""

import argparse
import contextlib
import math
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import optuna
from optuna.trial import FrozenTrial, TrialState
from warm import IMPORTED

EPOCHS, POPULATION = 2, 4
ANNOUNCED = re.compile(r"^trial (\d+) (complete|pruned|fail) after \d+ epochs(?:, score (-?[\d.e-]+))?", re.M)
processes = get_context("forkserver")
processes.set_forkserver_preload([*IMPORTED])


class Skip(Exception):
    """A fault that this machine cannot make, and why."""


def child(arguments: list[str], log: str, injected: dict[str, Any]) -> None:
    """The whole of a run's process.

    `injected` changes it: `host` is the name of its host, `lease` the times of its lease, and it trains nothing
    before the file `held` exists.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from mtlsearch.cli.main import main
    from mtlsearch.store import ownership as lease

    if host := injected.get("host"):
        socket.gethostname = lambda: host
    lease.BEAT_S, lease.EXPIRY_S = injected.get("lease", (lease.BEAT_S, lease.EXPIRY_S))
    if held := injected.get("held"):
        from mtlsearch.training.population.population import PopulationTrainer

        advance = PopulationTrainer.advance

        def advance_if_let_go(trainer: PopulationTrainer) -> Any:
            while not held.exists():
                time.sleep(0.05)
            return advance(trainer)

        PopulationTrainer.advance = advance_if_let_go  # type: ignore[method-assign]
    main(arguments, prog_name="mtlsearch")


def command(url: str, total: int, folder: Path, epochs: int = EPOCHS) -> list[str]:
    """The arguments of a run."""
    return (
        f"run digits --no-confirm --population {POPULATION} --threads 1 --epochs {epochs} --seed 0"
        f" --trials {total} --storage {url} --artifacts {folder / 'artifacts'}"
    ).split()


def announced_in(log: str) -> dict[int, tuple[str, str]]:
    """By number, the state and the score of every trial that a run has announced as finished."""
    return {int(number): (state, score) for number, state, score in ANNOUNCED.findall(log)}


class Run:
    """One process of `mtlsearch run`."""

    def __init__(self, url: str, total: int, folder: Path, epochs: int = EPOCHS, **injected: Any) -> None:
        self.log = Path(tempfile.mkstemp(dir=folder, prefix="log-")[1])
        arguments = command(url, total, folder, epochs), str(self.log), injected
        self.process = processes.Process(target=child, args=arguments, daemon=True)
        self.process.start()

    def said(self) -> str:
        return self.log.read_text()

    def announced(self) -> dict[int, tuple[str, str]]:
        return announced_in(self.said())

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait(self, seconds: float = 400.0) -> int:
        """Its exit status. Raises AssertionError if it hangs."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"it hangs after:\n{self.said()}")
        return self.process.exitcode

    def until(self, what: Callable[[], object], seconds: float = 120.0, every: float = 0.02) -> None:
        """Waits until `what()` is true. Raises AssertionError if that takes too long, or it has ended."""
        end = time.monotonic() + seconds
        while not what():
            ended = self.process.exitcode is not None and not what()
            if ended or time.monotonic() > end:
                raise AssertionError(f"{'it ended' if ended else 'too slow'}:\n{self.said()}")
            time.sleep(every)

    def until_trials(self, count: int) -> None:
        self.until(lambda: len(self.announced()) >= count)

    def one_line(self) -> str:
        """The last line, which says what is wrong. Raises AssertionError for a traceback or no such line."""
        said = self.said()
        assert "Traceback" not in said, said
        lines = [line for line in said.splitlines() if line.startswith("mtlsearch: ")]
        assert lines, f"nothing was told:\n{said}"
        assert lines[-1] == said.splitlines()[-1], said
        return lines[-1]


@dataclass
class Book:
    """The finished trials of one study as they were last seen; `look` compares them with the store as it is now."""

    url: str
    total: int
    finished: dict[int, FrozenTrial] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0

    def trials(self) -> list[FrozenTrial]:
        """The trials as plain Optuna reads them; none before the store is made."""
        path = Path(self.url.removeprefix("sqlite:///"))
        if self.url.startswith("sqlite") and not (path.exists() and path.stat().st_size):
            return []
        rdb = optuna.storages.RDBStorage(self.url)
        try:
            names = [study.study_name for study in rdb.get_all_studies()]
            return optuna.load_study(study_name="digits", storage=rdb).trials if "digits" in names else []
        finally:
            rdb.remove_session()
            rdb.engine.dispose()

    def look(self, announced: dict[int, tuple[str, str]]) -> list[FrozenTrial]:
        """Count the trials that were lost or doubled since the last look; assert that the file is whole."""
        if self.url.startswith("sqlite"):
            check_integrity(Path(self.url.removeprefix("sqlite:///")))
        trials = self.trials()
        assert [t.number for t in trials] == list(range(len(trials)))
        for number, before in self.finished.items():
            self.lost += not (number < len(trials) and trials[number] == before)
        for number, (state, score) in announced.items():
            now = trials[number] if number < len(trials) else None
            self.lost += not (
                now is not None
                and now.state.name.lower() == state
                and counts(now)
                and (not score or math.isclose(now.value or 0.0, float(score), rel_tol=1e-3, abs_tol=6e-5))
            )
        counted = [t for t in trials if counts(t)]
        retried = [t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs]
        self.doubled += len(counted) - len({origin(trials, t) for t in counted})
        self.doubled += len(retried) - len(set(retried)) + max(0, len(counted) - self.total)
        self.doubled += sum(counts(trials[number]) for number in retried)
        self.finished = {t.number: t for t in trials if t.state.is_finished()}
        return trials

    def look_at_end(self, announced: dict[int, tuple[str, str]]) -> None:
        """The same, and that exactly the total is counted and nothing runs or waits."""
        trials = self.look(announced)
        states = [t.state for t in trials]
        assert sum(map(counts, trials)) == self.total, states
        assert TrialState.RUNNING not in states, states
        assert TrialState.WAITING not in states, states
        assert not [t for t in trials if counts(t) and t.state == TrialState.FAIL], states


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts: written again from the contract, so that the check shares no error with the store."""
    return trial.state.is_finished() and not trial.user_attrs.get("interrupted")


def origin(trials: list[FrozenTrial], trial: FrozenTrial) -> int:
    """The number of the trial that was asked first with these params."""
    while "retry_of" in trial.user_attrs:
        trial = trials[trial.user_attrs["retry_of"]]
    return trial.number


def check_integrity(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def finish(book: Book, folder: Path) -> None:
    """Run the same command again at once; it must end well with all its trials."""
    run = Run(book.url, book.total, folder)
    assert run.wait() == 0, run.said()
    assert "Traceback" not in run.said(), run.said()
    book.look_at_end(run.announced())


def new_book(folder: Path, total: int) -> Book:
    folder.mkdir(exist_ok=True)
    return Book(f"sqlite:///{folder / 'store.db'}", total)


# Kills.


def wait_for_a_moment(run: Run, moments: random.Random) -> None:
    """Wait for a moment between the first second, in which the store is made, and well into the training."""
    kind = moments.random()
    if kind < 0.6:
        run.process.join(moments.uniform(0.0, 1.0) if kind < 0.3 else moments.uniform(0.8, 3.5))
        return
    run.until(lambda: run.announced() or run.process.exitcode is not None)
    run.process.join(moments.uniform(0.0, 0.5))


def killed_round(folder: Path, total: int, kills: int, moments: random.Random) -> tuple[Book, int]:
    """Kill one study's run at most `kills` times, then let it finish; the book, and the number of kills."""
    book, done = new_book(folder, total), 0
    while done < kills:
        run = Run(book.url, total, folder)
        wait_for_a_moment(run, moments)
        if run.process.exitcode is not None:
            assert run.process.exitcode == 0, run.said()
            book.look_at_end(run.announced())
            return book, done
        run.signal(signal.SIGKILL)
        run.process.join()
        done += 1
        assert "Traceback" not in run.said(), run.said()
        book.look(run.announced())
    finish(book, folder)
    return book, done


# Faults: each disturbs a run of its own and gives its book after the same command has finished.


def stopped(folder: Path, total: int, number: int) -> Book:
    book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
    run.until_trials(1)
    run.signal(number)
    assert run.wait() == 130, run.said()
    assert "the same command goes on" in run.one_line()
    trials = book.look(run.announced())
    running = [t for t in trials if t.state is TrialState.RUNNING]
    assert all(t.user_attrs["owner"].get("left") for t in running), "it still seems to be in training"
    finish(book, folder)
    return book


def sigint_once(folder: Path, total: int) -> Book:
    """Ctrl-C: it finishes writing, says how to go on, and exits with 130."""
    return stopped(folder, total, signal.SIGINT)


def sigterm_once(folder: Path, total: int) -> Book:
    """SIGTERM, as a scheduler sends it: the same."""
    return stopped(folder, total, signal.SIGTERM)


def sigint_twice(folder: Path, total: int) -> Book:
    """Ctrl-C twice while a lock keeps it from writing: it ends at once."""
    book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
    run.until_trials(1)
    with locked(folder / "store.db"):
        run.signal(signal.SIGINT)
        time.sleep(0.5)
        begun = time.monotonic()
        run.signal(signal.SIGINT)
        assert run.wait(5.0) == 130, run.said()
        assert time.monotonic() - begun < 2.0
    book.look(run.announced())
    finish(book, folder)
    return book


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps the file locked for writing, from a process of its own."""
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], timeout=30); c.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def write_lock(folder: Path, total: int, seconds: float = 30.0) -> Book:
    """Another process holds the write lock: the run waits for it, or says so in one line."""
    book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
    run.until_trials(1)
    with locked(folder / "store.db"):
        time.sleep(seconds)
    status = run.wait()
    assert "Traceback" not in run.said(), run.said()
    if status != 0:
        assert status == 1
        assert "kept it locked for more than" in run.one_line()
    book.look(run.announced())
    finish(book, folder)
    return book


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own. Raises Skip where it cannot be mounted."""
    folder.mkdir(exist_ok=True)
    mount(["-t", "tmpfs", "-o", f"size={size}", "tmpfs"], folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(arguments: list[str], folder: Path) -> None:
    if shutil.which("mount") is None:
        raise Skip("there is no program `mount`")
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(f"nothing can be mounted here ({done.stderr.strip()})")


def full_disk(folder: Path, total: int) -> Book:
    """The store's disk fills up: one line says so; with free space the same command goes on."""
    with small_disk(folder, "4m"):
        book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
        run.until_trials(1)
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        assert run.wait() == 1, run.said()
        line = run.one_line()
        assert "full" in line or "No space left" in line, line
        filler.unlink()
        book.look(run.announced())
        finish(book, folder)
    return book


def read_only(folder: Path, total: int) -> Book:
    """The store becomes read-only under a run.

    Linux refuses to remount what is open for writing, so a read-only view is laid over it: what is open may
    go on, a new process finds it read-only, and says so in one line.
    """
    with small_disk(folder, "64m"):
        book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
        run.until_trials(1)
        refused = subprocess.run(["mount", "-o", "remount,ro", str(folder)], capture_output=True, check=False)
        laid_over = refused.returncode != 0
        if laid_over:
            mount(["--bind", str(folder)], folder)
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        logs = Path(tempfile.mkdtemp(prefix="mtlsearch-logs-"))
        try:
            status = run.wait()
            assert status == 0 or "writ" in run.one_line(), run.said()
            again = Run(book.url, total + 1, logs)
            assert again.wait() == 1, again.said()
            assert "writ" in again.one_line()
        finally:
            if laid_over:
                subprocess.run(["umount", "-l", str(folder)], check=True)
            else:
                subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        book.look(run.announced())
        finish(book, folder)
        shutil.rmtree(logs)
    return book


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    const char *file = getenv("TEST_CLOCK_BACK");
    if (clock == CLOCK_REALTIME && file && access(file, F_OK) == 0) now->tv_sec -= 7200;
    return status;
}
"""


def clock_set_back(folder: Path, total: int) -> Book:
    """The time of day goes back by two hours under a run; nothing depends on it."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Skip("there is no C compiler to make another clock with")
    total = max(total, 3 * POPULATION)  # so that some are surely asked after the clock went back
    book = new_book(folder, total)
    source, library, back = folder / "clock.c", folder / "clock.so", folder / "back"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    log = folder / "log-clock"
    program = [sys.executable, "-c", "from mtlsearch.cli import main; main()"]
    environment = {**os.environ, "LD_PRELOAD": str(library), "TEST_CLOCK_BACK": str(back)}
    with log.open("wb") as file:
        arguments = [*program, *command(book.url, total, folder)]
        process = subprocess.Popen(arguments, stdout=file, stderr=file, env=environment)
        end = time.monotonic() + 120
        while not announced_in(log.read_text()) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        back.touch()
        before = len(announced_in(log.read_text()))
        assert process.wait(180) == 0, log.read_text()
    announced = announced_in(log.read_text())
    assert len(announced) > before, "the clock went back too late to matter"
    trials = book.trials()
    begun = [trial.datetime_start for trial in trials]
    assert begun != sorted(begun) or any(trial.datetime_complete < trial.datetime_start for trial in trials), (
        "the clock was not set back"
    )
    book.look_at_end(announced)
    finish(book, folder)
    return book


def deleted_file(folder: Path, total: int) -> Book:
    """The store's file is deleted under a run: one line says so, and the same command begins a new one."""
    book, run = new_book(folder, total), Run(f"sqlite:///{folder / 'store.db'}", total, folder)
    run.until_trials(1)
    for file in folder.glob("store.db*"):
        file.unlink()
    assert run.wait() == 1, run.said()
    assert "was deleted or replaced" in run.one_line()
    finish(book, folder)
    return book


FAULTS = (
    sigint_once, sigterm_once, sigint_twice, full_disk, read_only, write_lock, clock_set_back, deleted_file,
)  # fmt: skip


def main() -> int:
    """Kill and disturb as the command line says, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=24, help="the total of each study")
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments, books, kills, faults, begun = random.Random(options.seed), [], 0, 0, time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="mtlsearch-crash-"))
    try:
        while kills < options.kills:
            folder = root / f"round-{len(books)}"
            book, done = killed_round(folder, options.trials, min(10, options.kills - kills), moments)
            books.append(book)
            kills += done
            print(
                f"round {len(books)}: {done} kills, {book.total} trials, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
        for fault in () if options.no_faults else FAULTS:
            try:
                books.append(fault(root / fault.__name__, 8))
                faults += 1
                print(f"fault {fault.__name__}: went on to {books[-1].total} trials", flush=True)
            except Skip as reason:
                print(f"SKIPPED fault {fault.__name__}: {reason}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    lost, doubled = sum(book.lost for book in books), sum(book.doubled for book in books)
    trials = sum(book.total for book in books)
    print(f"kills: {kills}, faults: {faults}, trials: {trials}, lost: {lost}, doubled: {doubled}")
    return 1 if lost or doubled else 0


if __name__ == "__main__":
    sys.exit(main())

"""Simulated runs at once: what two to four processes do, in an order, with clocks and deaths drawn from a seed.

    python tests/simulation.py --schedules 10000 [--first 0]
    python tests/simulation.py --first 4711 --schedules 1 --trace      # replay the failure of seed 4711

As in FoundationDB's simulation, everything that could differ from one time to the next is drawn from the seed: which
run makes the next step, when a background flush and a lease's beat come, how far the clock goes on between two steps,
who dies, who sleeps, who is interrupted. The store is the real one on SQLite, and the record, the sampler and the
leases are the real ones; training alone is left out. Every run is on a host of its own, or two share one.

Two of three schedules are searches; in every third, the runs train the repeats of one confirmation.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import optuna
from optuna.trial import FrozenTrial, TrialState

import mtlsearch.evidence.trainings
import mtlsearch.store.ownership
import mtlsearch.store.record
from mtlsearch import Study
from mtlsearch.errors import MtlsearchError
from mtlsearch.evidence.trainings import Confirmation, Repeat, ended, open_confirmation
from mtlsearch.store.database import write_buffer
from mtlsearch.store.database.opening import Storage, open_storage
from mtlsearch.store.finding import find_record, open_record
from mtlsearch.store.ownership import Watch
from mtlsearch.store.record import Record
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult
from mtlsearch.tuning.choices import seeded_asks
from mtlsearch.tuning.loop import enqueue_default

EPOCHS, POPULATION = 2, 2
PATIENCE = 2000  # steps; seed 4235 draws so many sleeps and deaths that it needs more than 600
# How often a run that is drawn makes each kind of step.
STEPS = {"train": 60, "flush": 10, "beat": 14, "look": 6, "die": 3, "interrupt": 2, "sleep": 3}


class Wrong(AssertionError):
    """A promise that a schedule broke: its kind, and the words for it."""

    def __init__(self, kind: str, told: str) -> None:
        super().__init__(told)
        self.kind = kind


class NoThread:
    """Stands for the threads that flush and that beat: here both are steps that are drawn."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        pass

    def stop(self) -> None:
        pass


@dataclass
class World:
    """The state that the processes of one schedule share: the store's folder, the clock, and who lives."""

    study: Study
    info: dict[str, Any]
    folder: Path
    total: int
    seed: int
    now: float = 0.0
    living: set[int] = field(default_factory=set)
    acting: dict[str, Any] = field(default_factory=dict)  # the owner whose step it is
    told: dict[int, tuple[TrialState, float | None]] = field(default_factory=dict)  # what was announced
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/store.db"

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Inside, clocks, hosts, processes and threads are those of this world."""
        ownership, record, trainings = mtlsearch.store.ownership, mtlsearch.store.record, mtlsearch.evidence.trainings
        clock = SimpleNamespace(monotonic=lambda: self.now)
        with ExitStack() as stack:
            for target, name, value in (
                (ownership, "time", clock),
                (ownership, "is_here", lambda owner: owner["host"] == self.acting["host"]),
                (ownership, "is_alive", lambda owner: owner["pid"] in self.living),
                (record, "this_process", lambda: self.acting),
                (trainings, "this_process", lambda: self.acting),
                (record, "Heart", NoThread),
                # Reads the ten scripts of Optuna's migrations at each opening; the store is a copy of a fresh one.
                (optuna.storages._rdb.storage._VersionManager, "check_table_schema_compatibility", lambda *_: None),
                (write_buffer, "threading", SimpleNamespace(**vars(write_buffer.threading) | {"Thread": NoThread})),
            ):
                stack.enter_context(mock.patch.object(target, name, value))
            yield


class Process:
    """One run of the search, a step at a time: what `tuning.loop.search` does around the training."""

    def __init__(self, world: World, name: int, host: str, random: random.Random) -> None:
        self.world, self.name, self.host, self.random = world, name, host, random
        self.incarnation, self.until = 0, 0.0
        self.record: Record | None = None
        self.storage: Storage | None = None
        self.epochs: dict[int, int] = {}
        self.done = False

    @property
    def pid(self) -> int:
        return 1000 * (self.name + 1) + self.incarnation

    def step(self) -> None:
        """One step, drawn from the seed."""
        self.world.acting = {"host": self.host, "pid": self.pid}
        if self.record is None:
            self.begin()
            return
        kind = self.random.choices(list(STEPS), STEPS.values())[0]
        self.world.lines.append(f"{self.world.now:7.1f} run {self.name}.{self.incarnation}: {kind}")
        getattr(self, kind)()

    def begin(self) -> None:
        self.incarnation += 1
        self.world.acting = {"host": self.host, "pid": self.pid}
        self.world.lines.append(f"{self.world.now:7.1f} run {self.name}.{self.incarnation}: begin")
        self.world.living.add(self.pid)
        self.storage = open_storage(self.world.url, create=True)
        self.record, self.epochs = self.opened(self.storage), {}

    def opened(self, storage: Storage) -> Record:
        """The record of the search, as a run begins with it."""
        record = open_record(storage, "simulated", self.world.info, self.world.seed, self.world.folder)
        record.watch = Watch()
        record.take_over()
        enqueue_default(record, self.world.study)
        record.study.sampler = seeded_asks("random", self.world.seed)
        return record

    def train(self) -> None:
        """Fill the room, else train an epoch, else wait for others, else end."""
        assert self.record is not None
        if len(self.record.running) < POPULATION and self.random.random() < 0.7:
            ahead = self.random.choice([0, POPULATION - len(self.record.running) - 1])
            asked = self.record.ask(self.world.study.search_space, self.world.total, ahead=ahead)
            if asked is not None:
                self.record.enter(asked[0].number, 0, {})
                self.epochs[asked[0].number] = 0
                return
        if self.record.running:
            self.advance()
        else:
            self.wait()

    def advance(self) -> None:
        """Report an epoch of all trials, then end those that end in it, in one commit."""
        assert self.record is not None
        self.record.refresh()
        results = [self.result(number) for number in self.record.running]
        for result in results:
            self.record.report(result)
            self.epochs[result.number] += 1
        told: list[int] = []
        with self.record.telling(told):
            for result in results:
                state = self.outcome(result) if result.number in self.record.running else None
                if state is not None and self.record.tell(result, state, lambda path, _: path.write_text("parameters")):
                    told.append(result.number)
        for number in told:
            self.announce(number)

    def result(self, number: int) -> EpochResult:
        """The result of a trial's next epoch."""
        epoch = self.epochs[number]
        # Few scores, so that many trials tie for the best.
        score = self.random.Random(f"{self.world.seed} {number}").choice([0.5, 0.7])  # type: ignore[attr-defined]
        metrics = {"a": {"accuracy": score}}
        return EpochResult(number, epoch, score, metrics, 0, score, metrics, epoch + 1 == EPOCHS, None)

    def outcome(self, result: EpochResult) -> TrialState | None:
        """The state in which a trial ends after this epoch, None where it goes on."""
        if result.finished:
            return TrialState.COMPLETE
        return TrialState.PRUNED if self.random.random() < 0.1 else None

    def announce(self, number: int) -> None:
        assert self.record is not None
        trial = self.record.trial(number)
        if number in self.world.told:
            raise Wrong("doubled", f"trial {number} was announced twice")
        self.world.told[number] = trial.state, trial.value

    def wait(self) -> None:
        assert self.record is not None
        self.record.refresh()
        if self.record.counted() >= self.world.total:
            self.done = True
            self.leave()
        else:
            self.record.take_over()

    def flush(self) -> None:
        assert self.storage is not None
        self.storage.flush()

    def beat(self) -> None:
        assert self.record is not None
        for running in self.record._in_training():
            try:
                running.storage.set_trial_user_attr(running._trial_id, "beat", self.world.now)
            except optuna.exceptions.UpdateFinishedTrialError:
                continue
        self.flush()

    def look(self) -> None:
        assert self.record is not None
        self.record.refresh()
        self.record.take_over()

    def die(self) -> None:
        """As `kill -9`: what was not committed is lost."""
        assert self.storage is not None
        self.storage._buffer._changes.clear()  # type: ignore[attr-defined]
        self.storage._ahead.clear()  # type: ignore[attr-defined]
        self.leave()

    def interrupt(self) -> None:
        """As Ctrl-C: its trials are given back."""
        assert self.record is not None
        self.record.interrupt()
        self.leave()

    def sleep(self) -> None:
        """As SIGSTOP, or a laptop that is closed: others may take it for dead."""
        self.until = self.world.now + self.random.uniform(20, 200)

    def leave(self) -> None:
        assert self.storage is not None
        self.world.living.discard(self.pid)
        self.storage.close()
        self.storage = self.record = None


class Confirming(Process):
    """One run of the confirmation: what `tuning.repeats.train_repeats` does around the training."""

    book: Confirmation
    chosen: Repeat | None = None

    @property
    def repeats(self) -> list[Repeat]:
        study = self.world.study
        configs = study.search_space.drawn(2, study.default)
        return [Repeat("config", of, config, seed) for seed in (11, 12) for of, config in enumerate(configs)]

    def opened(self, storage: Storage) -> Record:
        search = open_record(storage, "simulated", self.world.info, self.world.seed, self.world.folder)
        self.book, self.chosen = open_confirmation(search), None
        self.book.watch = Watch()
        self.book.take_over()
        return self.book

    def train(self) -> None:
        """Look for a repeat that is left, else begin the one that was found a step ago, else train an epoch."""
        if self.chosen is not None:
            number = self.book.begin(self.chosen, self.world.study)
            if number is not None:
                self.book.enter(number, 0, {})
                self.epochs[number] = 0
            self.chosen = None
            return
        if len(self.book.running) < POPULATION and self.random.random() < 0.7:
            self.chosen = next(iter(self.book.left(self.repeats)), None)
        elif self.book.running:
            self.advance()
        else:
            self.wait()

    def outcome(self, result: EpochResult) -> TrialState | None:
        if not result.finished:
            return None
        with self.book.losing(result.number):
            self.book.scored(result.number, {"a": {"accuracy": 0.5}})
        return TrialState.COMPLETE

    def wait(self) -> None:
        self.book.refresh()
        found = ended(self.book)
        if all(repeat.key in found for repeat in self.repeats):
            self.done = True
            self.leave()
        else:
            self.book.take_over()


def schedule(seed: int, template: Path, study: Study, info: dict[str, Any], trace: bool = False) -> None:
    """One simulated search. Raises Wrong, or what mtlsearch should not raise."""
    drawn = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="mtlsearch-simulated-"))
    world = World(study, info, folder, drawn.randint(3, 6), seed)
    hosts = [f"host{drawn.randrange(3)}" for _ in range(drawn.choice([2, 3, 4]))]
    kind = Confirming if seed % 3 == 2 else Process
    runs = [kind(world, name, host, random.Random(f"{seed} {name}")) for name, host in enumerate(hosts)]
    for run in runs:
        run.random.Random = random.Random  # type: ignore[attr-defined]
    shutil.copy(template, folder / "store.db")
    try:
        with world.instead():
            for _ in range(PATIENCE):
                ready = [run for run in runs if not run.done and run.until <= world.now]
                if ready:
                    drawn.choice(ready).step()
                elif all(run.done for run in runs):
                    break
                world.now += drawn.choice([0.1, 1.0, 5.0, 20.0])
            else:
                raise Wrong("hang", f"it has not ended after {PATIENCE} steps")
            (check if kind is Process else check_confirmed)(world)
    except BaseException:
        if trace:
            print("\n".join(world.lines))
        raise
    finally:
        for run in runs:
            if run.storage is not None:
                run.storage._buffer._changes.clear()  # type: ignore[attr-defined]
                run.storage.close()
        shutil.rmtree(folder, ignore_errors=True)


def counted_trials(world: World, name: str) -> list[FrozenTrial]:
    """The trials of a study that count, as plain Optuna reads them, held against what was announced."""
    rdb = optuna.storages.RDBStorage(world.url)
    trials = optuna.load_study(study_name=name, storage=rdb).trials
    rdb.remove_session()
    rdb.engine.dispose()
    for number, (state, value) in world.told.items():
        if (trials[number].state, trials[number].value) != (state, value) or trials[number].user_attrs.get(
            "interrupted"
        ):
            raise Wrong("lost", f"trial {number} was announced as {state.name} {value}, and is {trials[number]}")
    if [t.number for t in trials if not t.state.is_finished()]:
        raise Wrong("lost", "a trial runs or waits at the end")
    retried = [t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs]
    if len(set(retried)) != len(retried):
        raise Wrong("doubled", f"a trial was asked again twice: {retried}")
    return [t for t in trials if not t.user_attrs.get("interrupted")]


def check_confirmed(world: World) -> None:
    """Each repeat ended once, and was scored on test once."""
    counted = counted_trials(world, "simulated/confirmation")
    keys = [json.dumps([t.params, t.user_attrs["seed"]], sort_keys=True) for t in counted]
    if len(keys) != 4:
        raise Wrong("lost" if len(keys) < 4 else "doubled", f"{len(keys)} of 4 repeats count")
    if len(set(keys)) != len(keys):
        raise Wrong("doubled", f"a repeat was trained twice: {sorted(keys)}")
    if not all("test" in trial.user_attrs for trial in counted):
        raise Wrong("lost", "a repeat was not scored on test")


def check(world: World) -> None:
    """Hold the store of a search against its total, and against what was announced."""
    counted = counted_trials(world, "simulated")
    if len(counted) != world.total:
        kind = "lost" if len(counted) < world.total else "doubled"
        raise Wrong(kind, f"{len(counted)} of {world.total} trials count")
    configs = [json.dumps(trial.params, sort_keys=True) for trial in counted]
    if len(set(configs)) != len(configs):
        raise Wrong("repeated", f"a config was trained twice: {sorted(configs)}")
    if any(trial.state is TrialState.COMPLETE for trial in counted):
        with open_storage(world.url, create=False) as storage:
            record = find_record(storage, "simulated", world.folder)
            try:
                record.parameters(record.best())
            except MtlsearchError as error:
                raise Wrong("lost", str(error)) from error


def make_template(folder: Path) -> tuple[Path, Study, dict[str, Any]]:
    """An empty store, and a study with its description."""
    from commands import STUDY_FILE

    from mtlsearch import load_study
    from mtlsearch.study.describe import describe

    (folder / "mine.py").write_text(STUDY_FILE)
    study = load_study(str(folder / "mine.py"))
    info = {**describe(load_data(study, folder)), "population": POPULATION}
    with open_storage(f"sqlite:///{folder}/store.db", create=True) as storage:
        storage.delete_study(storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE]))
    return folder / "store.db", study, info


def simulate(first: int, schedules: int, trace: bool = False, stop: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Schedules of the seeds from `first` on until `stop` says so; how many there were, and what they broke."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        template, study, info = make_template(Path(name))
        for seed in range(first, first + schedules):
            found["schedules"] += 1
            try:
                schedule(seed, template, study, info, trace)
            except Wrong as wrong:
                found[wrong.kind] += 1
                print(f"seed {seed}: {wrong.kind}: {wrong}", flush=True)
            except Exception as error:
                if trace:
                    raise
                found["traceback"] += 1
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            if stop():
                break
    return found


def main() -> int:
    """Simulate as the command line says, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no schedule begins")
    parser.add_argument("--trace", action="store_true", help="print the steps of a schedule that fails")
    options = parser.parse_args()
    begun = time.monotonic()
    end = begun + options.budget
    found = simulate(options.first, options.schedules, options.trace, lambda: time.monotonic() > end)
    kinds = ", ".join(f"{kind}: {found[kind]}" for kind in ("lost", "doubled", "repeated", "traceback", "hang"))
    print(f"schedules: {found['schedules']} in {time.monotonic() - begun:.0f} s, {kinds}")
    return 1 if found.total() > found["schedules"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Workers beside each other: two processes here, and a simulation of up to 1,000 workers under one driver.

    python benchmarks/distributed.py simulate [--workers 1 10 100 1000] [--trials 100000] [--dry-run]
    python benchmarks/distributed.py processes [--rounds 3] [--dry-run]
    python benchmarks/distributed.py kills [--kills 30] [--dry-run]

`simulate`: asking, telling and storing are the real ones: the loop of `mtlsearch run` on the study digits with its
default sampler and pruner, and a SQLite store on disk that gets every epoch and the best trial's parameters. The
workers are fakes: each holds sixteen trials, whose ten epochs take six seconds each, give or take a tenth. Their time
is simulated: the clock runs while the driver works, and jumps to the next epoch's end while it waits. What the fakes
themselves compute is not counted. The pruner decides, and its decisions are not followed, so that every trial takes its
minute. The driver's time is its processor time, so that other programs count little.

`processes`: a study whose step is large enough for one core, with `--devices cpu` and `--devices cpu*2`, one thread
each, in turn.

`kills`: worker processes, and now and then the driver, are killed at random moments, each time after new scores have
come; the same command goes on. All trials must be there once, with each epoch.
"""

import argparse
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from threading import Event

import numpy as np
import optuna
import sqlalchemy as sa
import torch
from asks import unheeded
from common import conclude, interleaved, parser, rounded, spread, table
from fake_workers import EPOCH_S, EPOCHS, POPULATION, Clock, FakeWorkers, score_of
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from mtlsearch.store.database import rows
from mtlsearch.store.database.buffered import BufferedStorage
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import Record
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study
from mtlsearch.training.device import Conditions
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.remote.staff import Staff
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.choices import make_pruner, seeded_asks
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.session import Session


@dataclass
class Measured:
    """A simulated search."""

    workers: int
    trials: int
    rate: float  # trials a second while all workers are full, as the three that follow
    busy: float  # the share of the time in which the workers train
    load: float  # the driver's processor time by the time
    full_ms: float  # of the driver, per trial
    whole_ms: float  # the same of the whole search, with its start and its end
    rss: float


def add_history(record: Record, study: Study, trials: int) -> None:
    """Put so many complete trials of random configs into the store, as a run would have left them."""
    storage, random = record.storage, np.random.default_rng(1)
    assert isinstance(storage, BufferedStorage)
    drawn = RandomSampler(seed=1)
    space = study.search_space.distributions
    for begin in range(0, trials, 1000):
        changes: rows.Changes = {}
        heads = []
        with storage._engine.begin() as connection:
            for number in range(begin, min(begin + 1000, trials)):
                params = {name: drawn.sample_independent(record.study, None, name, d) for name, d in space.items()}
                score = score_of(study.search_space.config(params, record.info["default"]))
                scores = [score * (1 - 0.5**epoch) + 0.002 * random.normal() for epoch in range(1, EPOCHS + 1)]
                validation = {task: {"accuracy": max(scores)} for task in ("left", "right")}
                attrs = {"owner": {}, "task_weights": {"left": 0.5, "right": 0.5}, "validation": validation}
                attrs |= {
                    "best_epoch": EPOCHS - 1,
                    "epochs": EPOCHS,
                    "entry_epoch": 0,
                    "seconds": 60.0,
                    "trained_on": {},
                }
                trial = create_trial(
                    state=TrialState.COMPLETE,
                    value=max(scores),
                    params=params,
                    distributions=space,
                    user_attrs=attrs,
                    intermediate_values=dict(enumerate(scores)),
                )
                trial.number, trial._trial_id = number + 1, number + 2  # the default trial waits before them
                ids = {"study_id": record.study._study_id, "trial_id": trial._trial_id, "number": trial.number}
                heads.append({**ids, "state": trial.state})
                changes |= rows._content(trial)
            connection.execute(sa.insert(rows._TRIALS), heads)
            rows._write_rows(connection, changes)
        print(f"  {begin + 1000:,} trials of the history", file=sys.stderr, flush=True)
    record.refresh()


def simulated(workers: int, trials: int, sampler: str = "tpe", history: int = 0) -> Measured:
    """One search of so many trials, after a `history` of others."""
    study = replace(load_study("digits"), epochs=EPOCHS)
    training = Training(load_data(study, Path(), "cpu"))
    with tempfile.TemporaryDirectory(prefix="mtlsearch-distributed-") as folder:
        artifacts = Path(folder) / "artifacts"
        artifacts.mkdir()
        with open_storage(f"sqlite:///{folder}/store.db", create=True) as storage:
            info = {**describe(training.loaded), "population": POPULATION}
            record = open_record(storage, "digits", info, 0, artifacts)
            enqueue_default(record, study)
            if history:
                add_history(record, study, history)
            record.study.sampler = seeded_asks(sampler, 0)
            record.study.pruner = unheeded(make_pruner(RunOptions.pruner, EPOCHS))
            clock = Clock()
            transport = FakeWorkers(workers, clock)
            marks: list[tuple[float, float]] = []  # the driver's seconds and the clock's at each trial's end
            progress = Marking(marks, clock)
            make = TrainerMaker(training.loaded, POPULATION, trials, progress.notice)
            before = record.counted()
            clock.__init__()  # type: ignore[misc]
            with clock.told_to_the_driver(), Staff(transport, Event(), progress.notice) as staff:
                session = Session(record, training, make, progress, Conditions(torch.device("cpu"), 1), staff=staff)
                search(session, before + trials)
            assert record.counted() == before + trials
    # In the middle every worker is full: after all first trials have ended, and before there is none left to ask.
    places = workers * POPULATION
    first, last = (places, trials - places) if trials >= 3 * places else (1, trials)
    (driver_a, clock_a), (driver_b, clock_b) = marks[first - 1], marks[last - 1]
    full = max(1, last - first)
    return Measured(
        workers,
        trials,
        full / (clock_b - clock_a),
        full / (clock_b - clock_a) * EPOCHS * EPOCH_S / places,
        (driver_b - driver_a) / (clock_b - clock_a),
        1000 * (driver_b - driver_a) / full,
        1000 * marks[-1][0] / trials,
        peak_gib(),
    )


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Marking(Progress):
    """Notes when each trial ends."""

    def __init__(self, marks: list[tuple[float, float]], clock: Clock) -> None:
        super().__init__(quiet=True)
        self.marks, self.clock = marks, clock

    def ended(self, trial: optuna.trial.FrozenTrial) -> None:
        super().ended(trial)
        self.marks.append((self.clock.driver(), self.clock.now()))
        if len(self.marks) % 1000 == 0:
            driver, now = self.marks[-1]
            line = f"  {len(self.marks):,} trials, driver {driver:.1f} s of {now:.1f} s, {peak_gib():.2f} GiB"
            print(line, file=sys.stderr, flush=True)


def simulate(options: argparse.Namespace) -> str:
    """A row for each number of workers."""
    rows = []
    for workers in options.workers:
        trials = min(options.trials, max(options.rounds_of_trials * workers * POPULATION, 4 * POPULATION))
        found = simulated(workers, trials, options.sampler, options.history)
        print(f"{workers} workers: {found}", flush=True)
        rows.append(
            [
                f"{workers:,} workers, {trials:,} trials" + (f" after {options.history:,}" if options.history else ""),
                rounded(found.rate),
                f"{100 * found.busy:.1f}",
                rounded(100 * found.load),
                rounded(found.full_ms),
                rounded(found.whole_ms),
                rounded(found.rss),
            ]
        )
    head = ["", "trials/s", "busy %", "driver's load %", "driver ms a trial", "of the whole search", "peak GiB"]
    return table(head, rows) + "\n"


STEEP = """
import torch
from mtlsearch import Classification, Data, SharedTrunk, Study, real

def source(directory):
    x = torch.randn({rows} + 512, 256, generator=torch.Generator().manual_seed(0))
    labels = {{"a": (x[:, 0] > 0).long(), "b": (x[:, 1] > 0).long()}}
    parts = [(x[part], {{n: y[part] for n, y in labels.items()}}) for part in (slice(512, None), slice(0, 512))]
    return Data(*parts, validation=256)

study = Study(
    tasks=[Classification("a", source), Classification("b", source)],
    model=lambda config: SharedTrunk(256, {{"a": 2, "b": 2}}, hidden={hidden}),
    space={{"learning_rate": real(1e-4, 1e-1, log=True)}},
    default={{"learning_rate": 1e-2}},
    batch_size=256,
)
"""


def processes(options: argparse.Namespace) -> str:
    """One and two worker processes, of one thread each, in turn."""
    with tempfile.TemporaryDirectory(prefix="mtlsearch-distributed-") as name:
        folder = Path(name)
        quick = options.quick
        (folder / "steep.py").write_text(STEEP.format(rows=1024 if quick else 8192, hidden=16 if quick else 512))
        trials, epochs = (4, 1) if quick else (16, 4)
        stores = iter(range(1000))

        def run(devices: str) -> float:
            command = (
                f"{sys.executable} -m mtlsearch run {folder}/steep.py --trials {trials} --epochs {epochs} --threads 1"
                f" --population 1 --pruner none --no-confirm --quiet --devices {devices}"
                f" --storage sqlite:///{folder}/{next(stores)}.db"
            )
            begun = time.perf_counter()
            subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - begun

        found = interleaved({d: lambda d=d: run(d) for d in ("cpu", "cpu*2")}, 1 if quick else options.rounds)
    ratios = [one / two for one, two in zip(*found.values(), strict=True)]
    rows = [[f"--devices {devices}", spread(seconds)] for devices, seconds in found.items()]
    return table(["whole run", "seconds"], rows) + f"\n\nOne ÷ two, round by round: {spread(ratios)}.\n"


def kills(options: argparse.Namespace) -> str:
    """Workers, and now and then the driver, are killed at random moments until the search has its trials."""
    killed: Counter[str] = Counter()
    random = Random(0)
    with tempfile.TemporaryDirectory(prefix="mtlsearch-distributed-") as name:
        folder, due = Path(name), 1 if options.quick else options.kills
        (folder / "steep.py").write_text(STEEP.format(rows=1024, hidden=64))
        epochs = 5 if options.quick else 20
        total, scores = 8, 0
        while True:
            command = (
                f"{sys.executable} -m mtlsearch run {folder}/steep.py --trials {total} --epochs {epochs} --threads 1"
                f" --population 2 --pruner none --no-confirm --devices cpu*2 --storage sqlite:///{folder}/store.db"
            )
            driver = subprocess.Popen(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while driver.poll() is None:
                # Each kill costs something: scores have come since the last one.
                if scores_in(folder / "store.db") <= scores:
                    time.sleep(0.1)
                    continue
                time.sleep(random.uniform(0, 4) * options.slowness)
                if killed["driver"] + killed["worker"] >= due or driver.poll() is not None:
                    break
                workers = workers_of(driver.pid)
                if random.random() < 0.2:
                    driver.kill()
                    killed["driver"] += 1
                elif workers:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    killed["worker"] += 1
                scores = scores_in(folder / "store.db")
                print(dict(killed), f"{scores} scores", file=sys.stderr, flush=True)
            errors = driver.communicate()[1].strip().splitlines()
            if driver.returncode not in (0, 1, -signal.SIGKILL):
                raise AssertionError(errors)
            if driver.returncode == 1:
                killed["run that ended in one line"] += 1
                print(errors[-1], flush=True)
            if driver.returncode == 0:
                if killed["driver"] + killed["worker"] >= due:
                    break
                total += 8
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/store.db")
        trials = optuna.load_study(study_name="steep", storage=storage).trials
        storage.engine.dispose()
    counted = [trial for trial in trials if trial.state.is_finished() and not trial.user_attrs.get("interrupted")]
    again = len(trials) - len(counted)
    assert len(counted) == total, (len(counted), total)
    assert all(len(trial.intermediate_values) == epochs for trial in counted)
    assert not any(trial.state.name in ("RUNNING", "WAITING") for trial in trials)
    rows = [[what, count] for what, count in killed.items()]
    rows += [["trials due", total], ["trials counted", len(counted)], ["asked again with the same params", again]]
    return table(["", "count"], rows) + "\n"


def scores_in(store: Path) -> int:
    """How many scores a store has; 0 where it has no tables yet."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM trial_intermediate_values").fetchone()[0])
    return 0


def workers_of(driver: int) -> list[int]:
    """The processes of its workers; none where it has ended."""
    found = []
    with suppress(OSError):
        for child in Path(f"/proc/{driver}/task/{driver}/children").read_text().split():
            if b"remote.hosted" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


MODES = {"simulate": simulate, "processes": processes, "kills": kills}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("mode", choices=MODES, nargs="?", default="simulate")
    made.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    made.add_argument("--trials", type=int, default=100_000, help="of one simulated search, at most")
    made.add_argument("--rounds-of-trials", type=int, default=10, help="simulated trials for each place in a worker")
    made.add_argument("--history", type=int, default=0, help="finished trials that are in the store before")
    made.add_argument("--sampler", default="tpe")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--kills", type=int, default=30)
    made.add_argument("--slowness", type=float, default=1.0, help="of the machine: a factor of the time between kills")
    options = made.parse_args()
    if options.quick:
        options.workers, options.trials = [1, 2], 64
    titles = {
        "simulate": f"Simulated workers of {POPULATION} trials of a minute under one driver",
        "processes": "Two worker processes of one thread beside one",
        "kills": "Workers and drivers killed at random moments",
    }
    conclude(options, titles[options.mode], MODES[options.mode](options))


if __name__ == "__main__":
    main()

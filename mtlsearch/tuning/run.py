"""A run: choose what to search, open its record, search it, confirm the best.

`run_search` is `mtlsearch run` and `mtlsearch.search`; its four steps stand below it in their order.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from optuna.pruners import BasePruner

from mtlsearch.activity import doing, stoppable
from mtlsearch.errors import StudyError, WorkerError
from mtlsearch.evidence.answer import best_answer, outdated
from mtlsearch.evidence.trainings import found_verdict
from mtlsearch.kernels.available import works
from mtlsearch.limits import CORES
from mtlsearch.report.tracking.choosing import trackers as opened_trackers
from mtlsearch.report.tracking.tracker import Tracker
from mtlsearch.report.tracking.watching import Tracked
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.opening import Storage, open_storage
from mtlsearch.store.finding import open_record, recorded_info
from mtlsearch.store.record import Record
from mtlsearch.store.unbegun import removed_if_unbegun
from mtlsearch.study.describe import describe, fold_lines, input_lines, left_out_lines, weights_lines
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.score import PARETO
from mtlsearch.study.units.task_units import told
from mtlsearch.training.ahead import in_a_thread
from mtlsearch.training.device import (
    Conditions,
    fastest_threads,
    products,
    slow_choices,
    with_recorded,
)
from mtlsearch.training.first_step import take_first_step
from mtlsearch.training.population.cost import Bench, Plan, planned
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.remote.side_by_side import LEAST_SECONDS, with_workers
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.choices import make_pruner, make_sampler, seeded_asks
from mtlsearch.tuning.confirm import again_trainer, confirm
from mtlsearch.tuning.hiring import in_this_process, most_workers, ready_device, side_by_side, staffed
from mtlsearch.tuning.known.asked_first import enqueue, params_of_files
from mtlsearch.tuning.loop import enqueue_default, search
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress, Watcher
from mtlsearch.tuning.retrain import keep_whole
from mtlsearch.tuning.searches import check_repeatable, repeat_searches, told_beforehand
from mtlsearch.tuning.session import Session, show_in_dashboard
from mtlsearch.tuning.studies import load_with_fallback, recorded_name

Notice = Callable[[str], None]


def run_search(options: RunOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Search a study and confirm its best; the best trial's exported config. Raises Interrupted after a stop."""
    deadline = None if options.timeout is None else time.monotonic() + options.timeout
    chosen = choose(options, progress.notice)
    check_repeatable(options, chosen.loaded.study)
    trackers = opened_trackers(options.mlflow, options.tensorboard, chosen.name)
    with open_storage(options.storage, create=True) as storage:
        session = open_session(storage, options, chosen, progress, stop, deadline)
        if options.searches > 1 and session.record.counted() < options.trials:
            progress.notice(told_beforehand(options, session))
        with (
            tracking(session, trackers) as watcher,
            removed_if_unbegun([session.record]),
            staffed(session, options) as session,
            side_by_side(session, options) as begun,
        ):
            done = searched(begun, watcher, options, progress)
            keep_best_of_folds(done, options.trials)
            if options.confirm and done.record.counted() >= options.trials:
                make_again = makes_again(done, options, progress.notice)
                confirm_best(replace(done, make_trainer=make_again), options, progress)
                repeat_searches(done, options, make_again)
        return answer(session.record, options, progress.notice)


# Choose.


@dataclass(frozen=True)
class Chosen:
    """A run's study with its data, its name in the store, and how its trials are trained and ended early."""

    loaded: LoadedStudy
    name: str
    artifacts: Path
    pruner: BasePruner
    conditions: Conditions
    asked_first: Sequence[Mapping[str, Any]] = ()


def choose(options: RunOptions, notice: Notice) -> Chosen:
    """Make the device ready, load the study, and check every name, all before the store is touched."""
    with stoppable(), doing("getting the device ready"):
        conditions = ready_device(options, options.precision)
    for line in slow_choices(conditions, given=options.threads is not None):
        notice(line)
    if conditions.device.type == "cuda":
        in_a_thread(works, conditions.device)  # the first kernel takes a C compiler its time: load data meanwhile
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    loaded = load_with_fallback(options, conditions, artifacts, notice)
    for line in told(loaded.units, [*loaded.study.tasks, *loaded.study.terms]):
        notice(line)
    make_sampler(options.sampler, 0)
    several = loaded.study.scoring.kind == PARETO
    if several and len(loaded.scored) < 2:
        raise StudyError(f"score {PARETO} needs two tasks that can be scored, but the study has {len(loaded.scored)}")
    pruner = make_pruner(options.pruner, loaded.study.epochs, several=several)
    if options.artifacts is not None:  # a folder beside a SQLite store is checked with the store
        check_folder(artifacts)
    asked = params_of_files([Path(path) for path in options.asked_first], loaded.study)
    return Chosen(loaded, recorded_name(options, loaded.study), artifacts, pruner, conditions, asked)


# Open.


def open_session(
    storage: Storage,
    options: RunOptions,
    chosen: Chosen,
    progress: Progress,
    stop: Event,
    deadline: float | None,
) -> Session:
    """Open the study's record, made where there is none, with the sampler for the trials that are left."""
    loaded = as_begun(storage, options, chosen)
    plan, conditions = plan_of(storage, options, replace(chosen, loaded=loaded), progress.notice)
    measured = {"population": plan.population, "plan": plan.recorded(), "threads": conditions.threads}
    with doing("opening the study in the store"):
        info = {**describe(loaded), **measured}
        record = open_record(storage, chosen.name, info, options.seed, chosen.artifacts)
    conditions = with_recorded(conditions, options.threads, record.info)
    record.take_over()
    for line in fold_lines(loaded):
        progress.notice(line)
    if not record.trials() and not options.quiet:
        for line in input_lines(loaded):
            progress.notice(line)
    for line in [*left_out_lines(loaded), *weights_lines(chosen.loaded.study)]:
        progress.notice(line)
    enqueue_default(record, loaded.study)
    if new := enqueue(record, chosen.asked_first):
        progress.notice(f"asking {new} given config{'s' * (new > 1)} first")
    seed = int(record.info["seed"])
    record.study.sampler = seeded_asks(options.sampler, seed)
    record.study.pruner = chosen.pruner
    training = Training(loaded, seed, options.precision, stop=stop)
    members = options.population or int(record.info["population"])
    compiles = None if options.population else (record.info.get("plan") or {}).get("compiles")
    give_up = gives_up(record, progress.notice)
    make_trainer = TrainerMaker(
        loaded, members, options.trials, progress.notice, compiles=compiles, epoch=plan.epoch, give_up=give_up
    )
    return Session(record, training, make_trainer, progress, conditions, deadline)


def plan_of(storage: Storage, options: RunOptions, chosen: Chosen, notice: Notice) -> tuple[Plan, Conditions]:
    """The plan of a study and its CPU threads: what is asked for, else what its first run measured.

    A new study must take its first step. Raises ModelError where it cannot.
    """
    conditions, is_auto = chosen.conditions, options.threads is None and chosen.conditions.device.type == "cpu"
    if recorded_info(storage, chosen.name) is not None:
        return Plan(options.population or 1), conditions
    if is_auto:
        conditions = conditions.with_threads(fastest_threads(products()))
    training = Training(chosen.loaded, options.seed or 0, precision=options.precision)
    take_first_step(training)
    with stoppable(), doing("measuring whether trials train faster at once"):
        plan = Plan(options.population) if options.population else planned(training, options.trials)
    if is_auto and plan.population == 1 and plan.gain is not None:  # one trial's step may have little work for several
        conditions = conditions.with_threads(fastest_threads(Bench.first(training).one_step()))
    most = most_workers(options, conditions)
    if most > 1 and (options.timeout is None or options.timeout > LEAST_SECONDS):
        with stoppable(), doing("measuring whether workers train faster"):
            plan = with_workers(plan, training, options.trials, most)
    if told := plan.told():
        notice(told)
    if is_auto and conditions.threads < CORES and plan.workers == 1:
        notice(f"CPU threads: {conditions.threads} of {CORES}, measured to be fastest now; --threads overrides it")
    return plan, conditions


def gives_up(record: Record, notice: Notice) -> Notice:
    """What is done where a population is slow: it is told once, and the trials after these train one at a time."""

    def give_up(told: str) -> None:
        if int(record.info["population"]) == 1:  # the trainer of another fold or worker has told it
            return
        notice(f"{told}: the trials after these train one at a time")
        record.change(population=1)

    return give_up


def as_begun(storage: Storage, options: RunOptions, chosen: Chosen) -> LoadedStudy:
    """The study with its data, divided as it was where an earlier version has begun it."""
    found = recorded_info(storage, chosen.name)
    split = chosen.loaded.fingerprint()["split"]
    if found is None or "way" not in split or "way" in found.get("fingerprint", {}).get("split", {}):
        return chosen.loaded
    study = replace(chosen.loaded.study, division="first")
    return load_data(study, options.directory, chosen.conditions.device, chosen.loaded.units)


# Search.


def searched(session: Session, watcher: Watcher, options: RunOptions, progress: Progress) -> Session:
    """The session after its search; without the workers that the run had started by itself, where these were lost."""
    try:
        search_study(replace(session, watcher=watcher), options, progress)
    except WorkerError as error:
        if session.pace is None:
            raise
        progress.notice(f"{error}: from here on this process trains")
        session = in_this_process(session)
        search_study(replace(session, watcher=watcher), options, progress)
    return session


def search_study(session: Session, options: RunOptions, progress: Progress) -> None:
    """Search until the study has its trials, and tell where it goes on."""
    record, before = session.record, session.record.counted()
    if before >= options.trials:
        done = "" if options.searches > 1 else ", so nothing is left to do"
        progress.notice(
            f"study {record.name!r} already has {before} of {options.trials} trials; --trials is a total{done}"
        )
        return
    if before:
        progress.notice(f"study {record.name!r} goes on at trial {before} of {options.trials}")
    progress.begun(options.trials, before, session.study.epochs, record.best_or_none())
    search(session, options.trials)


def keep_best_of_folds(session: Session, trials: int) -> None:
    """Train the best trial of a search with folds on all of train, once the search has its trials."""
    record = session.record
    is_done = record.counted() >= trials and record.best_or_none() is not None
    if session.study.folds is not None and is_done and session.is_in_time():
        keep_whole(session, *best_answer(record, from_search=True))


@contextmanager
def tracking(session: Session, trackers: Sequence[Tracker]) -> Iterator[Watcher]:
    """A watcher of the search that tells the trackers too, and at the end the verdict."""
    if not trackers:
        yield session.watcher
        return
    tracked = Tracked(session.watcher, session.record, trackers)
    try:
        yield tracked
    finally:
        tracked.close(found_verdict(session.record))


# Confirm.


def makes_again(session: Session, options: RunOptions, notice: Notice) -> TrainerMaker:
    """Makes the trainers of a confirmation."""
    loaded = session.training.loaded
    searched = options.population or int(session.record.info["population"])
    at_once = options.population or repeat_population(loaded, searched)
    return again_trainer(loaded, at_once, options, notice, measures=options.population is None)


def confirm_best(session: Session, options: RunOptions, progress: Progress) -> None:
    """Train the best configs again; where that fails, the search has its answer all the same."""
    try:
        confirm(session, options, "; --no-confirm skips it")
    except StudyError as error:
        progress.notice(f"not confirmed: {error}")


def answer(record: Record, options: RunOptions, notice: Notice) -> dict[str, Any]:
    """The best config after a search, confirmed or not."""
    counted = record.counted()
    if counted < options.trials:
        notice(
            f"stopped after --timeout {options.timeout:g} s with {counted} of {options.trials} trials;"
            " the same command goes on"
        )
    show_in_dashboard(record)
    config = best_answer(record)[0]
    told = outdated(record, config)
    if told:
        notice(told)
    return config

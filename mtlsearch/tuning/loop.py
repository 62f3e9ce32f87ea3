"""The search: Optuna asks, a trainer trains, the store keeps; one loop that fits on a screen."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial

from mtlsearch.activity import doing
from mtlsearch.processes import clear_unfinished
from mtlsearch.store.artifacts import UNFINISHED
from mtlsearch.store.model_file import write_model
from mtlsearch.store.record import Record
from mtlsearch.store.states import FOLDER
from mtlsearch.store.trials import trial_epochs
from mtlsearch.study.results import EpochResult
from mtlsearch.study.study import Study
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.trainer import Trainer
from mtlsearch.tuning.choices import make_pruner, seeded_asks
from mtlsearch.tuning.interruption.keeper import Keeper
from mtlsearch.tuning.session import Session, TrainerMaker

WAIT_SECONDS = 1.0


def search(session: Session, total: int) -> None:
    """Search until `total` trials are counted, or until the session's deadline or the end of its budget.

    All reports of an epoch are stored before the first pruning decision, in the order of the trials' numbers,
    so that the same seed gives the same trials. A trial of the default config is what all others are compared with, so
    it is never pruned. If the search ends early, by `Interrupted` say, the trials in training wait for the next run,
    which goes on from their states (`interruption`), or asks them again.
    """
    record, watcher = session.record, session.watcher
    make = session.make_trainer
    trainer = (
        make.of_search(session.training) if isinstance(make, TrainerMaker) else search_trainer(make, session.training)
    )
    keeper = Keeper(record, session.training, session.conditions, watcher, trainer)
    default = session.study.search_space.params(session.study.default_config())
    for folder in (record.artifacts, record.artifacts / FOLDER):
        clear_unfinished(folder, UNFINISHED)
    try:
        keeper.resume()
        while session.is_in_time():
            with doing("adding trials"):
                while asked := keeper.ask(total, session.affords_a_trial):
                    keeper.seat(*asked)
                    watcher.asked(*asked)
            if not (record.running or keeper.queue):
                keeper.drop_ghosts()
                if not (keeper.resume() or _wait_for_others(session, total)):
                    return
                continue
            keeper.keep_if_due()
            results = barrier(record, trainer, keeper.living)
            for result in results:
                record.report(result)
                watcher.reported(result)
            for result in results:
                if result.number not in record.running:  # another process has just taken it over
                    trainer.drop(result.number)
                elif (state := _outcome(record, result, default)) and _end(record, trainer, result, state):
                    watcher.ended(record.trial(result.number))
        keeper.keep()
    finally:
        keeper.close()


def barrier(
    record: Record, trainer: Trainer, chosen: Callable[[list[EpochResult]], list[EpochResult]] = list
) -> list[EpochResult]:
    """Train an epoch and drop the trials that other processes took over; the `chosen` results by trial number."""
    results = sorted(chosen(trainer.advance()), key=lambda result: result.number)
    for number in record.refresh():
        trainer.drop(number)
    return [result for result in results if result.number in record.running]


def _outcome(record: Record, result: EpochResult, default: Mapping[str, Any]) -> TrialState | None:
    """The state in which a trial ends after this epoch, None where it goes on; the `default` params are not pruned."""
    if result.reason is not None:
        return TrialState.FAIL
    if result.finished:
        return TrialState.COMPLETE
    prunes = record.should_prune(result) and record.trial(result.number).params != default
    return TrialState.PRUNED if prunes else None


def _end(record: Record, trainer: Trainer, result: EpochResult, state: TrialState) -> bool:
    """Tell a trial's outcome and free its room; False where another process has just taken it over."""

    def save(path: Path, config: dict[str, Any]) -> None:
        write_model(path, trainer.state(result.number), config)

    record.note(result.number, trainer.conditions(result.number))
    told = record.tell(result, state, save)
    trainer.drop(result.number)
    return told


def _wait_for_others(session: Session, total: int) -> bool:
    """Wait a moment for trials that other processes train, or take over the dead's; False where none are left."""
    record = session.record
    record.refresh()
    others = record.trials(TrialState.RUNNING)
    if record.counted() >= total or not (others or session.affords_a_trial()):
        return False
    if not record.take_over():
        wait_a_moment(session, record)
    return True


def wait_a_moment(session: Session, record: Record) -> None:
    """Wait for trials of `record` that other processes train. Raises Interrupted after a stop."""
    session.watcher.waiting(len(record.trials(TrialState.RUNNING)))
    session.training.stop.wait(WAIT_SECONDS)
    session.training.check_stop()


def search_more(session: Session, trials: int, sampler: str, pruner: str, told: str) -> None:
    """Search a study that belongs to another one, until it has its `trials`; `told` names it to the watcher."""
    record, study, watcher = session.record, session.study, session.watcher
    record.take_over()
    enqueue_default(record, study)
    before = record.counted()
    if before >= trials or not session.affords_a_trial():
        return
    many = "at most " if session.budget is not None else ""
    watcher.notice(f"{told}: {many}{trials - before} trials")
    record.study.sampler = seeded_asks(sampler, session.training.seed)
    record.study.pruner = make_pruner(pruner, study.epochs)
    spent = trial_epochs(record.trials())
    watcher.begun(trials, before, study.epochs, record.best_or_none(), spent=spent, budget=session.budget)
    search(session, trials)


def enqueue_default(record: Record, study: Study) -> None:
    """Let the first trial be the study's default config, with equal task weights; of runs at once one enqueues it."""
    params = study.search_space.params(study.default_config())
    waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
    record.storage.create_unless(record.study._study_id, waiting, taken=bool)

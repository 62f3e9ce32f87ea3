"""The search: Optuna asks, a trainer trains, the store keeps; one loop that fits on a screen."""

from collections.abc import Container
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial

from mtlsearch.activity import doing
from mtlsearch.store.artifacts import clear_unfinished
from mtlsearch.store.model_file import write_model
from mtlsearch.store.record import Record
from mtlsearch.study.results import EpochResult
from mtlsearch.study.study import Study
from mtlsearch.training.trainer import Trainer
from mtlsearch.tuning.session import Session

WAIT_SECONDS = 1.0


def search(session: Session, total: int) -> None:
    """Search until `total` trials are counted, or until the session's deadline.

    All reports of an epoch are stored before the first pruning decision, in the order of the trials' numbers,
    so that the same seed gives the same trials. A trial of the default config is what all others are compared with, so
    it is never pruned. If the search ends early, by `Interrupted` say, the trials in
    training are left to be asked again.
    """
    record, watcher, space = session.record, session.watcher, session.study.search_space
    trainer = session.make_trainer(session.training)
    conditions = session.conditions.recorded()
    default = space.params(session.study.default_config())
    reference: set[int] = set()  # the numbers of trials of the default config, which are never pruned
    clear_unfinished(record.artifacts)
    try:
        record.take_over()
        while session.is_in_time():
            with doing("adding trials"):
                while trainer.room() and (asked := record.ask(space, total)):
                    trial, config = asked
                    record.enter(trial.number, trainer.add(trial.number, config), conditions)
                    watcher.asked(trial.number, config)
                    if trial.params == default:
                        reference.add(trial.number)
            if not record.running:
                if not _wait_for_others(session, total):
                    return
                continue
            results = barrier(record, trainer)
            for result in results:
                record.report(result)
                watcher.reported(result)
            for result in results:
                if result.number not in record.running:  # another process has just taken it over
                    trainer.drop(result.number)
                elif (state := _outcome(record, result, reference)) and _end(record, trainer, result, state):
                    watcher.ended(record.trial(result.number))
    finally:
        record.interrupt()


def barrier(record: Record, trainer: Trainer) -> list[EpochResult]:
    """Train an epoch and drop the trials that other processes took over; the results by trial number."""
    results = sorted(trainer.advance(), key=lambda result: result.number)
    for number in record.refresh():
        trainer.drop(number)
    return [result for result in results if result.number in record.running]


def _outcome(record: Record, result: EpochResult, reference: Container[int]) -> TrialState | None:
    """The state in which a trial ends after this epoch, None where it goes on; those of `reference` are not pruned."""
    if result.reason is not None:
        return TrialState.FAIL
    if result.finished:
        return TrialState.COMPLETE
    prunes = result.number not in reference and record.should_prune(result.number)
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
    if record.counted() >= total:
        return False
    if not record.take_over():
        wait_a_moment(session, record)
    return True


def wait_a_moment(session: Session, record: Record) -> None:
    """Wait for trials of `record` that other processes train. Raises Interrupted after a stop."""
    session.watcher.waiting(len(record.trials(TrialState.RUNNING)))
    session.training.stop.wait(WAIT_SECONDS)
    session.training.check_stop()


def enqueue_default(record: Record, study: Study) -> None:
    """Let the first trial be the study's default config, with equal task weights; of runs at once one enqueues it."""
    params = study.search_space.params(study.default_config())
    waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
    record.storage.create_unless(record.study._study_id, waiting, taken=bool)

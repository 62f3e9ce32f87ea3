"""The search: Optuna asks, a trainer trains, the store keeps; one loop that fits on a screen."""

import time
from pathlib import Path
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.model_file import save_model
from mtlsearch.store.record import Record
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.study.study import Study
from mtlsearch.training.trainer import Trainer, Training

WAIT_SECONDS = 1.0


class Watcher(Protocol):
    """Who is told how a search goes."""

    def asked(self, number: int, config: Config) -> None: ...

    def reported(self, result: EpochResult) -> None: ...

    def ended(self, trial: FrozenTrial) -> None: ...

    def waiting(self, others: int) -> None: ...


def search(
    record: Record,
    trainer: Trainer,
    training: Training,
    total: int,
    watcher: Watcher,
    trained_on: dict[str, Any],
    deadline: float | None = None,
) -> None:
    """Search until `total` trials are counted, or the monotonic clock passes `deadline`.

    All reports of an epoch are stored before the first pruning decision, in the order of the trials' numbers,
    so that the same seed gives the same trials. Whatever ends the search early, `Interrupted` included, leaves
    the trials in training to be asked again.
    """
    space = training.loaded.study.search_space
    try:
        record.take_over()
        while deadline is None or time.monotonic() < deadline:
            while trainer.room() and (asked := record.ask(space, total)):
                trial, config = asked
                record.enter(trial.number, trainer.add(trial.number, config), trained_on)
                watcher.asked(trial.number, config)
            if not record.running:
                if not _wait_for_others(record, training, watcher, total):
                    return
                continue
            results = barrier(record, trainer)
            for result in results:
                record.report(result)
                watcher.reported(result)
            for result in results:
                if result.number not in record.running:  # another process has just taken it over
                    trainer.drop(result.number)
                elif (state := _outcome(record, result)) and _end(record, trainer, result, state):
                    watcher.ended(record.trial(result.number))
    finally:
        record.interrupt()


def barrier(record: Record, trainer: Trainer) -> list[EpochResult]:
    """Train an epoch and take in what other processes did; the results by trial number."""
    results = sorted(trainer.advance(), key=lambda result: result.number)
    for number in record.refresh():
        trainer.drop(number)
    return [result for result in results if result.number in record.running]


def _outcome(record: Record, result: EpochResult) -> TrialState | None:
    """How a trial ends after this epoch, None where it goes on."""
    if result.reason is not None:
        return TrialState.FAIL
    if result.finished:
        return TrialState.COMPLETE
    return TrialState.PRUNED if record.should_prune(result.number) else None


def _end(record: Record, trainer: Trainer, result: EpochResult, state: TrialState) -> bool:
    """Tell a trial's outcome and free its room; False where another process has just taken it over."""

    def save(path: Path, config: dict[str, Any]) -> None:
        save_model(path, trainer.state(result.number), config)

    record.note(result.number, trainer.conditions(result.number))
    told = record.tell(result, state, save)
    trainer.drop(result.number)
    return told


def _wait_for_others(record: Record, training: Training, watcher: Watcher, total: int) -> bool:
    """Whether other processes still train trials of this total; waits a moment for them, takes over the dead's."""
    record.refresh()
    if record.counted() >= total:
        return False
    if not record.take_over():
        watcher.waiting(len(record.trials(TrialState.RUNNING)))
        training.stop.wait(WAIT_SECONDS)
        training.check_stop()
    return True


def enqueue_default(record: Record, study: Study) -> None:
    """Let the first trial be the study's default config, with equal task weights."""
    if not record.trials():
        record.study.enqueue_trial(study.search_space.params(study.default_config()))

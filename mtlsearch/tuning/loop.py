"""The search: Optuna asks, a trainer trains, the store keeps; one loop that fits on a screen."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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
from mtlsearch.training.device import Conditions
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.remote.worker import Recipe
from mtlsearch.training.trainer import Trainer
from mtlsearch.tuning.choices import make_pruner, seeded_asks
from mtlsearch.tuning.crews.crews import Crews, Ended, K
from mtlsearch.tuning.interruption.keeper import Asked, Keeper
from mtlsearch.tuning.progress import Watcher
from mtlsearch.tuning.session import Session, crews_of, recipe_of, share_of

WAIT_SECONDS = 1.0


def search(session: Session, total: int) -> None:
    """Search until `total` trials are counted, or until the session's deadline or the end of its budget.

    All reports of an epoch are stored before the first pruning decision, in the order of the trials' numbers,
    so that the same seed gives the same trials. A trial of the default config is what all others are compared with, so
    it is never pruned. If the search ends early, by `Interrupted` say, the trials in training wait for the next run,
    which goes on from their states (`interruption`), or asks them again.
    """
    record, watcher = session.record, session.watcher
    crews = _search_crews(session, total)
    default = session.study.search_space.params(session.study.default_config())
    for folder in (record.artifacts, record.artifacts / FOLDER):
        clear_unfinished(folder, UNFINISHED)

    def ask(keeper: Keeper, more: bool) -> Asked | None:
        return keeper.ask(total, lambda: more and session.affords_a_trial(), fills=session.budget is None)

    try:
        crews.resume()
        while (in_time := session.is_in_time()) or crews.are_under_way():
            if in_time:
                with doing("adding trials"):
                    add_trials(watcher, crews, ask)
            if not crews.is_training():
                if not (crews.resume() or _wait_for_others(session, total)):
                    return
                continue
            ended = barrier(record, crews)
            for result in sorted((r for _, results in ended for r in results), key=lambda result: result.number):
                record.report(result)
                watcher.reported(result)
            for keeper, results in ended:
                told: list[int] = []
                with crews.minding(keeper), record.telling(told):
                    for result in results:
                        if result.number not in record.running:  # another process has just taken it over
                            keeper.drop(result.number)
                        elif (state := _outcome(record, result, default)) and _end(record, keeper, result, state):
                            told.append(result.number)
                for number in told:
                    watcher.ended(record.trial(number))
        crews.keep()
    finally:
        crews.close()


def _search_crews(session: Session, total: int) -> Crews[Keeper]:
    """The crews of a search; few trials are shared out over many workers."""
    record, training, make = session.record, session.training, session.make_trainer

    def trainer() -> Trainer:
        return make.of_search(training) if isinstance(make, TrainerMaker) else search_trainer(make, training)

    def keeper(conditions: Conditions, trainer: Trainer, crew: int | None) -> Keeper:
        return Keeper(record, training, conditions, session.watcher, trainer, crew)

    def recipe() -> Recipe:
        made = recipe_of(make)
        if session.pace is not None:  # as many in training as in one process
            made = replace(made, population=share_of(session, made.population), each=session.pace.each)
        return replace(made, population=min(made.population, share_of(session, total)))

    return crews_of(session, record, trainer, recipe, keeper)


def add_trials(watcher: Watcher, crews: Crews[K], ask: Callable[[K, bool], Asked | None]) -> None:
    """Fill the room of the crews that rest, and begin their epochs.

    `ask(keeper, more)` gives the next trial; where there was none for one crew, there is `more` for no other.
    """
    more = True
    for keeper in crews.resting():
        while asked := ask(keeper, more):
            keeper.seat(*asked)
            watcher.asked(*asked)
        more = more and keeper.trainer.room() <= 0
        crews.begin(keeper)


def barrier(record: Record, crews: Crews[K]) -> Ended[K]:
    """Wait for the end of an epoch; each crew's results by trial number, none where a worker came or went instead.

    Trials that other processes took over are dropped.
    """
    found = crews.first()
    ended = [(keeper, sorted(keeper.living(results), key=lambda result: result.number)) for keeper, results in found]
    for number in crews.refresh() if found else ():
        crews.drop(number)
    return [(keeper, [result for result in results if result.number in record.running]) for keeper, results in ended]


def _outcome(record: Record, result: EpochResult, default: Mapping[str, Any]) -> TrialState | None:
    """The state in which a trial ends after this epoch, None where it goes on; the `default` params are not pruned."""
    if result.reason is not None:
        return TrialState.FAIL
    if result.finished:
        return TrialState.COMPLETE
    prunes = record.should_prune(result) and record.trial(result.number).params != default
    return TrialState.PRUNED if prunes else None


def _end(record: Record, keeper: Keeper, result: EpochResult, state: TrialState) -> bool:
    """Tell a trial's outcome and free its room; False where another process has just taken it over."""
    trainer = keeper.trainer

    def save(path: Path, config: dict[str, Any]) -> None:
        write_model(path, trainer.state(result.number), config)

    record.note(result.number, trainer.conditions(result.number))
    told = record.tell(result, state, save)
    keeper.drop(result.number)
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

"""Training the repeats of a confirmation, each once, and scoring each on test."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from mtlsearch.activity import doing
from mtlsearch.evidence.trainings import Confirmation, Repeat, ended
from mtlsearch.processes import clear_unfinished
from mtlsearch.store.artifacts import UNFINISHED
from mtlsearch.store.model_file import write_model
from mtlsearch.study.results import EpochResult
from mtlsearch.training.batches import steps_per_epoch
from mtlsearch.training.device import Conditions
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.solo import evaluate_state
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.confirming.divisions import Divisions
from mtlsearch.tuning.crews.crews import Crews
from mtlsearch.tuning.interruption.keeper import Asked
from mtlsearch.tuning.interruption.repeats import RepeatKeeper, plan_key
from mtlsearch.tuning.loop import add_trials, barrier, wait_a_moment
from mtlsearch.tuning.session import Session, crews_of, recipe_of, share_of
from mtlsearch.wording import described


def train_all(session: Session, book: Confirmation, repeats: Sequence[Repeat], divisions: Divisions) -> bool:
    """Train the repeats that have not ended, those of one division and one group together; False at the deadline."""
    by_data: dict[tuple[int | None, tuple[str, ...] | None], list[Repeat]] = {}
    for repeat in repeats:
        by_data.setdefault((repeat.division, repeat.only), []).append(repeat)
    for own in by_data.values():
        if _all_ended(book, own):
            continue
        training = replace(session.training, loaded=divisions.of(own[0]))
        if not train_repeats(replace(session, training=training), book, own):
            return False
    return True


MOST_ROWS = 1 << 25  # of the batches of an epoch, of all seeds: a table of 256 MiB


def train_repeats(session: Session, book: Confirmation, repeats: Sequence[Repeat]) -> bool:
    """Train the repeats that have not ended; False where the deadline came first. Raises Interrupted.

    Those that an interrupted run had in training go on from their states, where it kept them.
    """
    if _all_ended(book, repeats):
        return True
    watcher = session.watcher
    clear_unfinished(book.artifacts, UNFINISHED)
    training = together(session.training, repeats, share_of(session, len(repeats)))
    crews = _crews(replace(session, training=training), book, repeats)

    def ask(keeper: RepeatKeeper, more: bool) -> Asked | None:
        return keeper.next(session.study) if more else keeper.queued()

    try:
        crews.resume()
        while (in_time := session.is_in_time()) or crews.are_under_way():
            if in_time:
                add_trials(watcher, crews, ask)
            if not crews.is_training():
                if not (crews.resume() or _others_train(session, book, repeats)):
                    return True
                continue
            for keeper, results in barrier(book, crews):
                with crews.minding(keeper):
                    for result in results:
                        book.report(result)
                        watcher.reported(result)
                        if result.number not in book.running:  # another process has just taken it over
                            keeper.drop(result.number)
                        elif result.finished:
                            told = _end(book, keeper, training, result, keeper.repeat_of(result.number))
                            watcher.confirmed(result.number, told)
        crews.keep()
        return _all_ended(book, repeats)
    finally:
        crews.close()


def _crews(session: Session, book: Confirmation, repeats: Sequence[Repeat]) -> Crews[RepeatKeeper]:
    """The crews of repeats; how each trains is measured once, and recorded with them."""
    training, make = session.training, session.make_trainer
    plan = plan_of(make, book, training, repeats) if isinstance(make, TrainerMaker) else None

    def trainer() -> Trainer:
        return make.again(training, plan) if isinstance(make, TrainerMaker) and plan is not None else make(training)

    def keeper(conditions: Conditions, trainer: Trainer, crew: int | None) -> RepeatKeeper:
        return RepeatKeeper(book, training, conditions, session.watcher, trainer, repeats, crew)

    share = share_of(session, len(repeats))
    own = None if plan is None else replace(plan, population=min(plan.population, share))
    return crews_of(session, book, trainer, lambda: recipe_of(make, own), keeper)


def together(training: Training, repeats: Sequence[Repeat], most: int) -> Training:
    """The training of repeats, with lanes that hold as many of them as can be, `most` of them in one trainer.

    On a CPU a lane holds any seeds, each with batches of its own. Elsewhere, and where batches are read or so many that
    a table of each seed's takes much memory, it holds those of one seed, which share its batches: more slots would stay
    empty.
    """
    loaded, seeds = training.loaded, {repeat.seed for repeat in repeats}
    rows = len(seeds) * steps_per_epoch(loaded) * loaded.study.batch_size * len(loaded.splits)
    if loaded.device.type == "cpu" and not loaded.reads and rows <= MOST_ROWS:
        return replace(training, slots=most, mixes_seeds=True)
    return replace(training, slots=min(most, max(Counter(repeat.seed for repeat in repeats).values())))


def plan_of(make: TrainerMaker, book: Confirmation, training: Training, repeats: Sequence[Repeat]) -> Plan:
    """How repeats are trained: it is measured once, and recorded with them."""
    whose, plans = plan_key(repeats), book.study.user_attrs.get("plans", {})
    plan = Plan(**plans[whose]) if whose in plans else make.plan_of(training, [repeat.config for repeat in repeats])
    if whose not in plans:
        book.study.set_user_attr("plans", {**plans, whose: plan.recorded()})
    return plan


def _all_ended(book: Confirmation, repeats: Sequence[Repeat]) -> bool:
    book.storage.refresh(book.study._study_id)
    found = ended(book)
    return all(repeat.key in found for repeat in repeats)


def _others_train(session: Session, book: Confirmation, repeats: Sequence[Repeat]) -> bool:
    """Wait a moment for other processes, or take over what the dead left; False where all repeats have ended."""
    if _all_ended(book, repeats):
        return False
    if not book.take_over() and not book.left(repeats):
        wait_a_moment(session, book)
    return True


def _end(book: Confirmation, keeper: RepeatKeeper, training: Training, result: EpochResult, repeat: Repeat) -> str:
    """Score a member on test, once, and store how it ended; a line that says so."""
    number, told, trainer = result.number, result.reason, keeper.trainer
    if result.reason is None and not repeat.scores_test:
        told = f"validation {described(result.best_validation)}"
    elif result.reason is None:
        state = trainer.state(number)
        with doing("scoring on test"):
            test = evaluate_state(training.loaded, repeat.config, state, "test", training.precision)
        with book.losing(number):
            book.scored(number, test)
        told = f"test {described(test)}"

    def save(path: Path, config: dict[str, Any]) -> None:
        of = {"name": book.study.user_attrs["of"]}
        write_model(path, trainer.state(number), {**config, "study": {**config["study"], **of}})

    if number in book.running:
        book.note(number, trainer.conditions(number))
        book.tell(result, TrialState.COMPLETE if result.reason is None else TrialState.FAIL, save)
    keeper.drop(number)
    divided = "" if repeat.division is None else " on a new division"
    return f"{repeat}, seed {repeat.seed}{divided}: {told}"

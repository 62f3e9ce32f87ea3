"""Confirmation: the best configs and other arms, trained again with fresh seeds.

`confirm_command` is `mtlsearch confirm`; `confirm` is its work, also at the end of a run: it plans, tells the cost,
searches each scored task alone (`single_task`), trains what has not ended yet (`repeats`), and stores the verdict.
The winner is chosen on validation; each training is scored on test once, at its best epoch. Plan, cost and conclusion
are modules of `confirming`; `evidence.answer` says what is trained and what follows from it.
"""

from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import Any

from mtlsearch.evidence.answer import best_answer
from mtlsearch.evidence.trainings import ended, open_confirmation
from mtlsearch.store.artifacts import artifacts_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.definition import check_same
from mtlsearch.store.finding import find_record
from mtlsearch.store.model_file import study_of
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.training.device import with_recorded
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.confirming.conclusion import conclude
from mtlsearch.tuning.confirming.cost import repeats_told, tell_cost, tell_left
from mtlsearch.tuning.confirming.divisions import new_divisions
from mtlsearch.tuning.confirming.plans import asked_for, configs_of, make_plans
from mtlsearch.tuning.hiring import ready_device, staffed
from mtlsearch.tuning.interruption.repeats import abandon
from mtlsearch.tuning.known.varied import variant_name, varied
from mtlsearch.tuning.options.groups import AgainOptions
from mtlsearch.tuning.options.training import ConfirmOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.repeats import train_all
from mtlsearch.tuning.retrain import keep_whole
from mtlsearch.tuning.session import Session, show_in_dashboard
from mtlsearch.tuning.single_task import alone, own_searches, search_alone
from mtlsearch.tuning.studies import as_recorded, recorded_units


def confirm_command(options: ConfirmOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Confirm a study of the store; its best config. Raises Interrupted after a stop."""
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    with open_storage(options.storage, create=False) as storage:  # a missing store is not made
        found = find_record(storage, options.wanted, artifacts)
        name, info = found.name, found.info
    if options.wanted is None:
        progress.notice(f"study {name}")
    path = options.study if options.study and options.study.endswith(".py") else None
    conditions = ready_device(options, options.precision)
    conditions = with_recorded(conditions, options.threads, info)
    study = as_recorded(study_of({"study": info}, options.study_path or path), info)
    loaded = load_data(study, options.directory, conditions.device, recorded_units(info))
    check_same(name, info, describe(loaded), None)
    variant, changed = "", info
    if options.settings:
        study, _ = varied(study, options.settings)
        loaded = load_data(study, options.directory, conditions.device, recorded_units(info))
        variant, changed = variant_name(options.settings), {**info, **describe(loaded)}
        if options.single is None:  # the question is whether the weights beat their twin
            options = replace(options, single=False)
    training = Training(loaded, int(info["seed"]), options.precision, stop=stop)
    at_once = repeat_population(loaded, int(info["population"]))
    make_trainer = again_trainer(loaded, at_once, options, progress.notice)
    with open_storage(options.storage, create=True) as storage:
        record = find_record(storage, name, artifacts)
        record.best()  # without a complete trial there is nothing to confirm
        record.info, record.variant = changed, variant
        with staffed(Session(record, training, make_trainer, progress, conditions), options) as session:
            confirm(session, options)
        if not variant:
            show_in_dashboard(record)
        return best_answer(record)[0]


def again_trainer(
    loaded: LoadedStudy, at_once: int, options: AgainOptions, notice: Callable[[str], None], *, measures: bool = True
) -> TrainerMaker:
    """Makes the trainers of a confirmation; a new division has one of its own, which trains few."""
    many = options.trainings // options.seeds if new_divisions(loaded, options) else options.trainings
    return TrainerMaker(loaded, at_once, many, notice, measures=measures)


def confirm(session: Session, options: AgainOptions, hint: str = "") -> bool:
    """Confirm the best configs of a study; False where the session's deadline came first.

    Raises StudyError where every seed of every config failed, Interrupted after a stop; the same call goes on.
    """
    record, training = session.record, session.training
    if not configs_of(record, options):
        return False
    confirmation = open_confirmation(record)
    confirmation.take_over()
    singles = alone(training.loaded, options.single, session.watcher)
    plan, divisions = make_plans(session, options, list(singles))
    searches = own_searches(session, singles, options)
    tell_cost(session, confirmation, plan, searches, hint, asked_for(options))
    if not train_all(session, confirmation, plan.shared(), divisions):
        return False
    winner = plan.winner(ended(confirmation))
    if not train_all(session, confirmation, plan.arms(winner), divisions):
        return False
    plan = replace(plan, own=search_alone(searches, record.counted()))
    tell_left(session, confirmation, plan, winner)
    for task in singles:
        if not train_all(session, confirmation, [r for each in plan.alone(winner, task) for r in each], divisions):
            return False
    abandon(confirmation)
    conclude(session, confirmation, plan, searches, asked_for(options))
    keep_whole(session, *best_answer(record))
    scorings = confirmation.test_scorings()
    session.watcher.notice(f"confirmed {repeats_told(plan)}; the test split was scored {scorings} times")
    return True

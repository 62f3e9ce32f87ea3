"""Confirmation: the best configs, their twins and single tasks, trained again with fresh seeds.

`confirm_command` is `mtlsearch confirm`; `confirm` is its work, also at the end of a run: it plans, tells the cost,
trains what has not ended yet (`repeats`), and stores the verdict. The winner is chosen on validation; each training
is scored on test once, at its best epoch. `evidence.answer` says what is trained and what follows from it.
"""

from dataclasses import replace
from threading import Event
from typing import Any

import torch

from mtlsearch.errors import ModelError
from mtlsearch.evidence.answer import (
    Plan,
    best_answer,
    candidates,
    conclusion,
    expected_seconds,
    task_metrics,
)
from mtlsearch.evidence.trainings import Confirmation, ended, open_confirmation
from mtlsearch.store.artifacts import artifacts_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.definition import check_same
from mtlsearch.store.model_file import study_of
from mtlsearch.store.record import Record, find_record
from mtlsearch.study.describe import describe
from mtlsearch.study.study import LoadedStudy
from mtlsearch.training.device import use_device, with_recorded
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.options import AgainOptions, ConfirmOptions
from mtlsearch.tuning.progress import Progress, Watcher
from mtlsearch.tuning.repeats import train_repeats
from mtlsearch.tuning.session import Session, TrainerMaker, show_in_dashboard
from mtlsearch.tuning.studies import as_recorded
from mtlsearch.wording import duration

MOST_SINGLES = 8


def confirm_command(options: ConfirmOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Confirm a study of the store; its best config. Raises Interrupted after a stop."""
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    with open_storage(options.storage, create=False) as storage:  # a missing store is not made
        found = find_record(storage, options.wanted, artifacts)
        name, info = found.name, found.info
    if options.wanted is None:
        progress.notice(f"study {name}")
    path = options.study if options.study and options.study.endswith(".py") else None
    conditions = use_device(options.device, options.threads, options.precision)
    conditions = with_recorded(conditions, options.threads, info)
    study = as_recorded(study_of({"study": info}, options.study_path or path), info)
    loaded = study.load(options.directory, conditions.device)
    check_same(name, info, describe(loaded), None)
    training = Training(loaded, int(info["seed"]), options.precision, stop=stop)
    at_once = repeat_population(loaded, int(info["population"]))
    make_trainer = TrainerMaker(loaded, at_once, options.trainings, progress.notice)
    with open_storage(options.storage, create=True) as storage:
        record = find_record(storage, name, artifacts)
        record.best()  # without a complete trial there is nothing to confirm
        confirm(Session(record, training, make_trainer, progress, conditions), options)
        show_in_dashboard(record)
        return best_answer(record)[0]


def confirm(session: Session, options: AgainOptions, hint: str = "") -> bool:
    """Confirm the best configs of a study; False where the session's deadline came first.

    Raises StudyError where every seed of every config failed, Interrupted after a stop; the same call goes on.
    """
    record, training = session.record, session.training
    if not candidates(record, options.top):
        return False
    confirmation = open_confirmation(record)
    confirmation.take_over()
    singles = alone(training.loaded, options.single, session.watcher)
    plan = make_plan(record, options.top, options.seeds, bool(singles))
    tell_cost(session, confirmation, plan, hint)
    if not train_repeats(session, confirmation, plan.shared()):
        return False
    winner = plan.winner(ended(confirmation))
    for task, single in singles.items():
        by_itself = replace(session, training=replace(training, loaded=single))
        if not train_repeats(by_itself, confirmation, plan.alone(winner, task)):
            return False
    conclude(record, confirmation, plan, training.loaded)
    scorings = confirmation.test_scorings()
    session.watcher.notice(f"confirmed with {len(plan.seeds)} seeds; the test split was scored {scorings} times")
    return True


def make_plan(record: Record, top: int, seeds: int, single: bool) -> Plan:
    """The plan for the `top` configs of the study as it stands, with `seeds` that the search has not used."""
    return Plan(candidates(record, top), fresh_seeds(int(record.info["seed"]), seeds), single)


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that follow from the study's, and are not that."""
    fresh = dict.fromkeys(derived_seed(seed, "confirm", i) for i in range(count + 8))
    fresh.pop(seed, None)
    return list(fresh)[:count]


def alone(loaded: LoadedStudy, single: bool | None, watcher: Watcher) -> dict[str, LoadedStudy]:
    """The study of each task in the score by itself; none of one task or many, or where the model needs all at once."""
    tasks = loaded.scored
    if len(tasks) == 1 or single is False or (single is None and len(tasks) > MOST_SINGLES):
        return {}
    try:
        return {task: loaded.only(task) for task in tasks}
    except ModelError as error:
        watcher.notice(f"no single-task training: {error}")
        return {}


def tell_cost(session: Session, confirmation: Confirmation, plan: Plan, hint: str) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    study, repeats = session.study, plan.shared()
    if plan.single:
        # Until the winner is known, single tasks are counted for the first config; they cost the same.
        found = ended(confirmation)
        known = all(repeat.key in found for repeat in repeats)
        winner = plan.winner(found) if known else next(iter(plan.configs))
        repeats += [repeat for task in session.training.loaded.scored for repeat in plan.alone(winner, task)]
    left = confirmation.left(repeats)
    before = len(repeats) - len(left)
    session.watcher.begun(len(repeats), before, study.epochs)
    if not left:
        return
    epochs = len(left) * study.epochs
    seconds = expected_seconds(session.record, epochs)
    time_told = "" if seconds is None else f", about {duration(seconds)}"
    many = len(plan.configs)
    configs = f"best {many} configs with their twins" if many > 1 else "best config with its twin"
    singles = f" and {len(session.training.loaded.scored)} single tasks" if plan.single else ""
    done = f" ({before} are done)" if before else ""
    session.watcher.notice(
        f"confirming the {configs} of equal weights{singles},"
        f" {len(plan.seeds)} seeds each: {len(left)} trainings{done}, up to {epochs:,} trial-epochs{time_told}{hint}"
    )


def conclude(record: Record, confirmation: Confirmation, plan: Plan, loaded: LoadedStudy) -> None:
    """Store the verdict on trainings that have all ended."""
    found = ended(confirmation)
    metrics = task_metrics(record, test_examples(loaded))
    verdict = plan.judge(found, metrics, loaded.study.score)
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    confirmation.study.set_user_attr("conclusion", concluded)


def test_examples(loaded: LoadedStudy) -> dict[str, int]:
    """The number of labels that each task has in the test split."""
    labels = {task: splits.test.labels[task] for splits in loaded.splits for task in splits.tasks}
    return {task: _labels(labels[task]) for task in loaded.study.task_names}


def _labels(labels: torch.Tensor) -> int:
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    return int((~missing).sum())

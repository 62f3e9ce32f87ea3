"""Confirmation: the best configs and other arms, trained again with fresh seeds.

`confirm_command` is `mtlsearch confirm`; `confirm` is its work, also at the end of a run: it plans, tells the cost,
searches each scored task alone, trains what has not ended yet (`repeats`), and stores the verdict. The winner is
chosen on validation; each training is scored on test once, at its best epoch. `evidence.answer` says what is trained
and what follows from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import torch

from mtlsearch.errors import DataError, ModelError, StoreError
from mtlsearch.evidence.answer import (
    Plan,
    best_answer,
    candidates,
    conclusion,
    dropped,
    expected_seconds,
    task_metrics,
)
from mtlsearch.evidence.effects import Blame
from mtlsearch.evidence.questions.asking import numbered
from mtlsearch.evidence.trainings import Confirmation, Repeat, ended, open_alone, open_confirmation
from mtlsearch.evidence.verdict import Verdict
from mtlsearch.store.artifacts import artifacts_folder
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.definition import check_same
from mtlsearch.store.finding import find_record
from mtlsearch.store.model_file import read_model, study_of
from mtlsearch.store.record import Record
from mtlsearch.store.trials import best_of, trial_epochs
from mtlsearch.study.describe import describe
from mtlsearch.study.divisions import overlaps
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.device import with_recorded
from mtlsearch.training.gradient_shares import gradient_shares
from mtlsearch.training.population.layout import repeat_population
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.hiring import ready_device, staffed
from mtlsearch.tuning.interruption.repeats import abandon
from mtlsearch.tuning.known.varied import variant_name, varied
from mtlsearch.tuning.loop import search_more
from mtlsearch.tuning.options.groups import AgainOptions, AskOptions
from mtlsearch.tuning.options.training import ConfirmOptions
from mtlsearch.tuning.progress import Progress, Watcher
from mtlsearch.tuning.repeats import Divisions, division_lines, new_divisions, train_all
from mtlsearch.tuning.retrain import keep_whole
from mtlsearch.tuning.session import Session, makes_searches, show_in_dashboard
from mtlsearch.tuning.studies import as_recorded, recorded_units
from mtlsearch.wording import duration, listed

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


def make_plans(session: Session, options: AgainOptions, scored: Sequence[str]) -> tuple[Plan, Divisions]:
    """The plan, and the data in the divisions that it needs.

    Raises DataError where a task cannot be scored in a new division that was asked for.
    """
    record, loaded = session.record, session.training.loaded
    plan = make_plan(record, loaded, options, scored, new_divisions(loaded, options))
    try:
        return plan, Divisions(loaded, plan.divisions)
    except DataError as error:
        if options.resplit is not None:
            raise
        session.watcher.notice(f"no new divisions of the data: {error}")
    plan = make_plan(record, loaded, options, scored)
    return plan, Divisions(loaded, plan.divisions)


def make_plan(
    record: Record, loaded: LoadedStudy, options: AgainOptions, scored: Sequence[str], divisions: int = 0
) -> Plan:
    """The plan for the best configs of the study as it stands, with seeds that the search has not used.

    `scored` are the tasks that are trained alone too; `divisions` is the number of new divisions of the data, 0 to
    train with `options.seeds` seeds on the study's own.
    """
    seeds = fresh_seeds(int(record.info["seed"]), divisions or options.seeds)
    return Plan(
        configs_of(record, options),
        seeds,
        scored,
        loaded.study.auxiliary_tasks,
        {name: loaded.units.get(name, 1.0) for name in loaded.study.weighted},
        dropped=dropped(record) if scored else {},
        terms=[term.name for term in loaded.study.terms],
        divisions=[derived_seed(seed, "division") for seed in seeds] if divisions else (),
    )


def configs_of(record: Record, options: AgainOptions) -> dict[int, Config]:
    """The configs to confirm by the number of their trial: the one that is asked for, else the best ones."""
    asked = asked_for(options)
    if asked is None:
        found = candidates(record, options.top)
    else:
        found = {asked: trial_config(record.info, numbered(record, asked))}
    settings = options.settings if isinstance(options, ConfirmOptions) else None
    if not settings:
        return found
    own = {name: record.info["default"][name] for name in settings if name in record.info["default"]}
    return {n: replace(config, hyperparameters={**config.hyperparameters, **own}) for n, config in found.items()}


def asked_for(options: AgainOptions) -> int | None:
    """The number of the trial that is asked for."""
    return options.trial if isinstance(options, ConfirmOptions) else None


def repeats_told(plan: Plan) -> str:
    """`with 5 seeds`, or `on 5 new divisions`."""
    return f"on {len(plan.divisions)} new divisions" if plan.divisions else f"with {len(plan.seeds)} seeds"


def fresh_seeds(seed: int, count: int) -> list[int]:
    """Seeds that follow from the study's, and are not that."""
    fresh = dict.fromkeys(derived_seed(seed, "confirm", i) for i in range(count + 8))
    fresh.pop(seed, None)
    return list(fresh)[:count]


def alone(loaded: LoadedStudy, single: bool | None, watcher: Watcher) -> dict[str, LoadedStudy]:
    """Each scored task's study by itself; none where there is one, or many, or the model needs all at once.

    Nor are there any beside terms, without which the model is another, nor of an evaluation, which has no loss.
    """
    study = loaded.study
    tasks = [task for task in study.scored_tasks if task in loaded.scored]
    if study.terms or study.evaluations or len(study.tasks) == 1:
        return {}
    if single is False or (single is None and len(tasks) > MOST_SINGLES):
        return {}
    try:
        return {task: loaded.only(task) for task in tasks}
    except ModelError as error:
        watcher.notice(f"no single-task training: {error}")
        return {}


def own_searches(session: Session, singles: Mapping[str, LoadedStudy], options: AgainOptions) -> dict[str, Session]:
    """A search of its own for each task alone, over the other hyperparameters; none where there are none to search.

    All together take at most the trial-epochs of the shared search, and each at most as many trials.
    """
    record, trials = session.record, session.record.counted()
    if all(dimension.single() for dimension in session.study.space.values()):
        return {}
    asks = options if isinstance(options, AskOptions) else AskOptions
    searched = {"sampler": asks.sampler, "pruner": asks.pruner}
    made: dict[str, Session] = {}
    for task, single in singles.items():
        made[task] = replace(
            session,
            record=open_alone(record, task, single.fingerprint(), searched),
            training=replace(session.training, loaded=single),
            make_trainer=makes_searches(session, single, trials),
            budget=trial_epochs(record.trials()) // len(singles),
        )
    return made


def search_alone(searches: Mapping[str, Session], trials: int) -> dict[str, dict[int, Config]]:
    """The best config of each task's own search, by the number of its trial; what is left of the search is done."""
    found: dict[str, dict[int, Config]] = {}
    for task, session in searches.items():
        about = session.record.study.user_attrs
        told = f"searching {task} alone, in at most {session.budget:,} trial-epochs"
        search_more(session, trials, about["sampler"], about["pruner"], told)
        best = session.record.best_or_none()
        found[task] = {} if best is None else {best.number: trial_config(session.record.info, best)}
    return found


def tell_cost(
    session: Session,
    confirmation: Confirmation,
    plan: Plan,
    searches: Mapping[str, Session],
    hint: str,
    asked: int | None = None,
) -> None:
    """Say beforehand what is to be trained, in trial-epochs and expected time."""
    study, found, repeats = session.study, ended(confirmation), plan.shared()
    # Until the winner is known, more arms are counted for the first config; they cost the same. So do the configs of
    # searches that are still to come.
    known = all(repeat.key in found for repeat in repeats)
    winner = plan.winner(found) if known else next(iter(plan.configs))
    repeats += _more(plan, winner)
    left = confirmation.left(repeats)
    to_come = sum(len(plan.seeds) for each in searches.values() if each.affords_a_trial())
    before = len(repeats) - len(left)
    session.watcher.begun(len(repeats), before, study.epochs)
    search_epochs = sum(epochs_left(each, session.record.counted()) for each in searches.values())
    if not (left or search_epochs):
        return
    epochs = (len(left) + to_come) * study.epochs + search_epochs
    # A trial-epoch of a search with folds trains on each of them.
    seconds = expected_seconds(session.record, (epochs - search_epochs) / (study.folds or 1) + search_epochs)
    time_told = "" if seconds is None else f", about {duration(seconds)}"
    many = len(plan.configs)
    configs = f"the best {many} configs with their twins" if many > 1 else "the best config with its twin"
    configs = configs if asked is None else f"trial {asked} with its twin"
    more = f" and {listed(plan.scored)} alone" if plan.scored else ""
    done = f" ({before} are done)" if before else ""
    own = f" after a search of its own in {search_epochs:,} trial-epochs" if search_epochs else ""
    for line in division_lines(session.training.loaded, len(plan.divisions)):
        session.watcher.notice(line)
    each = f"on {len(plan.divisions)} new divisions" if plan.divisions else f"{len(plan.seeds)} seeds each"
    session.watcher.notice(
        f"confirming {configs} of equal weights{more}{own}, {each}:"
        f" {len(left) + to_come} trainings{done}, up to {epochs:,} trial-epochs{time_told}{hint}"
    )


def _more(plan: Plan, winner: int) -> list[Repeat]:
    """The trainings of the winner's other arms, and of the tasks alone."""
    singles = [repeat for task in plan.scored for each in plan.alone(winner, task) for repeat in each]
    return [*plan.arms(winner), *singles]


def tell_left(session: Session, confirmation: Confirmation, plan: Plan, winner: int) -> None:
    """Show the trainings again, after searches whose trials were shown."""
    repeats = [*plan.shared(), *_more(plan, winner)]
    session.watcher.begun(len(repeats), len(repeats) - len(confirmation.left(repeats)), session.study.epochs)


def epochs_left(search: Session, trials: int) -> int:
    """The trial-epochs that a search of its own may still take, 0 where it has all its trials or no room for one."""
    record = search.record
    if search.budget is None or not search.affords_a_trial() or record.counted() >= trials:
        return 0
    return search.budget - trial_epochs(record.trials())


def conclude(
    session: Session,
    confirmation: Confirmation,
    plan: Plan,
    searches: Mapping[str, Session],
    asked: int | None = None,
) -> None:
    """Store the verdict on trainings that have all ended; `asked` is the trial that was asked for."""
    record, loaded = session.record, session.training.loaded
    divided = overlaps(loaded.splits) if plan.divisions else None
    found, metrics = ended(confirmation), task_metrics(record, test_examples(loaded), divided)
    budgets = {task: trial_epochs(each.record.trials()) for task, each in searches.items()}
    notes = [budget_line(trial_epochs(record.trials()), budgets)] if budgets else []
    if asked is not None:
        notes.append(f"trial {asked} was asked for; `mtlsearch confirm {record.name}` confirms the best of the search")
    if record.variant:
        notes.append(f"at {record.variant}, which the search did not have; `best` still gives the answer of the search")
    score = loaded.study.scoring
    first = plan.judge(found, metrics, score)
    blame = find_blame(session, confirmation, plan, first)
    verdict = plan.judge(found, metrics, score, blame, notes)
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    about = {"trial_epochs_alone": budgets, **({} if asked is None else {"asked": asked})}
    confirmation.study.set_user_attr("conclusion", {**concluded, **about})


def budget_line(shared: int, alone: Mapping[str, int]) -> str:
    """The budgets of both kinds of search, as the verdict states them."""
    each = ", ".join(f"{task} alone {epochs:,}" for task, epochs in alone.items())
    return f"trial-epochs of the searches: shared {shared:,}, {each}"


def find_blame(session: Session, confirmation: Confirmation, plan: Plan, verdict: Verdict) -> Blame:
    """The circumstances that could make a task better alone, at the weights that the verdict keeps."""
    study, of = session.study, list(plan.configs)[verdict.winner]
    tuned = verdict.recommendation.weights == "tuned"
    repeats = plan.repeats_of("config" if tuned else "twin", of)
    kept = best_of(ended(confirmation)[repeat.key] for repeat in repeats)
    edge = study.weight_space.at_edge(plan.configs[of].task_weights) if tuned and len(study.weighted) > 1 else []
    shares: dict[str, float] = {}
    if kept is not None and len(study.weighted) > 1:
        try:
            state, _ = read_model(confirmation.own_parameters(kept))
            shares = gradient_shares(session.training, repeats[0].config, state)
        except (StoreError, ModelError):  # another run keeps its parameters elsewhere
            session.watcher.notice("the parameters of the winner are not here: no share of the trunk's gradient")
    return Blame(next(iter(edge), None), study.weight_range, shares)


def test_examples(loaded: LoadedStudy) -> dict[str, int]:
    """The number of labels that each task has in the test split."""
    labels = {task: splits.test.labels[task] for splits in loaded.splits for task in splits.tasks}
    return {task: _labels(labels[task]) for task in loaded.study.task_names}


def _labels(labels: torch.Tensor) -> int:
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    return int((~missing).sum())

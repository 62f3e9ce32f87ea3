"""Which tasks belong together: `group_command` is `mtlsearch group`.

Each pair of tasks and each task alone trains with the same fresh seeds; their validation metrics give affinities and
the best groupings (`evidence.grouping`). All together, all alone and the best others then train as whole groupings with
other seeds, scored on test once each. All have the hyperparameters of the study's confirmed winner, else of its best
trial, else the default ones, and equal task weights. Trainings are kept in the Optuna study `NAME/grouping`, so the
same command goes on where it stopped, and trains nothing twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from threading import Event
from typing import Any, Literal

import numpy as np

from mtlsearch.errors import UsageError
from mtlsearch.evidence.answer import expected_seconds, task_metrics
from mtlsearch.evidence.grouping.affinity import Affinities, Grouping, candidates
from mtlsearch.evidence.grouping.answer import GROUPING_FORMAT, Answer, Tried, concluded
from mtlsearch.evidence.grouping.partitions import MOST_TASKS
from mtlsearch.evidence.metric import TaskMetric, scores
from mtlsearch.evidence.trainings import Confirmation, Found, GroupRepeat, ended, find_confirmation, open_grouping
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record, recorded_info
from mtlsearch.store.record import Record
from mtlsearch.store.unbegun import removed_if_unbegun
from mtlsearch.study.describe import describe
from mtlsearch.study.divisions import overlaps
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.device import use_device, with_recorded
from mtlsearch.training.first_step import take_first_step
from mtlsearch.training.gradient_shares import used_parameters
from mtlsearch.training.population.layout import repeat_population, search_population
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.seeds import derived_seed
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.confirming.conclusion import test_examples
from mtlsearch.tuning.confirming.divisions import Divisions, division_lines, new_divisions
from mtlsearch.tuning.interruption.repeats import abandon
from mtlsearch.tuning.options.training import GroupOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.repeats import train_all
from mtlsearch.tuning.session import Session
from mtlsearch.tuning.studies import defined
from mtlsearch.wording import duration

Tasks = tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The config of trial `of` (None: the default one) for every group, and the seeds of both parts.

    `choosing` seeds measure affinities, `confirming` ones train whole groupings; `divisions` are the seeds of new
    divisions of the data for each, empty without.
    """

    tasks: Tasks
    counting: Tasks
    config: Config
    of: int | None
    choosing: Sequence[int]
    confirming: Sequence[int]
    divisions: Mapping[int, int]

    def repeats(self, kind: Literal["affinity", "grouping"], group: Tasks) -> list[GroupRepeat]:
        """The trainings of a group with every seed, with equal weights; none of auxiliary tasks alone."""
        if not self.is_trained(group):
            return []
        weights = {task: 1 / len(group) if task in group else 0.0 for task in self.tasks}
        config = Config(self.config.hyperparameters, weights)
        of = -1 if self.of is None else self.of
        seeds = self.choosing if kind == "affinity" else self.confirming
        return [GroupRepeat(kind, of, config, seed, division=self.divisions.get(seed), tasks=group) for seed in seeds]

    def is_trained(self, group: Tasks) -> bool:
        """Whether a group holds a task that counts in the score."""
        return any(task in self.counting for task in group)

    def affinities(self) -> list[GroupRepeat]:
        """The trainings of each task alone and of each pair."""
        groups = [*((task,) for task in self.tasks), *combinations(self.tasks, 2)]
        return [repeat for group in groups for repeat in self.repeats("affinity", group)]

    def wholes(self, groupings: Sequence[Grouping]) -> list[GroupRepeat]:
        """The trainings of whole groupings; a group that several have trains once."""
        groups = dict.fromkeys(group for grouping in groupings for group in grouping)
        return [repeat for group in groups for repeat in self.repeats("grouping", group)]


def group_command(options: GroupOptions, progress: Progress, stop: Event) -> dict[str, Any]:
    """Find which tasks of a study belong together; the answer with the study's name. Raises Interrupted."""
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    name, study, units = defined("group", options, artifacts, progress)
    if study.terms or study.evaluations:
        raise UsageError(f"study {name!r} has terms or evaluations, which no group can train alone: group needs tasks")
    count = len(study.tasks)
    if count == 1:
        raise UsageError(f"study {name!r} has one task: group needs two or more")
    if count > MOST_TASKS:
        raise UsageError(
            f"group takes {MOST_TASKS} tasks at most, since it trains each pair, but study {name!r} has {count}: leave"
            ' some out by study.only("a", "b") at the end of a study file'
        )
    conditions = use_device(options.device, options.threads, options.precision)
    loaded = load_data(study, options.directory, conditions.device, units)
    for task in study.task_names:
        loaded.only(task)  # a model that needs all tasks at once is told now
    if options.artifacts is not None:
        check_folder(artifacts)
    with open_storage(options.storage, create=True) as storage:
        if recorded_info(storage, name) is None:
            take_first_step(Training(loaded, precision=options.precision))
        population = search_population(loaded, options.seeds)
        record = open_record(storage, name, {**describe(loaded), "population": population}, None, artifacts)
        conditions = with_recorded(conditions, options.threads, record.info)
        training = Training(loaded, int(record.info["seed"]), options.precision, stop=stop)
        at_once = repeat_population(loaded, int(record.info["population"]))
        make = TrainerMaker(loaded, at_once, options.seeds, progress.notice)
        session = Session(record, training, make, progress, conditions)
        with removed_if_unbegun([record]):
            found = group(session, options)
        record.study.set_user_attr("grouping", found)
        return {"study": name, **found}


def group(session: Session, options: GroupOptions) -> dict[str, Any]:
    """Train what is left, and answer. Raises StudyError where a task alone failed with every seed, Interrupted."""
    record, loaded, watcher = session.record, session.training.loaded, session.watcher
    plan = make_plan(record, loaded, options)
    divisions = Divisions(loaded, list(plan.divisions.values()))
    book = open_grouping(record)
    book.take_over()
    epochs = tell_cost(session, book, plan, options.top)
    score, metrics = loaded.study.scoring, task_metrics(record, test_examples(loaded), _overlaps(loaded, plan))
    pairs = plan.affinities()
    begin(session, book, pairs)
    if epochs:  # nothing was timed yet: a few trainings tell how long all take
        first = [repeat for repeat in pairs if repeat.tasks == pairs[0].tasks]
        train_all(session, book, first, divisions)
        seconds = expected_seconds(book, epochs)
        if seconds is not None:
            watcher.notice(f"all of it takes up to about {duration(seconds)}, at the rate of the first {len(first)}")
    train_all(session, book, pairs, divisions)
    affinities = measured(plan, ended(book), metrics)
    best = affinities.best(score)
    groupings = candidates(affinities, score, best, options.top)
    wholes = plan.wholes(groupings)
    begin(session, book, wholes)
    train_all(session, book, wholes, divisions)
    abandon(book)
    found = ended(book)
    tried = [outcome(each, plan, found, metrics, loaded) for each in groupings]
    answer = Answer.of(tried, metrics, score, len(plan.confirming))
    if not np.isfinite(answer.measure.scores(tried[0].test)).any():
        watcher.notice("all tasks together failed with every seed")
    return {
        "format": GROUPING_FORMAT,
        "trial": plan.of,
        "hyperparameters": dict(plan.config.hyperparameters),
        "seeds": {"affinities": list(plan.choosing), "groupings": list(plan.confirming)},
        "divisions": len(plan.divisions) // 2,
        "test_scorings": book.test_scorings(),
        **concluded(affinities, best, answer),
    }


def make_plan(record: Record, loaded: LoadedStudy, options: GroupOptions) -> Plan:
    """The plan of a study as it stands, with seeds that neither its search nor its confirmation has used."""
    of, config = chosen_config(record, loaded)
    divided = new_divisions(loaded, options)
    count = divided or options.seeds
    choosing, confirming = (
        [derived_seed(int(record.info["seed"]), part, i) for i in range(count)] for part in ("affinity", "grouping")
    )
    study = loaded.study
    auxiliary = study.auxiliary_tasks
    return Plan(
        tuple(study.task_names),
        tuple(task for task in study.task_names if task not in auxiliary and task in loaded.scored),
        config,
        of,
        choosing,
        confirming,
        {seed: derived_seed(seed, "division") for seed in [*choosing, *confirming]} if divided else {},
    )


def chosen_config(record: Record, loaded: LoadedStudy) -> tuple[int | None, Config]:
    """The config of the confirmed winner, else of the best trial, with that trial's number; else the default one."""
    confirmation = find_confirmation(record)
    conclusion = None if confirmation is None else confirmation.conclusion
    best = record.best_or_none() if conclusion is None else record.trial(conclusion["of"])
    if best is None:
        return None, loaded.study.default_config()
    return best.number, trial_config(record.info, best)


def tell_cost(session: Session, book: Confirmation, plan: Plan, top: int) -> int:
    """Say beforehand what is to be trained, in trial-epochs and expected time; nothing where all is done.

    The trial-epochs whose time is not known yet, because nothing was trained before.
    """
    pairs, count, seeds = plan.affinities(), len(plan.tasks), len(plan.confirming)
    left = len(book.left(pairs))
    most = seeds * (1 + count + (min(top, count - 2) * (count // 2)))
    trained = sum(trial.user_attrs.get("kind") == "grouping" for trial in ended(book).values())
    if not left and session.record.study.user_attrs.get("grouping") and trained:
        return 0
    whose = "the default hyperparameters" if plan.of is None else f"the hyperparameters of trial {plan.of}"
    for line in division_lines(session.training.loaded, len(plan.divisions) // 2):
        session.watcher.notice(line)
    epochs = (left + max(0, most - trained)) * session.study.epochs
    seconds = expected_seconds(session.record, epochs)
    if seconds is None:
        seconds = expected_seconds(book, epochs)
    about = "; the time is told once the first are trained" if seconds is None else f", about {duration(seconds)}"
    done = f" ({len(pairs) - left} are done)" if left < len(pairs) else ""
    each = f"on {seeds} new divisions" if plan.divisions else f"with {seeds} seeds"
    session.watcher.notice(
        f"grouping {count} tasks with {whose} and equal weights: each pair and each task alone {each}, {len(pairs)}"
        f" trainings{done}, then the best groupings as wholes, up to {most}: up to {epochs:,} trial-epochs{about}"
    )
    return epochs if seconds is None else 0


def begin(session: Session, book: Confirmation, repeats: Sequence[GroupRepeat]) -> None:
    """Show so many trainings, of which some may be done."""
    done = len(repeats) - len(book.left(repeats))
    session.watcher.begun(len(repeats), done, session.study.epochs)


def measured(plan: Plan, found: Found, metrics: Mapping[str, TaskMetric]) -> Affinities:
    """The affinities that trainings on pairs and on tasks alone give, on validation."""

    def values(group: Tasks, task: str) -> list[float]:
        repeats = plan.repeats("affinity", group)
        if not repeats:
            return [np.nan] * len(plan.choosing)
        about = (found[repeat.key].user_attrs.get("validation") for repeat in repeats)
        return [np.nan if each is None else float(each[task][metrics[task].name]) for each in about]

    known = [task for task in plan.tasks if task in metrics and task in plan.counting]
    others = {task: [other for other in plan.tasks if other != task] for task in known}
    return Affinities(
        plan.tasks,
        {task: metrics[task] for task in known},
        {task: values((task,), task) for task in known},
        {task: {other: values(_pair(plan, task, other), task) for other in others[task]} for task in known},
    )


def _pair(plan: Plan, task: str, other: str) -> Tasks:
    return tuple(each for each in plan.tasks if each in (task, other))


def outcome(
    grouping: Grouping, plan: Plan, found: Found, metrics: Mapping[str, TaskMetric], loaded: LoadedStudy
) -> Tried:
    """A grouping's metrics and cost."""
    test: dict[str, list[float]] = {}
    validation: dict[str, list[float]] = {}
    parameters, seconds = 0, 0.0
    trained = [group for group in grouping if plan.is_trained(group)]
    for group in trained:
        trials = [found[repeat.key] for repeat in plan.repeats("grouping", group)]
        seconds += sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials) / len(trials)
        only = loaded.only(*group)
        parameters += used_parameters(only, plan.config)
        for task in (task for task in group if task in metrics):
            for part, values in (("test", test), ("validation", validation)):
                about = (trial.user_attrs.get(part) for trial in trials)
                values[task] = [np.nan if each is None else float(each[task][metrics[task].name]) for each in about]
    counted = {task: values for task, values in test.items() if task in plan.counting}
    score = scores({t: validation[t] for t in counted}, {t: metrics[t] for t in counted}, loaded.study.scoring)
    mean = float(np.nanmean(score)) if np.isfinite(score).any() else -np.inf
    left_out = [task for group in grouping if group not in trained for task in group]
    return Tried(tuple(trained), left_out, test, mean, parameters, seconds)


def _overlaps(loaded: LoadedStudy, plan: Plan) -> Mapping[str, float] | None:
    return overlaps(loaded.splits) if plan.divisions else None

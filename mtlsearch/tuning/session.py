"""A session: one study in work, with all that a search, a confirmation or a comparison needs of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.trial import TrialState

from mtlsearch.activity import doing
from mtlsearch.report.dashboard import publish
from mtlsearch.store.record import Record
from mtlsearch.store.trials import trial_epochs
from mtlsearch.study.space import Config
from mtlsearch.study.study import LoadedStudy, Study
from mtlsearch.training.device import Conditions
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.population.cost import Plan, planned_repeats
from mtlsearch.training.population.layout import folds_share_lanes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Steps, choose_steps
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.progress import Watcher

MakeTrainer = Callable[[Training], Trainer]


@dataclass(frozen=True)
class Session:
    """A study's record, its training, the trainers that do it, and the watcher who is told.

    `deadline` is a time of the monotonic clock, after which nothing new is trained. `budget` is the number of
    trial-epochs that all trials together may take.
    """

    record: Record
    training: Training
    make_trainer: MakeTrainer
    watcher: Watcher
    conditions: Conditions
    deadline: float | None = None
    budget: int | None = None

    @property
    def study(self) -> Study:
        return self.training.loaded.study

    def affords_a_trial(self) -> bool:
        """Whether one more trial fits into the budget, if it and all in training take all their epochs."""
        if self.budget is None:
            return True
        running = len(self.record.trials(TrialState.RUNNING))
        return trial_epochs(self.record.trials()) + (running + 1) * self.study.epochs <= self.budget

    def is_in_time(self) -> bool:
        """Whether the deadline is still to come."""
        return self.deadline is None or time.monotonic() < self.deadline


class TrainerMaker:
    """Makes the trainers for about `trials` trials: populations of `population` members, or solo where that is 1.

    With `compiles` it is decided whether steps are compiled. A population with a `check` goes through it. Where it
    `measures`, repeats on a CPU are trained at once only if that is measured to be faster.
    """

    def __init__(
        self,
        loaded: LoadedStudy,
        population: int,
        trials: int,
        notice: Callable[[str], None],
        *,
        compiles: bool | None = None,
        check: Callable[[PopulationTrainer], Trainer] = lambda trainer: trainer,
        measures: bool = True,
    ) -> None:
        self.loaded, self.population, self.trials, self.notice = loaded, population, trials, notice
        self.compiles, self.check, self.measures = compiles, check, measures

    @cached_property
    def steps(self) -> Steps:
        """The way to run a step, chosen once for all trainers."""
        return choose_steps(self.loaded, self.trials, self.population, self.notice, self.compiles)

    def __call__(self, training: Training) -> Trainer:
        if self.population == 1:
            return SoloTrainer(training)
        members = self.population * max(1, len(training.folds))
        return self.check(PopulationTrainer(training, members, self.steps, self.notice))

    def of_search(self, training: Training) -> Trainer:
        """The trainer of a search, with folds or without."""
        shares = self.population > 1 and folds_share_lanes(training.loaded)
        return search_trainer(self, training, shares)

    def plan_of(self, training: Training, configs: Sequence[Config]) -> Plan:
        """How repeats of these configs are trained."""
        if self.population == 1 or not self.measures or training.loaded.device.type != "cpu":
            return Plan(self.population, self.compiles)
        with doing("measuring whether trainings are faster at once"):
            return planned_repeats(training, configs, self.population)

    def again(self, training: Training, plan: Plan) -> Trainer:
        """The trainer of repeats by their plan."""
        if plan.population == 1:
            return SoloTrainer(training)
        if plan.compiles is None:
            return PopulationTrainer(training, plan.population, self.steps, self.notice)
        steps = choose_steps(training.loaded, self.trials, plan.population, self.notice, plan.compiles)
        return PopulationTrainer(training, plan.population, steps, self.notice)


def makes_searches(session: Session, loaded: LoadedStudy, trials: int) -> MakeTrainer:
    """Makes the trainers for a search of `loaded`, with as many members as the study's own search; solo as it was."""
    if not isinstance(session.make_trainer, TrainerMaker):
        return session.make_trainer
    members = min(int(session.record.info["population"]), trials)
    return TrainerMaker(loaded, members, trials, session.watcher.notice)


def show_in_dashboard(record: Record) -> None:
    """Leave the verdict in the store, where optuna-dashboard shows it."""
    with doing("writing the verdict for the dashboard"):
        publish(record)

"""Makes the trainers of a search and of repeats, in this process or in a worker's: populations, or solo."""

from collections.abc import Callable, Sequence
from functools import cached_property

from mtlsearch.activity import doing
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.space import Config
from mtlsearch.training.folds import search_trainer
from mtlsearch.training.population.cost import Checked, Plan, planned_repeats
from mtlsearch.training.population.layout import folds_share_lanes
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Steps, choose_steps
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training


def no_notice(text: str) -> None:
    """Tell nobody."""


class TrainerMaker:
    """Makes the trainers for about `trials` trials: populations of `population` members, or solo where that is 1.

    With `compiles` it is decided whether steps are compiled. With `epoch`, the expected seconds of a trial's epoch by
    itself, a population is held to that time, and `give_up` gets a line where it is given up. Where it `measures`,
    repeats on a CPU are trained at once only if that is measured to be faster. A solo trainer of a search holds `each`
    members.
    """

    def __init__(
        self,
        loaded: LoadedStudy,
        population: int,
        trials: int,
        notice: Callable[[str], None],
        *,
        compiles: bool | None = None,
        epoch: float | None = None,
        give_up: Callable[[str], None] = no_notice,
        measures: bool = True,
        each: int = 1,
    ) -> None:
        self.loaded, self.population, self.trials, self.notice = loaded, population, trials, notice
        self.compiles, self.epoch, self.give_up, self.measures = compiles, epoch, give_up, measures
        self.each = each

    @cached_property
    def steps(self) -> Steps:
        """The way to run a step, chosen once for all trainers."""
        return choose_steps(self.loaded, self.trials, self.population, self.notice, self.compiles)

    def __call__(self, training: Training) -> Trainer:
        if self.population == 1:
            return SoloTrainer(training, self.each)
        members = self.population * max(1, len(training.folds))
        population = PopulationTrainer(training, members, self.steps, self.notice)
        return population if self.epoch is None else Checked(population, self.epoch, self.give_up)

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

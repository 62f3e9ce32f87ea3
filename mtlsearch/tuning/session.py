"""A session: one study in work, with all that a search, a confirmation or a comparison needs of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from optuna.trial import TrialState

from mtlsearch.activity import doing
from mtlsearch.report.dashboard import publish
from mtlsearch.store.record import Record
from mtlsearch.store.trials import trial_epochs
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.study.study import Study
from mtlsearch.training.device import Conditions
from mtlsearch.training.population.cost import Plan
from mtlsearch.training.population.maker import TrainerMaker
from mtlsearch.training.remote.staff import Staff
from mtlsearch.training.remote.worker import Recipe
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Trainer, Training
from mtlsearch.tuning.crews.crews import Crews, K, OwnCrew
from mtlsearch.tuning.crews.lockstep import LockstepCrews
from mtlsearch.tuning.crews.remote import RemoteCrews
from mtlsearch.tuning.progress import Watcher

MakeTrainer = Callable[[Training], Trainer]


@dataclass(frozen=True)
class Pace:
    """How workers share a search by which the same seed gives the same trials: each trains `each` of them solo."""

    each: int = 1


@dataclass(frozen=True)
class Session:
    """A study's record, its training, the trainers that do it, and the watcher who is told.

    `deadline` is a time of the monotonic clock, after which nothing new is trained. `budget` is the number of
    trial-epochs that all trials together may take. With a `staff`, workers train instead of this process. They keep
    step where there is a `pace`.
    """

    record: Record
    training: Training
    make_trainer: MakeTrainer
    watcher: Watcher
    conditions: Conditions
    deadline: float | None = None
    budget: int | None = None
    staff: Staff | None = None
    pace: Pace | None = None

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


def share_of(session: Session, many: int) -> int:
    """The trainings of each crew where there are so `many`."""
    return many if session.staff is None else -(-many // max(1, session.staff.wanted()))


def crews_of(
    session: Session,
    record: Record,
    make: Callable[[], Trainer],
    recipe: Callable[[], Recipe],
    keep: Callable[[Conditions, Trainer, int | None], K],
) -> Crews[K]:
    """The crews that train for `record`: those of the workers by the `recipe`, else the one that `make` makes."""
    if session.staff is None:
        return OwnCrew(record, keep(session.conditions, make(), None))
    give_up = session.make_trainer.give_up if isinstance(session.make_trainer, TrainerMaker) else session.watcher.notice
    kind = RemoteCrews if session.pace is None else LockstepCrews
    return kind(
        session.staff, record, session.training, session.conditions, recipe(), keep, session.watcher.staffed, give_up
    )


def recipe_of(make: MakeTrainer, plan: Plan | None = None) -> Recipe:
    """How workers make the trainers that `make` makes in this process."""
    if isinstance(make, TrainerMaker):
        return Recipe(make.population, make.trials, make.compiles, make.epoch, plan)
    assert make is SoloTrainer, "a worker makes no other trainers"
    return Recipe(population=1)


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

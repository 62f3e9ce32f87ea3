"""What a process knows of a study without asking the database."""

from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mtlsearch.store.database.storage import is_counted


@dataclass
class StudyMemory:
    """What is known of a study: its trials by id, and which of them others may still change."""

    name: str
    directions: list[StudyDirection]
    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)  # by number
    unfinished: set[int] = field(default_factory=set)
    mine: set[int] = field(
        default_factory=set
    )  # running trials that this process made: its memory is the truth
    newest: int = -1  # every trial up to this id has been read
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    settled: tuple[int, int, int] = (-1, 0, 0)  # an id, the trials up to it (all finished), those that count
    attrs: tuple[dict[str, Any], dict[str, Any]] | None = None  # of the user, of the system

    def put(self, trial: FrozenTrial) -> None:
        self.trials[trial._trial_id] = trial
        self.ids[trial.number] = trial._trial_id
        for name in trial.distributions.keys() - self.distributions.keys():
            self.distributions[name] = trial.distributions[name]
        if trial.state.is_finished():
            self.unfinished.discard(trial._trial_id)
            self.mine.discard(trial._trial_id)
        else:
            self.unfinished.add(trial._trial_id)

    def settle(self) -> tuple[int, int, int]:
        """The highest id up to which every trial is known and finished, their number, and how many count.

        What can no longer change need not be counted again: reserving costs at 10,000 trials what it costs at
        ten.
        """
        below, trials, counted = self.settled
        end = min(self.newest, min(self.unfinished, default=self.newest + 1) - 1)
        for trial in (self.trials[i] for i in range(below + 1, end + 1) if i in self.trials):
            trials, counted = trials + 1, counted + is_counted(trial)
        self.settled = max(below, end), trials, counted
        return self.settled

"""Optuna's Hyperband, which keeps the brackets that it has worked out: the same decisions for less time.

A trial's bracket is a checksum of the study's name and the trial's number. Hyperband takes it of every trial again
at every decision, and makes a class and a study for it: at 1,000 trials most of what a decision costs.
"""

from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial


class KeptHyperbandPruner(HyperbandPruner):
    """Hyperband for one study, whose name with a trial's number decides on the trial's bracket."""

    def __init__(self, min_resource: int, max_resource: int, reduction_factor: int) -> None:
        super().__init__(min_resource, max_resource, reduction_factor)
        self._brackets: dict[int, int] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if not self._pruners:
            self._try_initialization(study)
        bracket: Any = Bracket(study, self, self._get_bracket_id(study, trial))
        return bool(self._pruners[bracket.number].prune(bracket, trial))

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        if not self._pruners:  # before the first decision there are no brackets yet
            return super()._get_bracket_id(study, trial)
        bracket = self._brackets.get(trial.number)
        if bracket is None:
            bracket = self._brackets[trial.number] = super()._get_bracket_id(study, trial)
        return bracket


@dataclass
class Bracket:
    """What successive halving asks of a study: the trials of this bracket alone."""

    study: Study
    pruner: KeptHyperbandPruner
    number: int

    def __post_init__(self) -> None:
        self.direction, self._storage = self.study.direction, self.study._storage

    def get_trials(self, deepcopy: bool) -> list[FrozenTrial]:
        of, study = self.pruner._get_bracket_id, self.study
        trials = study._get_trials(deepcopy=deepcopy, use_cache=False)
        return [trial for trial in trials if of(study, trial) == self.number]

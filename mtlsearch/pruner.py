"""Optuna's Hyperband, which keeps the brackets that it has worked out: the same decisions for less time.

A trial's bracket is a checksum of the study's name and the trial's number. Hyperband takes it of every trial again
at every decision, which at 1,000 trials costs more than all the rest of the decision.
"""

from optuna import Study
from optuna.pruners import HyperbandPruner
from optuna.trial import FrozenTrial


class KeptHyperbandPruner(HyperbandPruner):
    """Hyperband for one study, whose name with a trial's number decides on the trial's bracket."""

    def __init__(self, min_resource: int, max_resource: int, reduction_factor: int) -> None:
        super().__init__(min_resource, max_resource, reduction_factor)
        self._brackets: dict[int, int] = {}

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        if not self._pruners:  # before the first decision there are no brackets yet
            return super()._get_bracket_id(study, trial)
        bracket = self._brackets.get(trial.number)
        if bracket is None:
            bracket = self._brackets[trial.number] = super()._get_bracket_id(study, trial)
        return bracket

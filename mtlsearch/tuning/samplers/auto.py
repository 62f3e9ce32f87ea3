"""The default: the Gaussian process where many trials are in training, else TPE.

At equal trial-epochs with sixteen in training the Gaussian process (`gp.py`) found better configs than TPE on one of
three problems, and as good ones on the others (`benchmarks/asks_compared.py`). It allows for trials in training, which
TPE counts as bad ones. It costs tens of milliseconds an ask and more with each trial, so TPE goes on after `MOST`
trials. TPE also asks where it was not held against the other one: with fewer or many more trials in training, several
values, metrics that must reach something, or many dimensions.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.curves import epochs_reported
from mtlsearch.store.foresight import LEAST_EPOCHS
from mtlsearch.tuning.samplers.gp import ForesightGPSampler
from mtlsearch.tuning.samplers.tpe import tpe_sampler

Space = dict[str, BaseDistribution]
MOST = 200  # trials, from which on TPE asks
LEAST_IN_TRAINING, MOST_IN_TRAINING = 8, 32  # an ask takes longer with each
LEAST_KNOWN = 10  # trials that tell something; TPE asks at random before
MOST_DIMENSIONS = 20


class AutoSampler(BaseSampler):
    """Chooses anew at each ask, from the history alone."""

    def __init__(self, seed: int) -> None:
        self._tpe, self._gp = tpe_sampler(seed), ForesightGPSampler(seed=seed, deterministic_objective=False)
        self._asked: BaseSampler = self._tpe

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        self._asked = self._tpe
        if trial.number < MOST and not study._is_multi_objective():
            trials = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
            space = self._gp.infer_relative_search_space(study, trial)
            if space and len(space) <= MOST_DIMENSIONS and is_for_gp(trials):
                self._asked = self._gp
                return space
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        found = self._asked.sample_relative(study, trial, search_space)
        if self._asked is self._gp and any(each.params == found for each in study.get_trials(deepcopy=False)):
            self._asked = self._tpe  # the process may ask for its optimum again
            space = self._tpe.infer_relative_search_space(study, trial)
            return self._tpe.sample_relative(study, trial, space)
        return found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._tpe.before_trial(study, trial)
        self._gp.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._tpe.after_trial(study, trial, state, values)


def is_for_gp(trials: Sequence[FrozenTrial]) -> bool:
    """Whether the Gaussian process asks next, with these trials before it."""
    in_training = sum(trial.state is TrialState.RUNNING for trial in trials)
    known = sum(trial.state is TrialState.COMPLETE or epochs_reported(trial) >= LEAST_EPOCHS for trial in trials)
    constrained = any(trial.constraints for trial in trials)
    return LEAST_IN_TRAINING <= in_training <= MOST_IN_TRAINING and known >= LEAST_KNOWN and not constrained

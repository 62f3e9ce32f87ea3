"""Optuna's Gaussian process that learns of trials while they train, and of pruned ones.

Plain GPSampler learns of complete trials alone, and asks at random until there are ten. Where most trials are pruned,
two thirds of a search of a hundred are random (`benchmarks/asks_compared.py`). Here a trial in training with scores, or
a pruned one, counts as complete with its expected values (`foresight.py`). Trials in training without scores stay
pending, and the acquisition allows for them.

The acquisition is optimised from fewer starts than Optuna takes, which costs a third of the time and nothing that forty
searches show (`benchmarks/RESULTS.md`). With another version of Optuna its own settings hold.
"""

from copy import copy
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from mtlsearch.store.foresight import Foresight

# Optuna takes 2,048, 10 and 128.
CANDIDATES, LOCAL_SEARCHES, DRAWS = 1024, 2, 64


class ForesightGPSampler(GPSampler):
    """The Gaussian process for values that are maximised, told what unfinished trials are expected to reach."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._intersection_search_space = IntersectionSearchSpace(include_pruned=True)
        self._n_preliminary_samples, self._n_local_search, self._n_qmc_samples_qei = CANDIDATES, LOCAL_SEARCHES, DRAWS
        self._foresight = Foresight()

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        self._foresight.learn(trials)
        foreseen = [self._foresight.of_any(each) for each in trials]

        def told(deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
            return [each for each in foreseen if states is None or each.state in states]

        seen = copy(study)
        seen._get_trials = told  # type: ignore[method-assign]
        return super().sample_relative(seen, trial, search_space)

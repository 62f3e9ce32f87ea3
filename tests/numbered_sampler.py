"""A sampler that draws by the trial's number alone, so that a search asks the same whatever was told before."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial


class NumberedSampler(BaseSampler):
    """Draws each trial's params from a random sampler of its own."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = 1000 * trial.number + sum(map(ord, param_name))
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

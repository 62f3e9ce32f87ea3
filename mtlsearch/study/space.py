"""The search space: Optuna's distributions by name, and the task weights as T−1 free parameters.

Task weights are uniform on the simplex when their free parameters are uniform on [0, 1]: parameter i is
the quantile of the share that task i takes of the weight which earlier tasks left (stick-breaking, with
share ~ Beta(1, T−1−i)). With two tasks the parameter *is* the first task's weight.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from mtlsearch.errors import StudyError, UsageError

Value = bool | int | float | str | None
WEIGHT_PREFIX = "weight:"


def integer(low: int, high: int, *, log: bool = False) -> BaseDistribution:
    """A whole number from `low` to `high`, both included; `log` samples its logarithm uniformly."""
    return IntDistribution(low, high, log=log)


def real(low: float, high: float, *, log: bool = False) -> BaseDistribution:
    """A real number from `low` to `high`; `log` samples its logarithm uniformly."""
    return FloatDistribution(low, high, log=log)


def choice(*values: Value) -> BaseDistribution:
    """One of `values`, without an order among them."""
    return CategoricalDistribution(values)


@dataclass(frozen=True)
class Config(Mapping[str, Value]):
    """One trial's values: a mapping of hyperparameters by name, and `task_weights` (Σ = 1) by task."""

    hyperparameters: Mapping[str, Value]
    task_weights: Mapping[str, float]

    def __getitem__(self, name: str) -> Value:
        return self.hyperparameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hyperparameters)

    def __len__(self) -> int:
        return len(self.hyperparameters)

    def number(self, name: str, default: float) -> float:
        """The hyperparameter `name` as a float, or `default` where the config has none."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float):
            raise StudyError(f"hyperparameter {name!r} must be a number, but got {value!r}")
        return float(value)


def weights_from_quantiles(quantiles: Sequence[float]) -> list[float]:
    """T task weights on the simplex from T−1 quantiles in [0, 1]."""
    weights, left = [], 1.0
    for i, quantile in enumerate(quantiles):
        later = len(quantiles) - i
        share = quantile if later == 1 else 1.0 - (1.0 - quantile) ** (1.0 / later)
        weights.append(left * share)
        left -= weights[-1]
    return [*weights, left]


def quantiles_from_weights(weights: Sequence[float]) -> list[float]:
    """The inverse of `weights_from_quantiles`; a weight of which nothing is left has the quantile 0."""
    quantiles, left = [], 1.0
    for i, weight in enumerate(weights[:-1]):
        later = len(weights) - 1 - i
        share = min(weight / left, 1.0) if left > 0 else 0.0
        quantiles.append(share if later == 1 else 1.0 - (1.0 - share) ** later)
        left -= weight
    return quantiles


@dataclass(frozen=True)
class Space:
    """The distributions of a study's hyperparameters, and of the weights of its `tasks`."""

    hyperparameters: Mapping[str, BaseDistribution]
    tasks: Sequence[str]
    fixed_weights: Mapping[str, BaseDistribution] = field(default_factory=dict)

    @property
    def weight_names(self) -> list[str]:
        return [f"{WEIGHT_PREFIX}{task}" for task in self.tasks[:-1]]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every dimension by its name in the store: hyperparameters first, then task weights."""
        weights = {name: self.fixed_weights.get(name, real(0.0, 1.0)) for name in self.weight_names}
        return {**self.hyperparameters, **weights}

    def config(self, params: Mapping[str, Any], default: Mapping[str, Value]) -> Config:
        """The config of a trial's `params`; what is not searched comes from `default`."""
        searched = {name: params[name] for name in self.hyperparameters}
        weights = weights_from_quantiles([params[name] for name in self.weight_names])
        return Config({**default, **searched}, dict(zip(self.tasks, weights, strict=True)))

    def params(self, config: Config) -> dict[str, Any]:
        """The params that give `config` back, to be enqueued."""
        quantiles = quantiles_from_weights([config.task_weights[task] for task in self.tasks])
        weights = dict(zip(self.weight_names, quantiles, strict=True))
        return {**{name: config[name] for name in self.hyperparameters}, **weights}

    def fixed(self, name: str, text: str) -> "Space":
        """The space with dimension `name` fixed at the value that `text` spells."""
        distributions = self.distributions
        if name not in distributions:
            known = ", ".join(distributions) or "none"
            raise UsageError(f"--set {name}={text}: the space has no {name!r}; it has {known}")
        single = _single(distributions[name], name, text)
        if name in self.hyperparameters:
            return Space({**self.hyperparameters, name: single}, self.tasks, self.fixed_weights)
        return Space(self.hyperparameters, self.tasks, {**self.fixed_weights, name: single})

    def describe(self) -> dict[str, Any]:
        """Every dimension as Optuna writes it, for the fingerprint."""
        return {name: json.loads(distribution_to_json(d)) for name, d in self.distributions.items()}


def fixed_value(distribution: BaseDistribution) -> Value:
    """The only value of a distribution that has one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low


def _single(distribution: BaseDistribution, name: str, text: str) -> BaseDistribution:
    if isinstance(distribution, CategoricalDistribution):
        for value in distribution.choices:
            if text == str(value):
                return CategoricalDistribution([value])
        choices = ", ".join(str(value) for value in distribution.choices)
        raise UsageError(f"--set {name}={text}: it must be one of {choices}")
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    whole = isinstance(distribution, IntDistribution)
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"--set {name}={text}: it must be {kind}") from None
    if not distribution.low <= number <= distribution.high:
        raise UsageError(f"--set {name}={text}: it must lie in [{distribution.low}, {distribution.high}]")
    return IntDistribution(int(number), int(number)) if whole else FloatDistribution(number, number)

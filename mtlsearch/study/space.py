"""The search space: Optuna's distributions by name, with T−1 quantiles from which the T task weights follow.

Task weights are uniform on the simplex when their quantiles are uniform on [0, 1] (stick-breaking): quantile i is
that of task i's share of the weight that earlier tasks left, which follows Beta(1, T−1−i). With two tasks the
quantile equals the first task's weight.
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
from optuna.samplers import RandomSampler

from mtlsearch.errors import StudyError, UsageError

Value = bool | int | float | str | None
WEIGHT_PREFIX = "weight:"  # and a task's name: the dimension of its weight's quantile


def integer(low: int, high: int, *, log: bool = False) -> BaseDistribution:
    """A whole number from `low` to `high`, both included; `log` samples its logarithm uniformly."""
    return IntDistribution(low, high, log=log)


def real(low: float, high: float, *, log: bool = False) -> BaseDistribution:
    """A real number from `low` to `high`; `log` samples its logarithm uniformly."""
    return FloatDistribution(low, high, log=log)


def choice(*values: Value) -> BaseDistribution:
    """One of `values`, which have no order."""
    return CategoricalDistribution(values)


@dataclass(frozen=True)
class Config(Mapping[str, Value]):
    """The values of a trial: a mapping of hyperparameters by name, with `task_weights` (Σ = 1) by task."""

    hyperparameters: Mapping[str, Value]
    task_weights: Mapping[str, float]

    def __getitem__(self, name: str) -> Value:
        return self.hyperparameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hyperparameters)

    def __len__(self) -> int:
        return len(self.hyperparameters)

    def number(self, name: str, default: float) -> float:
        """The hyperparameter `name` as a float, or `default` where the config has none. Raises StudyError."""
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
    """The inverse of `weights_from_quantiles`; where earlier tasks left no weight, the quantile is 0."""
    quantiles, left = [], 1.0
    for i, weight in enumerate(weights[:-1]):
        later = len(weights) - 1 - i
        share = min(weight / left, 1.0) if left > 0 else 0.0
        quantiles.append(share if later == 1 else 1.0 - (1.0 - share) ** later)
        left -= weight
    return quantiles


@dataclass(frozen=True)
class Space:
    """The distributions of hyperparameters, and of the quantiles of the weights of `tasks`."""

    hyperparameters: Mapping[str, BaseDistribution]
    tasks: Sequence[str]
    fixed_quantiles: Mapping[str, BaseDistribution] = field(default_factory=dict)

    @property
    def quantile_names(self) -> list[str]:
        """The names of the T−1 quantiles in the store."""
        return [f"{WEIGHT_PREFIX}{task}" for task in self.tasks[:-1]]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every dimension by its name in the store: hyperparameters, then quantiles."""
        quantiles = {name: self.fixed_quantiles.get(name, real(0.0, 1.0)) for name in self.quantile_names}
        return {**self.hyperparameters, **quantiles}

    def config(self, params: Mapping[str, Any], default: Mapping[str, Value]) -> Config:
        """The config of a trial's `params`; what is not searched comes from `default`."""
        searched = {name: params[name] for name in self.hyperparameters}
        weights = weights_from_quantiles([params[name] for name in self.quantile_names])
        return Config({**default, **searched}, dict(zip(self.tasks, weights, strict=True)))

    def params(self, config: Config) -> dict[str, Any]:
        """The params of a trial with this config, for Optuna's queue."""
        searched = {name: config[name] for name in self.hyperparameters}
        quantiles = quantiles_from_weights([config.task_weights[task] for task in self.tasks])
        return {**searched, **dict(zip(self.quantile_names, quantiles, strict=True))}

    def drawn(self, count: int, default: Mapping[str, Value]) -> list[Config]:
        """`count` configs drawn at random, the same at each call; what is not searched comes from `default`."""
        sampler = RandomSampler(seed=0)

        def one() -> dict[str, Any]:  # the sampler looks at no study and no trial
            return {n: sampler.sample_independent(None, None, n, d) for n, d in self.distributions.items()}  # type: ignore[arg-type]

        return [self.config(one(), default) for _ in range(count)]

    def fixed(self, name: str, text: str) -> "Space":
        """The space with dimension `name` fixed at the value in `text`. Raises UsageError."""
        distributions = self.distributions
        if name not in distributions:
            known = ", ".join(distributions) or "none"
            raise UsageError(f"--set {name}={text}: the space has no {name!r}; it has {known}")
        single = _single(distributions[name], name, text)
        if name in self.hyperparameters:
            return Space({**self.hyperparameters, name: single}, self.tasks, self.fixed_quantiles)
        return Space(self.hyperparameters, self.tasks, {**self.fixed_quantiles, name: single})

    def describe(self) -> dict[str, Any]:
        """Every dimension as Optuna's JSON, for the fingerprint."""
        return {name: json.loads(distribution_to_json(d)) for name, d in self.distributions.items()}


def fixed_value(distribution: BaseDistribution) -> Value:
    """The value of a distribution that has only one."""
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

"""The search space: Optuna's distributions by name, and the dimensions from which the task weights follow."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
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
from mtlsearch.study.weights.task_weights import WeightSpace
from mtlsearch.wording import few, shortened

MOST_NAMED = 20  # dimensions in a message

Value = bool | int | float | str | None
LARGEST = {"integer": 2.0**53, "real": 1e100}  # samplers take whole numbers as floats, and differences of bounds


def integer(low: int, high: int, *, log: bool = False) -> BaseDistribution:
    """A whole number from `low` to `high`, both included; `log` samples its logarithm uniformly."""
    _check_bounds("integer", low, high, 1 if log else None)
    return IntDistribution(low, high, log=log)


def real(low: float, high: float, *, log: bool = False) -> BaseDistribution:
    """A real number from `low` to `high`; `log` samples its logarithm uniformly."""
    _check_bounds("real", low, high, 5e-324 if log else None)
    return FloatDistribution(low, high, log=log)


def _check_bounds(kind: str, low: float, high: float, least: float | None) -> None:
    """Raise StudyError unless two numbers bound a dimension: finite, in order, and of `least` or more."""
    got = f"but got {shortened(repr(low), 60)} and {shortened(repr(high), 60)}"
    numbers = "whole numbers" if kind == "integer" else "finite numbers"
    for value in (low, high):
        if not isinstance(value, Integral if kind == "integer" else Real) or isinstance(value, bool):
            raise StudyError(f"{kind}(low, high) takes two {numbers}, {got}")
    if not -LARGEST[kind] <= low <= high <= LARGEST[kind]:
        raise StudyError(f"{kind}(low, high) takes {numbers} of at most {LARGEST[kind]:g}, low ≤ high, {got}")
    if least is not None and low < least:
        raise StudyError(f"{kind}(low, high, log=True) needs a low above 0, {got}")


def numbers_of(distribution: BaseDistribution) -> list[int | float]:
    """The choices of a dimension, where all are numbers."""
    choices = getattr(distribution, "choices", ())
    numbers = [value for value in choices if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(choices) else []


def choice(*values: Value) -> BaseDistribution:
    """One of `values`, which have no order."""
    if not values:
        raise StudyError("choice() needs a value or more, but got none")
    for value in values:
        if not isinstance(value, bool | int | float | str | None):
            raise StudyError(f"choice(…) takes texts, numbers, True, False and None, but got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"choice(…) takes finite numbers, but got {value!r}")
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


@dataclass(frozen=True)
class Space:
    """The distributions of hyperparameters, and the space of the task weights."""

    hyperparameters: Mapping[str, BaseDistribution]
    weights: WeightSpace

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every dimension by its name in the store: hyperparameters, then those of the task weights."""
        return {**self.hyperparameters, **self.weights.distributions}

    def config(self, params: Mapping[str, Any], default: Mapping[str, Value]) -> Config:
        """The config of a trial's `params`; what is not searched comes from `default`."""
        searched = {name: params[name] for name in self.hyperparameters}
        return Config({**default, **searched}, self.weights.weights(params))

    def params(self, config: Config) -> dict[str, Any]:
        """The params of a trial with this config, for Optuna's queue."""
        return {**{name: config[name] for name in self.hyperparameters}, **self.weights.params(config.task_weights)}

    def drawn(self, count: int, default: Mapping[str, Value]) -> list[Config]:
        """`count` configs drawn at random, the same at each call; what is not searched comes from `default`."""
        sampler = RandomSampler(seed=0)

        def one() -> dict[str, Any]:  # the sampler looks at no study and no trial
            return {n: sampler.sample_independent(None, None, n, d) for n, d in self.distributions.items()}  # type: ignore[arg-type]

        return [self.config(one(), default) for _ in range(count)]

    def parted(self, name: str, text: str) -> tuple[str, str]:
        """NAME and VALUE of `name`=`text`, in which either may hold an equals sign: the longest name that fits."""
        whole = f"{name}={text}"
        fits = (each for each in (*self.hyperparameters, *self.weights.names) if whole.startswith(f"{each}="))
        name = max(fits, key=len, default=name)
        return name, whole.removeprefix(f"{name}=")

    def single(self, name: str, text: str) -> BaseDistribution:
        """Dimension `name` with the value in `text` alone; of a weight, its own dimension. Raises UsageError."""
        if name in self.hyperparameters:
            return _single(self.hyperparameters[name], name, text)
        if name in self.weights.names:
            return _single(FloatDistribution(0.0, 1.0), name, text)
        known = few([*self.hyperparameters, *self.weights.names], MOST_NAMED) or "none"
        raise UsageError(f"--set {name}={text}: the space has no {name!r}; it has {known}")

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

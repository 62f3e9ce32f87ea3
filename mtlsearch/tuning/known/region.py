"""The region of another search's best trials, as the space of a new one."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.errors import StoreError
from mtlsearch.store.record import Record
from mtlsearch.store.trials import ranked
from mtlsearch.study.study import Study
from mtlsearch.study.weights.task_weights import RATIO_PREFIX

BEST_SHARE, LEAST_BEST = 0.1, 4  # of the other search's complete trials
LEAST_TRIALS = 2
PADDING = 0.1  # of a range, on both sides of the best trials
Number = FloatDistribution | IntDistribution


def narrowed(study: Study, other: Record) -> Study:
    """The study whose space is the region of the best tenth of another search's complete trials.

    The region is padded by a tenth of each range. A dimension that the other search has not stays as it is. Defaults
    move into the region, and equal weights stay in it, since a search begins with them. Raises StoreError where the
    other has too few complete trials.
    """
    complete = ranked(other.trials(TrialState.COMPLETE))
    if len(complete) < LEAST_TRIALS:
        raise StoreError(
            f"--narrow {other.name}: it has {len(complete)} complete trials, and {LEAST_TRIALS} are needed: search it"
            " on"
        )
    leading = complete[: max(LEAST_BEST, round(BEST_SHARE * len(complete)))]
    space = {name: _of_best(name, d, leading) for name, d in study.space.items()}
    ratios = {n: d for n, d in study.weight_space.distributions.items() if n.startswith(RATIO_PREFIX)}
    found = {name: _of_best(name, d, leading, 0.0) for name, d in ratios.items()}
    bounds = {name: (d.low, d.high) for name, d in found.items() if isinstance(d, FloatDistribution)}
    return _within(study, space, bounds)


def as_narrowed(study: Study, info: Mapping[str, Any]) -> Study:
    """The study with the narrower dimensions that a store keeps of it."""
    then: dict[str, BaseDistribution] = {
        name: json_to_distribution(json.dumps(dimension)) for name, dimension in info["fingerprint"]["space"].items()
    }
    space = {name: then[name] if _is_part(then.get(name), d) else d for name, d in study.space.items()}
    now = study.weight_space.distributions
    bounds = {
        name: (d.low, d.high)
        for name, d in then.items()
        if name.startswith(RATIO_PREFIX) and isinstance(d, FloatDistribution) and _is_part(d, now.get(name))
    }
    if space == dict(study.space) and not bounds:
        return study
    return _within(study, space, bounds)


def _within(study: Study, space: Mapping[str, BaseDistribution], bounds: Mapping[str, tuple[float, float]]) -> Study:
    """The study with this space and these ranges of log ratios, its defaults moved into it."""
    default = {name: _moved(space[name], value) if name in space else value for name, value in study.default.items()}
    return replace(study, space=dict(space), default=default, weight_bounds={**study.weight_bounds, **bounds})


def _of_best(
    name: str, distribution: BaseDistribution, leading: Sequence[FrozenTrial], kept: float | None = None
) -> BaseDistribution:
    """The range of the best trials within a distribution, with a value that is `kept` in it."""
    values = [trial.params[name] for trial in leading if name in trial.params]
    if distribution.single() or not values:
        return distribution
    if isinstance(distribution, CategoricalDistribution):
        choices = [choice for choice in distribution.choices if choice in values]
        return CategoricalDistribution(choices) if choices else distribution
    assert isinstance(distribution, Number)
    if kept is not None:
        values.append(kept)
    there = [value for value in values if distribution.low <= value <= distribution.high]
    if not there:
        return distribution
    return _cut(distribution, min(there), max(there))


def _cut(distribution: Number, low: float, high: float) -> BaseDistribution:
    """The distribution from `low` to `high`, padded."""
    to, back = (math.log, math.exp) if distribution.log else (float, float)
    padding = PADDING * (to(distribution.high) - to(distribution.low))
    least = max(distribution.low, back(to(low) - padding))
    most = min(distribution.high, back(to(high) + padding))
    if isinstance(distribution, IntDistribution):
        start, end = math.floor(least), math.ceil(most)
        start = (
            distribution.low
            + (max(start, distribution.low) - distribution.low) // distribution.step * distribution.step
        )
        return IntDistribution(start, min(end, distribution.high), log=distribution.log, step=distribution.step)
    if distribution.step is not None:
        return distribution
    return FloatDistribution(least, most, log=distribution.log)


def _is_part(part: BaseDistribution | None, whole: BaseDistribution | None) -> bool:
    """Whether a distribution of several values is a narrower one of the same kind."""
    if part is None or whole is None or type(part) is not type(whole) or part == whole or part.single():
        return False
    if isinstance(part, CategoricalDistribution) and isinstance(whole, CategoricalDistribution):
        return set(part.choices) < set(whole.choices)
    assert isinstance(part, Number)
    assert isinstance(whole, Number)
    return part.log == whole.log and whole.low <= part.low <= part.high <= whole.high


def _moved(distribution: BaseDistribution, value: Any) -> Any:
    """The value, or the nearest one in the distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else distribution.choices[0]
    assert isinstance(distribution, Number)
    return min(max(value, distribution.low), distribution.high)

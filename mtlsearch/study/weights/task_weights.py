"""Task weights as dimensions of a search: T−1 log ratios of T weights, centred on equal ones.

The dimensions are pivot coordinates, an orthonormal basis of log ratios (Egozcue et al. 2003, "Isometric logratio
transformations for compositional data analysis", eq. 24). With y₁ … yₙ₋₁ and the geometric mean g of the later weights
it is yᵢ = √((n−i)/(n−i+1)) · ln(wᵢ / g(wᵢ₊₁ … wₙ)). Each is searched uniformly in ±ln(range)/√2 · (n−1)^(−1/4). So
the log ratio of any two tasks has the same variance, the ratio of two tasks alone covers exactly 1/range to range, and
zero stands for equal weights. The last factor is for the distance between the extremes, which grows with the number of
tasks. `benchmarks/weights.py` compares this with other priors.

`Simplex` is what searches had before: weights uniform on the simplex. Studies that were begun with it go on with it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from mtlsearch.errors import UsageError

WEIGHT_PREFIX = "weight:"  # and a task's name: a weight that is fixed, or the quantile of a weight on the simplex
RATIO_PREFIX, KEEP_PREFIX = "log_ratio:", "keep:"
GROUP_PREFIX, LABEL_POWER = "group_ratio:", "label_power"  # of `shared_weights`
PREFIXES = (WEIGHT_PREFIX, RATIO_PREFIX, KEEP_PREFIX, GROUP_PREFIX, LABEL_POWER)
DEFAULT_RANGE = 100.0
CROWDING = 0.25  # power of T−1 by which log ratios are searched nearer to equal weights (benchmarks/weights.py)
EDGE = 0.95  # of the way to an end of a log ratio's range: weights beyond it lie at the edge
SUM_SLACK = 1e-9  # of fixed weights that sum to 1

Weights = Mapping[str, float]
Distributions = dict[str, BaseDistribution]


class WeightSpace(Protocol):
    """How the weights of tasks are searched; `names` are those of its dimensions that `--set` can fix."""

    @property
    def fixed(self) -> Weights: ...

    @property
    def names(self) -> list[str]: ...

    @property
    def distributions(self) -> Distributions:
        """Every dimension by its name in the store."""
        ...

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        """The weights, Σ = 1, of a trial's params."""
        ...

    def params(self, weights: Weights) -> dict[str, Any]:
        """The params that give these weights; where a weight is 0, some that do."""
        ...

    def default(self) -> dict[str, float]:
        """Equal weights, apart from those that are fixed."""
        ...

    def with_fixed(self, task: str, weight: float) -> "WeightSpace":
        """The same with the weight of one more task fixed. Raises UsageError."""
        ...

    def at(self, weights: Weights) -> "WeightSpace":
        """The same with all weights fixed."""
        ...

    def at_edge(self, weights: Weights) -> list[tuple[str, str]]:
        """Pairs of tasks, the larger weight first, whose ratio lies at the edge of what is searched."""
        ...


def weights_from_log_ratios(ratios: Sequence[float]) -> list[float]:
    """n weights on the simplex from n−1 pivot coordinates."""
    n = len(ratios) + 1
    logs, carried = [], 0.0
    for i, ratio in enumerate(ratios, start=1):
        logs.append(math.sqrt((n - i) / (n - i + 1)) * ratio - carried)
        carried += ratio / math.sqrt((n - i) * (n - i + 1))
    logs.append(-carried)
    highest = max(logs)
    shares = [math.exp(each - highest) for each in logs]
    total = math.fsum(shares)
    return [share / total for share in shares]


def log_ratios_from_weights(weights: Sequence[float]) -> list[float]:
    """The inverse of `weights_from_log_ratios`, for weights above 0."""
    n, logs = len(weights), [math.log(weight) for weight in weights]
    return [math.sqrt((n - i) / (n - i + 1)) * (logs[i - 1] - math.fsum(logs[i:]) / (n - i)) for i in range(1, n)]


def raw_weights(weights: Weights, units: Mapping[str, float]) -> dict[str, float]:
    """The weights `wᵢ/uᵢ` of losses as they are, not in their units: for a training loop of one's own."""
    return {task: weight / units[task] for task, weight in weights.items()}


@dataclass(frozen=True)
class LogRatios:
    """The weights of `tasks` as log ratios up to 1 : `range` between two tasks, and about so far among more.

    Each of the `auxiliary` tasks may also be dropped, which gives it the weight 0. The weights in `fixed` stay as they
    are; the other tasks share what they leave. `bounds` are narrower ranges of log ratios, by dimension.
    """

    tasks: Sequence[str]
    range: float = DEFAULT_RANGE
    auxiliary: Sequence[str] = ()
    fixed: Weights = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """The sum of the weights that are not fixed."""
        rest = 1.0 - math.fsum(self.fixed.values())
        return rest if rest > SUM_SLACK else 0.0

    @property
    def free(self) -> list[str]:
        """The tasks whose weights are searched."""
        return [task for task in self.tasks if task not in self.fixed] if self.left else []

    @property
    def droppable(self) -> list[str]:
        """The free tasks that may be dropped; another one must stay, to take their share."""
        found = [task for task in self.free if task in self.auxiliary]
        return found if len(found) < len(self.free) else []

    @property
    def bound(self) -> float:
        """The end of a log ratio's range."""
        return math.log(self.range) / math.sqrt(2) / math.pow(max(1, len(self.free) - 1), CROWDING)

    @property
    def names(self) -> list[str]:
        return [f"{WEIGHT_PREFIX}{task}" for task in self.tasks] if len(self.tasks) > 1 else []

    @property
    def distributions(self) -> Distributions:
        ends, keep = (-self.bound, self.bound), CategoricalDistribution([True, False])
        ratios = (f"{RATIO_PREFIX}{task}" for task in self.free[:-1])
        return {
            **{name: FloatDistribution(*self.bounds.get(name, ends)) for name in ratios},
            **{f"{KEEP_PREFIX}{task}": keep for task in self.droppable},
            **{f"{WEIGHT_PREFIX}{task}": FloatDistribution(weight, weight) for task, weight in self.fixed.items()},
        }

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        ratios = [params[f"{RATIO_PREFIX}{task}"] for task in self.free[:-1]]
        shares = dict(zip(self.free, weights_from_log_ratios(ratios), strict=True)) if self.free else {}
        dropped = {task for task in self.droppable if not params[f"{KEEP_PREFIX}{task}"]}
        kept = math.fsum(share for task, share in shares.items() if task not in dropped) if dropped else 1.0
        found = {task: 0.0 if task in dropped else self.left * share / kept for task, share in shares.items()}
        return {task: self.fixed.get(task, found.get(task, 0.0)) for task in self.tasks}

    def params(self, weights: Weights) -> dict[str, Any]:
        there = [weights[task] for task in self.free if weights[task] > 0]
        neutral = math.exp(math.fsum(map(math.log, there)) / len(there)) if there else 1.0
        ratios = log_ratios_from_weights([weights[task] or neutral for task in self.free])
        return {
            **{f"{RATIO_PREFIX}{task}": ratio for task, ratio in zip(self.free[:-1], ratios, strict=True)},
            **{f"{KEEP_PREFIX}{task}": weights[task] > 0 for task in self.droppable},
            **{f"{WEIGHT_PREFIX}{task}": weight for task, weight in self.fixed.items()},
        }

    def default(self) -> dict[str, float]:
        params = {name: 0.0 if name.startswith(RATIO_PREFIX) else True for name in self.distributions}
        return self.weights(params)

    def with_fixed(self, task: str, weight: float) -> "LogRatios":
        """The same with one more weight fixed. Raises UsageError where the weights cannot sum to 1."""
        made = replace(self, fixed={**self.fixed, task: weight})
        total = math.fsum(made.fixed.values())
        alone = len(made.fixed) == len(self.tasks)
        if total > 1 + SUM_SLACK or (alone and total < 1 - SUM_SLACK):
            rule = "all weights are fixed, so they must sum to 1" if alone else "fixed weights must sum to 1 at most"
            raise UsageError(f"--set {WEIGHT_PREFIX}{task}={weight:g}: {rule}, but they sum to {total:g}")
        return made

    def at(self, weights: Weights) -> "LogRatios":
        return replace(self, fixed=dict(weights))

    def at_edge(self, weights: Weights) -> list[tuple[str, str]]:
        """The pairs of tasks (the larger weight first) whose ratio lies at the edge of what is searched."""
        kept = [task for task in self.free if weights[task] > 0]
        ratios = log_ratios_from_weights([weights[task] for task in kept])
        if all(abs(ratio) < EDGE * self.bound for ratio in ratios):
            return []
        ranked = sorted(kept, key=lambda task: -weights[task])
        return [(ranked[0], ranked[-1])]


@dataclass(frozen=True)
class Simplex:
    """The weights of `tasks` uniform on the simplex, by T−1 quantiles in [0, 1] (stick-breaking).

    Quantile i is that of task i's share of the weight that earlier tasks left, which follows Beta(1, T−1−i). With two
    tasks the quantile equals the first task's weight. The quantiles in `fixed` stay as they are.
    """

    tasks: Sequence[str]
    fixed: Weights = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [f"{WEIGHT_PREFIX}{task}" for task in self.tasks[:-1]]

    @property
    def distributions(self) -> Distributions:
        ends = {task: self.fixed.get(task) for task in self.tasks[:-1]}
        return {
            f"{WEIGHT_PREFIX}{task}": FloatDistribution(0.0, 1.0) if q is None else FloatDistribution(q, q)
            for task, q in ends.items()
        }

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        return dict(zip(self.tasks, weights_from_quantiles([params[name] for name in self.names]), strict=True))

    def params(self, weights: Weights) -> dict[str, Any]:
        return dict(zip(self.names, quantiles_from_weights([weights[task] for task in self.tasks]), strict=True))

    def default(self) -> dict[str, float]:
        equal = dict.fromkeys(self.tasks, 1 / len(self.tasks))
        fixed = {f"{WEIGHT_PREFIX}{task}": q for task, q in self.fixed.items()}
        return self.weights({**self.params(equal), **fixed}) if fixed else equal

    def with_fixed(self, task: str, quantile: float) -> "Simplex":
        return replace(self, fixed={**self.fixed, task: quantile})

    def at(self, weights: Weights) -> "Simplex":
        params = replace(self, fixed={}).params(weights)
        return replace(self, fixed={name.removeprefix(WEIGHT_PREFIX): q for name, q in params.items()})

    def at_edge(self, weights: Weights) -> list[tuple[str, str]]:
        return []


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

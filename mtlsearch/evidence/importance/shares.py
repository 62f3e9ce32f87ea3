"""The share of a score's variation over the space that each hyperparameter, and the task weights together, account for.

A forest is fitted to the trials: on the score itself, or on what a quadratic of the dimensions leaves of it, whichever
predicts trials better that it has not seen (out-of-bag R²). A forest alone was off by up to 30 points on smooth
functions, and a quadratic alone on cliffs (`benchmarks/RESULTS.md`). The share of a group of dimensions is its total
effect, E[Var(f | all others)] / Var(f), over the space: with interactions the shares sum to more than 1. Source: Jansen
1999, "Analysis of variance designs for model output", eq. 11; Breiman 2001, "Random forests".
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]

LEAST_TRIALS = 20
LEAST_R2 = 0.5  # below it the forest knows too little to say what mattered
TREES = 100
POINTS = 11  # the power of 2 of the number of points in the space
PENALTIES = np.logspace(-3, 4, 15)


@dataclass(frozen=True)
class Shares:
    """The share of each group, the largest first, and the out-of-bag R²; `trials` is their number."""

    shares: Mapping[str, float]
    r2: float
    trials: int

    @property
    def determined(self) -> bool:
        return self.r2 >= LEAST_R2


class Model(Protocol):
    def predict(self, x: Array) -> Array: ...


def place(distribution: BaseDistribution, value: Any) -> float:
    """Where a value lies in its range, from 0 to 1 as it is searched; of a choice, in the middle of its share."""
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.choices.index(value) + 0.5) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, at = float(distribution.low), float(distribution.high), float(value)
    if distribution.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.5


def shares_of(
    trials: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    space: Mapping[str, BaseDistribution],
    groups: Mapping[str, Sequence[str]],
) -> Shares | None:
    """The shares of `groups` of dimensions in the variation of `values`, one of each trial's params.

    None of fewer than LEAST_TRIALS trials, without a dimension to search, or where all values are equal.
    """
    kept = [i for i, (params, value) in enumerate(zip(trials, values, strict=True)) if _is_whole(params, value, space)]
    y = np.array([values[i] for i in kept], dtype=np.float64)
    if len(kept) < LEAST_TRIALS or not space or not np.ptp(y) > 0:
        return None
    x = np.array([[place(d, trials[i][name]) for name, d in space.items()] for i in kept])
    columns = list(space)
    choices = [
        len(d.choices) if isinstance(d, CategoricalDistribution) else 0 for d in space.values()
    ]  # 0 for a number
    model, r2 = _fitted(_encoded(x, choices), (y - y.mean()) / y.std())
    found = _total_effects(model, choices, [[columns.index(n) for n in names] for names in groups.values()])
    ranked = sorted(zip(groups, found, strict=True), key=lambda pair: -pair[1])
    return Shares(dict(ranked), r2, len(kept))


def _is_whole(params: Mapping[str, Any], value: float, space: Mapping[str, BaseDistribution]) -> bool:
    return math.isfinite(value) and space.keys() <= params.keys()


def _encoded(x: Array, choices: Sequence[int]) -> Array:
    """Numbers as they are, and a column for each choice."""
    columns = []
    for column, count in zip(x.T, choices, strict=True):
        if count:
            chosen = np.minimum((column * count).astype(np.int64), count - 1)
            columns.append(np.eye(count)[chosen])
        else:
            columns.append(column[:, None])
    return np.hstack(columns)


class _Quadratic:
    """Ridge regression on the dimensions, their squares and products; its penalty is chosen by leaving one out."""

    def __init__(self, x: Array, y: Array) -> None:
        raw = self._raw(x)
        self.mean, self.sd = raw.mean(axis=0), raw.std(axis=0)
        self.sd[self.sd < 1e-12] = 1.0
        z = self._features(x)
        least = np.inf
        for penalty in PENALTIES:
            ridge = np.diag([0.0, *[penalty] * (z.shape[1] - 1)])
            solved = np.linalg.solve(z.T @ z + ridge, z.T)
            leverage = np.minimum(np.einsum("ij,ji->i", z, solved), 0.999)
            beta = solved @ y
            left_out = (y - z @ beta) / (1 - leverage)  # the residual of each trial by a fit without it
            if (error := float(left_out @ left_out)) < least:
                least, self.beta, self.residuals = error, beta, left_out

    @staticmethod
    def _raw(x: Array) -> Array:
        first, second = np.triu_indices(x.shape[1])
        centred = x - 0.5
        return np.hstack([centred, centred[:, first] * centred[:, second]])

    def _features(self, x: Array) -> Array:
        return np.hstack([np.ones((len(x), 1)), (self._raw(x) - self.mean) / self.sd])

    def predict(self, x: Array) -> Array:
        found: Array = self._features(x) @ self.beta
        return found


@dataclass(frozen=True)
class _Sum:
    models: Sequence[Model]

    def predict(self, x: Array) -> Array:
        found: Array = np.sum([model.predict(x) for model in self.models], axis=0)
        return found


def _fitted(x: Array, y: Array) -> tuple[Model, float]:
    """The model that predicts trials best that it has not seen, and its R² on them; `y` is standardised."""
    from sklearn.ensemble import RandomForestRegressor  # slow to import

    def forest(target: Array, leaf: int) -> tuple[Any, Array]:
        made = RandomForestRegressor(TREES, oob_score=True, random_state=0, min_samples_leaf=leaf)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a trial that is in every tree's bag
            made.fit(x, target)
        return made, np.nan_to_num(made.oob_prediction_)

    def r2(residuals: Array) -> float:
        return float(1 - residuals @ residuals / (y @ y))

    alone, seen = forest(y, 1)
    quadratic = _Quadratic(x, y)
    rest, more = forest(quadratic.residuals, 2)
    found: list[tuple[float, Model]] = [
        (r2(y - seen), alone),
        (r2(quadratic.residuals), quadratic),
        (r2(quadratic.residuals - more), _Sum([quadratic, rest])),
    ]
    best = max(found, key=lambda pair: pair[0])
    return best[1], best[0]


def _total_effects(model: Model, choices: Sequence[int], groups: Sequence[Sequence[int]]) -> list[float]:
    """The total effect of each group of dimensions over the space, by Jansen's estimator on points of Sobol."""
    from scipy.stats import qmc

    count = len(choices)
    points = qmc.Sobol(2 * count, rng=0).random_base2(POINTS)
    first, second = points[:, :count], points[:, count:]
    known = model.predict(_encoded(first, choices))
    variance = float(np.var([known, model.predict(_encoded(second, choices))]))
    found = []
    for group in groups:
        moved = first.copy()
        moved[:, list(group)] = second[:, list(group)]
        changed = model.predict(_encoded(moved, choices)) - known
        found.append(float(changed @ changed) / (2 * len(changed) * variance) if variance > 0 else 0.0)
    return found

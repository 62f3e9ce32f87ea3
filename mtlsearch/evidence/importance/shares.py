"""The share of a score's variation over the space that each hyperparameter, and the task weights together, account for.

A forest is fitted to the trials: on the score itself, or on what a quadratic of the dimensions leaves of it, whichever
predicts trials better that it has not seen (out-of-bag R²). A forest alone was off by up to 30 points on smooth
functions, and a quadratic alone on cliffs (`benchmarks/RESULTS.md`). The share of a group of dimensions is its total
effect, E[Var(f | all others)] / Var(f), over the space: with interactions the shares sum to more than 1. Source: Jansen
1999, "Analysis of variance designs for model output", eq. 11; Breiman 2001, "Random forests".

A search leaves regions out, so its trials say less of the space than their number. Each trial counts in R² with the
part of the space that it is the nearest trial to. Trials with parts vᵢ tell as much as 1/Σ vᵢ² evenly spread ones, and
from that number follows how low R² over the space may be. The shares are told where even that is high enough, where no
model whose R² lies above this bound says something else, and where no dimension has a wide slice without a trial.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]

LEAST_TRIALS = 20
LEAST_R2 = 0.5  # below it the forest knows too little to say what mattered
RISK = 0.01  # that R² over the space is lower than its bound
MOST_APART = 0.1  # by which the models' shares may differ
MOST_EMPTY = 0.25  # of a dimension's range, in which a cliff would be missed
TREES = 100
POINTS = 11  # the power of 2 of the number of points in the space
PENALTIES = np.logspace(-3, 4, 15)


@dataclass(frozen=True)
class Shares:
    """The share of each group, the largest first, and the out-of-bag R² over the space; `trials` is their number.

    `least_r2` is how low R² may be, since trials are few where the search did not look. `apart` is the largest
    difference in a share to another model that may predict as well. `empty` is the widest part of any dimension's range
    that no trial lies in.
    """

    shares: Mapping[str, float]
    r2: float
    least_r2: float
    apart: float
    empty: float
    trials: int

    @property
    def determined(self) -> bool:
        return self.least_r2 >= LEAST_R2 and self.apart <= MOST_APART and self.empty <= MOST_EMPTY


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
    parts = _parts(x, choices)
    places = [[columns.index(n) for n in names] for names in groups.values()]
    models = _fitted(_encoded(x, choices), (y - y.mean()) / y.std(), parts)
    best, r2 = models[0]
    least = _least(r2, parts)
    effects = _total_effects(best, choices, places)
    others = [_total_effects(m, choices, places) for m, found in models[1:] if found >= max(least, LEAST_R2)]
    apart = max((abs(a - b) for other in others for a, b in zip(effects, other, strict=True)), default=0.0)
    ranked = sorted(zip(groups, effects, strict=True), key=lambda pair: -pair[1])
    empty = max(_empty(d, [trials[i][name] for i in kept]) for name, d in space.items())
    return Shares(dict(ranked), r2, least, apart, empty, len(kept))


def _empty(distribution: BaseDistribution, values: Sequence[Any]) -> float:
    """The widest part of a range that lies between neighbouring `values`; of a choice, the part never chosen."""
    if isinstance(distribution, CategoricalDistribution):
        return 1 - len(set(values)) / len(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = sorted({distribution.low, *values, distribution.high})
    step = distribution.step or 0.0
    if not values or len(ends) < 2:
        return 0.0
    slices = [place(distribution, b) - place(distribution, a) for a, b in pairwise(ends) if b - a > step]
    return max(slices, default=0.0)


def _parts(x: Array, choices: Sequence[int]) -> Array:
    """The part of the space that each trial [N, D] is the nearest one to, Σ = 1."""
    from scipy.spatial import cKDTree
    from scipy.stats import qmc

    points = qmc.Sobol(x.shape[1], rng=0).random_base2(POINTS)
    _, nearest = cKDTree(_encoded(x, choices)).query(_encoded(points, choices))
    return np.bincount(nearest, minlength=len(x)) / len(points)


def _least(r2: float, parts: Array) -> float:
    """How low R² over the space may be, with a risk of RISK, where trials stand for these parts of it."""
    from scipy.stats import chi2

    count = 1 / float(parts @ parts)
    return float(1 - (1 - r2) * count / chi2.ppf(RISK, count))


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
            # With more features than trials leverages are almost 1: a lower limit would hide how far a fit is off.
            leverage = np.minimum(np.einsum("ij,ji->i", z, solved), 1 - 1e-8)
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


def _fitted(x: Array, y: Array, parts: Array) -> list[tuple[Model, float]]:
    """The models and their R² over the space on trials that they have not seen, the best first; `y` is standardised."""
    from sklearn.ensemble import RandomForestRegressor  # slow to import

    def forest(target: Array, leaf: int) -> tuple[Any, Array]:
        made = RandomForestRegressor(TREES, oob_score=True, random_state=0, min_samples_leaf=leaf)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a trial that is in every tree's bag
            made.fit(x, target)
        return made, np.nan_to_num(made.oob_prediction_)

    def r2(residuals: Array) -> float:
        variance = float(parts @ (y - parts @ y) ** 2)
        return 1 - float(parts @ residuals**2) / variance if variance > 0 else 0.0

    alone, seen = forest(y, 1)
    quadratic = _Quadratic(x, y)
    rest, more = forest(quadratic.residuals, 2)
    found: list[tuple[Model, float]] = [
        (alone, r2(y - seen)),
        (quadratic, r2(quadratic.residuals)),
        (_Sum([quadratic, rest]), r2(quadratic.residuals - more)),
    ]
    return sorted(found, key=lambda pair: -pair[1])


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

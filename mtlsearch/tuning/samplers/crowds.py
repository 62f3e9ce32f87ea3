"""TPE over many dimensions: the same method on whole arrays, since hundreds of small ones take their time in Python.

Optuna draws candidates and builds kernels one dimension after the other. Here the real dimensions without a logarithm
and without steps, as log ratios of task weights are, go together. Draws and densities are Optuna's up to rounding.

Source: optuna/samplers/_tpe of Optuna 5.0, whose private parts this file uses.

Legend: C candidates, K kernels, D dimensions that go together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers._tpe.parzen_estimator import EPS, _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.probability_distributions import (
    _BatchedCategoricalDistributions,
    _BatchedTruncNormDistributions,
    _MixtureOfProductDistribution,
)

Array = NDArray[np.float64]
MANY = 64  # dimensions, from which on they go together


def goes_with_others(distribution: BaseDistribution) -> bool:
    """Whether a dimension is real, without a logarithm and without steps."""
    return isinstance(distribution, FloatDistribution) and not distribution.log and distribution.step is None


class CrowdEstimator(_ParzenEstimator):
    """Optuna's estimator, which computes the kernels of dimensions that go together at once."""

    def __init__(
        self,
        observations: dict[str, Array],
        search_space: dict[str, BaseDistribution],
        parameters: _ParzenEstimatorParameters,
        predetermined_weights: Array | None = None,
    ) -> None:
        self._search_space = search_space
        given = self._transform(observations)
        weights = np.ones(1)
        if len(given):
            own = predetermined_weights
            own = self._call_weights_func(parameters.weights, len(given)) if own is None else own
            weights = np.append(own, [parameters.prior_weight])
        together = [i for i, d in enumerate(search_space.values()) if goes_with_others(d)]
        dimensions = list(search_space.items())
        found = _kernels(given[:, together].T, [dimensions[i][1] for i in together], parameters)
        kernels = dict(zip(together, found, strict=True))
        self._mixture_distribution = _MixtureOfProductDistribution(
            weights / weights.sum(),
            [
                kernels[i] if i in kernels else self._calculate_distributions(given[:, i], name, d, parameters)
                for i, (name, d) in enumerate(dimensions)
            ],
        )


def _kernels(
    mu_DK: Array, space: Sequence[Any], parameters: _ParzenEstimatorParameters
) -> list[_BatchedTruncNormDistributions]:
    """The kernels of each dimension, as `_ParzenEstimator._calculate_numerical_distributions` has them."""
    low, high = (np.array([getattr(d, end) for d in space])[:, np.newaxis] for end in ("low", "high"))
    order = mu_DK.argsort(1)
    placed = np.hstack([low, np.take_along_axis(mu_DK, order, 1), high])
    gaps = np.diff(placed, axis=1)
    wide = np.maximum(gaps[:, :-1], gaps[:, 1:])
    if not parameters.consider_endpoints and placed.shape[1] >= 4:
        wide[:, 0], wide[:, -1] = gaps[:, 1], gaps[:, -2]
    sigma_DK = np.take_along_axis(wide, order.argsort(1), 1)
    kernels = mu_DK.shape[1] + 1  # with the prior
    least = (high - low) / min(100.0, 1.0 + kernels) if parameters.consider_magic_clip else EPS
    sigma_DK = np.hstack([np.clip(sigma_DK, least, high - low), high - low])
    mu_DK = np.hstack([mu_DK, 0.5 * (low + high)])
    return [
        _BatchedTruncNormDistributions(mu, sigma, d.low, d.high)
        for mu, sigma, d in zip(mu_DK, sigma_DK, space, strict=True)
    ]


def drawn(mixture: _MixtureOfProductDistribution, rng: np.random.RandomState, count: int) -> Array:
    """Candidates [C, D]: `mixture.sample` on the same random numbers, with the quantiles by torch's functions.

    Optuna finds them by Newton's method to eight digits, on a Python function for each number.
    """
    active_C = rng.choice(len(mixture.weights), p=mixture.weights, size=count)
    found = np.empty((count, len(mixture.distributions)))
    normal: dict[int, Any] = {}
    for i, d in enumerate(mixture.distributions):
        if isinstance(d, _BatchedCategoricalDistributions):
            sums = d.weights[active_C].cumsum(axis=-1)
            sums[:, -1] = 1  # rounding must not leave a number above all sums
            found[:, i] = (sums < rng.rand(count)[:, np.newaxis]).sum(axis=-1)
        else:
            normal[i] = d
    if normal:
        mu_DC, sigma_DC = (np.array([getattr(d, of)[active_C] for d in normal.values()]) for of in ("mu", "sigma"))
        ends = (np.array([[getattr(d, of)] for d in normal.values()]) for of in ("adapted_low", "adapted_high"))
        uniform_DC = rng.uniform(low=0, high=1, size=mu_DC.shape)
        place_DC = quantiles(uniform_DC, *((end - mu_DC) / sigma_DC for end in ends)) * sigma_DC + mu_DC
        for (i, d), row_C in zip(normal.items(), place_DC, strict=True):
            x_C = np.exp(row_C) if d.is_log else row_C
            found[:, i] = np.clip(d.low + np.round((x_C - d.low) / d.step) * d.step, d.low, d.high) if d.step else x_C
    return found


def quantiles(q: Array, a: Array, b: Array) -> Array:
    """The quantiles `q` of standard normals truncated to [a, b], where a ≤ 0 ≤ b as a kernel's centre lies inside."""
    q_, a_, b_ = (torch.from_numpy(np.ascontiguousarray(x)) for x in np.broadcast_arrays(q, a, b))
    left, right = torch.special.ndtr(a_), torch.special.ndtr(-b_)
    below = left + q_ * (1 - left - right)  # the mass below the quantile, and above it: neither loses its digits
    above = right + (1 - q_) * (1 - left - right)
    found = torch.where(below < 0.5, torch.special.ndtri(below), -torch.special.ndtri(above))
    return np.asarray(found.clamp(a_, b_).numpy())

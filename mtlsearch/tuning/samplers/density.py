"""The densities of TPE at candidates, with whole arrays; see `tpe`.

Source: optuna/samplers/_tpe of Optuna 5.0, whose private parts this file uses.

Legend: C candidates, K kernels, F features.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.probability_distributions import (
    _BatchedCategoricalDistributions,
    _BatchedTruncNormDistributions,
    _MixtureOfProductDistribution,
)

from mtlsearch.tuning.samplers.crowds import CrowdEstimator

Array = NDArray[np.float64]
MOST_STEPS = 256  # of a dimension, whose masses are worth a table
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def density_of(estimator: _ParzenEstimator, *, often: bool = False) -> "Density":
    """The density of an estimator, by the way that suits its number of dimensions; see `Density` for `often`."""
    kind = CrowdDensity if isinstance(estimator, CrowdEstimator) else Density
    return kind(estimator._mixture_distribution, often=often)


class Density:
    """A mixture of K kernels, with the parts that do not depend on candidates computed once.

    Each kernel is a product of truncated normal, discretised truncated normal, or categorical distributions. The
    exponent of a normal is quadratic in the candidate, and a one-hot row picks the logarithm of a category. So one
    matrix product gives all: the candidates' features [C, F] times `factors` [F, K]. Where it is asked `often`, the
    mass of each of few steps is computed once too.
    """

    def __init__(self, mixture: _MixtureOfProductDistribution, *, often: bool = False) -> None:
        self.distributions: list[Any] = mixture.distributions
        normal = [d for d in self.distributions if not isinstance(d, _BatchedCategoricalDistributions)]
        ends = [
            np.array([(end - d.mu) / d.sigma for d, end in zip(normal, side, strict=True)])
            for side in ([d.adapted_low for d in normal], [d.adapted_high for d in normal])
        ]
        wholes = iter(log_mass(*ends))
        rows = [np.log(mixture.weights)[np.newaxis]]
        for d in self.distributions:
            if isinstance(d, _BatchedCategoricalDistributions):
                rows.append(np.log(d.weights).T)
            elif d.step == 0:
                rows.append(_quadratic(d, next(wholes)))
            else:
                rows.append(-next(wholes)[np.newaxis])
        self.factors = np.vstack(rows)
        stepped = [d for d in normal if often and d.step and (d.high - d.low) / d.step < MOST_STEPS]
        self.masses = {id(d): _discrete(np.arange(d.low, d.high + d.step / 2, d.step), d) for d in stepped}

    def log(self, candidates: Array) -> Array:
        """The logarithm of the density at candidates [C, D]: Optuna's `log_pdf` up to rounding, [C]."""
        total_CK = self.of_kernels(candidates)
        highest_C = total_CK.max(axis=1)
        highest_C[np.isneginf(highest_C)] = 0
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.exp(total_CK - highest_C[:, np.newaxis]).sum(axis=1)) + highest_C)

    def of_kernels(self, candidates: Array) -> Array:
        """The logarithm of each kernel's weight and density [C, K] at candidates [C, D]."""
        ones = np.ones((len(candidates), 1))
        features, more_CK = [ones], []
        for x_C, d in zip(candidates.T, self.distributions, strict=True):
            if isinstance(d, _BatchedCategoricalDistributions):
                features.append(np.eye(d.weights.shape[1])[x_C.astype(np.int64)])
            elif d.step == 0:
                place_C = np.log(x_C) if d.is_log else x_C
                from_low = (place_C - d.adapted_low)[:, np.newaxis]
                features += [from_low**2, from_low, ones]
                more_CK += _outside(place_C, d)
            else:
                features.append(ones)
                masses = self.masses.get(id(d))
                steps = np.rint((x_C - d.low) / d.step).astype(np.int64)
                more_CK.append(_discrete(x_C, d) if masses is None else masses[steps])
        return np.asarray(sum(more_CK, np.hstack(features) @ self.factors))


class CrowdDensity(Density):
    """The same for many dimensions: truncated normals without a logarithm and without steps are taken together."""

    def __init__(self, mixture: _MixtureOfProductDistribution, *, often: bool = False) -> None:
        every = mixture.distributions
        self.together = [i for i, d in enumerate(every) if isinstance(d, _BatchedTruncNormDistributions)]
        self.rest = [i for i in range(len(every)) if i not in self.together]
        super().__init__(mixture._replace(distributions=[every[i] for i in self.rest]), often=often)
        normal: list[Any] = [every[i] for i in self.together]
        mu_DK, sigma_DK = (np.array([getattr(d, of) for d in normal]) for of in ("mu", "sigma"))
        low, high = (np.array([[getattr(d, of)] for d in normal]) for of in ("low", "high"))
        self.low, from_low, half_DK = low.T, mu_DK - low, 0.5 / sigma_DK**2
        whole_DK = log_mass((low - mu_DK) / sigma_DK, (high - mu_DK) / sigma_DK)
        self.constant = (-half_DK * from_low**2 - whole_DK - np.log(sigma_DK) - _LOG_SQRT_2PI).sum(axis=0)
        self.powers = np.vstack([-half_DK, 2 * half_DK * from_low])

    def of_kernels(self, candidates: Array) -> Array:
        x_CD = candidates[:, self.together] - self.low
        total_CK = np.hstack([x_CD**2, x_CD]) @ self.powers + self.constant
        return np.asarray(super().of_kernels(candidates[:, self.rest]) + total_CK)


def _quadratic(d: Any, whole_K: Array) -> Array:
    """The log density of truncated normals as factors [3, K] of x², x and 1, where x starts at their lower end."""
    mu_K, half_K = d.mu - d.adapted_low, 0.5 / d.sigma**2
    constant_K = -half_K * mu_K**2 - whole_K - np.log(d.sigma) - _LOG_SQRT_2PI
    return np.stack([-half_K, 2 * half_K * mu_K, constant_K])


def _outside(x_C: Array, d: Any) -> list[Array]:
    """−infinity [C, K] for kernels that a candidate lies outside of, because rounding moved it beyond an end."""
    if not ((x_C < d.adapted_low) | (x_C > d.adapted_high)).any():
        return []
    z_CK = (x_C[:, np.newaxis] - d.mu) / d.sigma
    below_CK = z_CK < (d.adapted_low - d.mu) / d.sigma
    return [np.where(below_CK | (z_CK > (d.adapted_high - d.mu) / d.sigma), -np.inf, 0.0)]


def _discrete(x_C: Array, d: Any) -> Array:
    """The logarithm of each kernel's mass in each candidate's step, [C, K]."""
    # Few values and few kernels differ, so the mass of each pair is computed once.
    x_X, of_x = np.unique(x_C, return_inverse=True)
    kernels, of_kernel = np.unique(d.mu + 1j * d.sigma, return_inverse=True)
    ends = np.stack([x_X - d.step / 2, x_X + d.step / 2])[..., np.newaxis]
    left_XU, right_XU = ((np.log(ends) if d.is_log else ends) - kernels.real) / kernels.imag
    return np.asarray(log_mass(left_XU, right_XU)[np.ix_(of_x, of_kernel)])


def log_mass(a: Array, b: Array) -> Array:
    """The logarithm of the standard normal's mass between `a` and `b` > `a`, in the left tail or the middle."""
    a_, b_ = torch.from_numpy(a), torch.from_numpy(b)
    low, high = torch.where(a_ > 0, -b_, a_), torch.where(a_ > 0, -a_, b_)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    tail = log_high + torch.log1p(-torch.exp(log_low - log_high))
    middle = torch.log1p(-torch.special.ndtr(low) - torch.special.ndtr(-high))
    return np.asarray(torch.where(high <= 0, tail, middle).numpy())

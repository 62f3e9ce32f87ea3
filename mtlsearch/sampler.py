"""Optuna's TPE, with what the asks of one barrier can share done once: the same suggestions for less time.

Two things cost TPE its time. The history is split and read again at every ask, though between two tells only
running trials are added; and the logarithm of the normal distribution is taken by a Python function per number.
Both are done here in another way that gives the same floats, bit for bit, so the suggestions are plain TPE's;
a test holds them to that. Source: optuna/samplers/_tpe of Optuna 5.0, whose private parts this file knows; with
another version the plain sampler is taken.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState

Array = NDArray[np.float64]
Space = dict[str, BaseDistribution]
KNOWN_OPTUNA = "5.0."
_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def tpe_sampler(seed: int) -> TPESampler:
    """The fast sampler where the installed Optuna is the one that it knows, else the plain one."""
    return (SharedTPESampler if optuna.__version__.startswith(KNOWN_OPTUNA) else TPESampler)(seed=seed)


@dataclass(frozen=True)
class Split:
    """What follows from the finished trials alone: the better ones' density, and the others' observations."""

    finished: tuple[int, int]  # how many trials, and the highest number: finished trials never change
    space: Space
    below: _ParzenEstimator
    numbers: NDArray[np.int64]  # of the other trials that have all params of the space, ascending
    above: dict[str, Array]


class SharedTPESampler(TPESampler):
    """TPE for one objective that keeps the split of the finished trials from ask to ask."""

    _split: Split | None = None

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        if study._is_multi_objective() or not self._constant_liar:
            return super()._sample(study, trial, search_space)
        trials = study._get_trials(deepcopy=False, states=_STATES, use_cache=False)
        running = [t for t in trials if t.state == TrialState.RUNNING and t.number != trial.number]
        with _quick_logarithms():
            split = self._shared(study, trials, search_space)
            above = self._above(study, split, running)
            samples = split.below.sample(self._rng.rng, self._n_ei_candidates)
            values = self._compute_acquisition_func(samples, split.below, above)
        best = self._compare(samples, values)
        return {name: d.to_external_repr(best[name]) for name, d in search_space.items()}

    def _shared(self, study: optuna.Study, trials: list[FrozenTrial], space: Space) -> Split:
        finished = [t for t in trials if t.state != TrialState.RUNNING]
        key = len(finished), finished[-1].number
        if self._split is None or self._split.finished != key or self._split.space != space:
            gamma = self._gamma or default_gamma
            below, above = _split_trials(study, finished, gamma(len(finished)))
            whole = [t for t in above if space.keys() <= t.params.keys()]
            numbers = np.array([t.number for t in whole], dtype=np.int64)
            estimator = self._build_parzen_estimator(study, space, below, handle_below=True)
            self._split = Split(key, space, estimator, numbers, self._get_internal_repr(whole, space, study))
        return self._split

    def _above(self, study: optuna.Study, split: Split, running: list[FrozenTrial]) -> _ParzenEstimator:
        """The density of the worse trials and of those in training, in the order of their numbers."""
        whole = [t for t in running if split.space.keys() <= self._get_params(t, study).keys()]
        places = np.searchsorted(split.numbers, [t.number for t in whole])
        more = self._get_internal_repr(whole, split.space, study)
        merged = {name: np.insert(split.above[name], places, more[name]) for name in split.space}
        return self._parzen_estimator_cls(merged, split.space, self._parzen_estimator_parameters)


_swap = threading.Lock()
_plain = _truncnorm._log_ndtr


@contextmanager
def _quick_logarithms() -> Iterator[None]:
    """Optuna's densities take `log_ndtr` inside; one thread at a time, others get the same floats slower."""
    with _swap:
        _truncnorm._log_ndtr = log_ndtr
        try:
            yield
        finally:
            _truncnorm._log_ndtr = _plain


def log_ndtr(a: Array) -> Array:
    """The logarithm of the standard normal distribution function, the floats of Optuna's `_log_ndtr`.

    NumPy's own exp, log and square may differ from Python's in the last bit; so each of them is mapped.
    """
    flat = a.ravel()
    out = np.empty_like(flat)
    right, middle = flat > 6, (flat > -20) & (flat <= 6)
    left = ~(right | middle)
    out[right] = -_ndtr(-flat[right])
    out[middle] = _map(math.log, _ndtr(flat[middle]))
    out[left] = _log_ndtr_left(flat[left])
    return out.reshape(a.shape)


def _ndtr(a: Array) -> Array:
    x = a / 2**0.5
    out = np.empty_like(x)
    left, right = x < -1 / 2**0.5, x >= 1 / 2**0.5
    middle = ~(left | right)
    out[left] = 0.5 * _map(math.erfc, -x[left])
    out[middle] = 0.5 + 0.5 * _map(math.erf, x[middle])
    out[right] = 1.0 - 0.5 * _map(math.erfc, x[right])
    return out


def _log_ndtr_left(a: Array) -> Array:
    """The asymptotic series far in the left tail; each element stops where it has converged."""
    square = np.array([x**2 for x in a.tolist()], dtype=np.float64)
    head = -0.5 * square - _map(math.log, -a) - _LOG_SQRT_2PI
    total, last, factor, ratio = np.ones_like(a), np.zeros_like(a), np.ones_like(a), 1 / square
    numerator, sign, i = 1.0, 1, 0
    while (going := np.abs(last - total) > np.finfo(np.float64).eps).any():
        i += 1
        sign = -sign
        factor = factor * ratio
        numerator *= 2 * i - 1
        last = np.where(going, total, last)
        total = np.where(going, total + sign * numerator * factor, total)
    return head + _map(math.log, total)


def _map(function: Any, values: Array) -> Array:
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))

"""Freeze-thaw over the barriers: sixteen slots go to the trials, new or paused, that promise most for an epoch's work.

At each barrier every curve is extrapolated to its last epoch. Gains from one epoch to the next are regressed on the
gain before, over all trials that have both, and chained; their residual variances add up. A Gaussian process on configs
(Matérn 5/2, a length scale a dimension) is fitted to the extrapolated results, each with its own variance beside the
common noise. A trial's promise is its expected improvement over the best complete trial for each epoch that it still
needs. A new trial is counted with five times its epochs: with less, nearly all slots went to new ones (tried on six
seeds of digits from 1000 on, which are not compared). New configs are chosen one after the other, each as if those
before it had given what is expected.

The idea is that of ifBO (Rakotoarison et al. 2024) and of Swersky et al. 2014, with a model that needs no download.
Pausing costs nothing here: a real trainer would have to keep the state of every trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from curves import Space, Surrogate, placed
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, IntDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm
from ways import IN_FLIGHT, Way

from mtlsearch.evidence.importance.shares import place
from mtlsearch.tuning.pruners import KEPT, LEAST_PEERS

Array = NDArray[np.float64]
NEW_COST = 5.0  # of a new trial's epochs: its promise is the least sure; with less the search begins too many
RANDOM = 1 / 8  # of the new trials
CANDIDATES, NEAR = 300, 6  # configs of each kind that are considered, and trials that half of them lie near
STEP = 0.1  # of a range, to a config near another one
REFIT = 3  # barriers
LOW = 3.0  # interquartile ranges below the lower quartile, where results are cut off


def unplaced(space: Space, unit: Sequence[float]) -> dict[str, Any]:
    """The config at a place in the unit cube."""
    found: dict[str, Any] = {}
    for (name, d), u in zip(space.items(), unit, strict=True):
        if isinstance(d, CategoricalDistribution):
            found[name] = d.choices[min(int(u * len(d.choices)), len(d.choices) - 1)]
            continue
        low, high = (np.log(d.low), np.log(d.high)) if d.log else (d.low, d.high)
        value = float(np.exp(low + u * (high - low)) if d.log else low + u * (high - low))
        value = min(max(value, d.low), d.high)
        found[name] = round(value) if isinstance(d, IntDistribution) else value
    return found


class Extrapolation:
    """Expected final scores of curves, and their variances."""

    def __init__(self, epochs: int, curves: Sequence[Array]) -> None:
        self.epochs = epochs
        self.steps: list[tuple[float, float, float]] = []  # of each epoch: constant, slope, residual variance
        best = [np.maximum.accumulate(curve) for curve in curves]
        # Before any pair is known a gain may be as large as trials differ after their first epoch.
        spread = float(np.std([b[0] for b in best]))
        constant, slope, variance = spread / 2, 0.5, spread**2
        for epoch in range(1, epochs):
            pairs = np.array([[_gain(b, epoch), b[epoch] - b[epoch - 1]] for b in best if len(b) > epoch])
            if len(pairs) >= 4:
                before, after = pairs.T
                ridge = 1e-2 * float(before @ before) + 1e-12
                centred = before - before.mean()
                slope = float(np.clip((centred @ after) / (centred @ centred + ridge), 0.0, 1.0))
                constant = float(after.mean() - slope * before.mean())
                variance = float(np.mean((after - constant - slope * before) ** 2))
            else:  # gains fade
                constant, variance = constant / 2, variance / 4
            self.steps.append((constant, slope, variance))

    def of(self, curve: Array) -> tuple[float, float]:
        """The expected final score of a curve, and its variance."""
        best = np.maximum.accumulate(curve)
        value, gain, spread = float(best[-1]), _gain(best, len(best)), 0.0
        for constant, slope, variance in self.steps[len(best) - 1 :]:
            gain = max(0.0, constant + slope * gain)
            value, spread = value + gain, spread + variance
        return value, spread


def _gain(best: Array, epochs: int) -> float:
    return float(best[epochs - 1] - best[epochs - 2]) if epochs > 1 else 0.0


class Process:
    """A Gaussian process whose observations have variances of their own; a fit begins where the last one ended."""

    def __init__(self, dimensions: int) -> None:
        self.theta = np.concatenate([np.full(dimensions, np.log(0.5)), [0.0, np.log(0.1)]])

    def kernel(self, a: Array, b: Array, theta: Array) -> Array:
        distance = (((a[:, None] - b[None]) / np.exp(theta[:-2])) ** 2).sum(axis=2)
        root = np.sqrt(5 * distance + 1e-12)
        found: Array = np.exp(theta[-2]) * (1 + root + root**2 / 3) * np.exp(-root)
        return found

    def fit(self, x: Array, y: Array, own: Array, *, search: bool) -> None:
        self.x, self.y, self.own = x, y, own
        if search:
            bounds = [(np.log(0.05), np.log(20.0))] * x.shape[1] + [(np.log(0.05), np.log(20.0)), (np.log(1e-4), 0.5)]
            self.theta = minimize(self._loss, self.theta, jac=True, bounds=bounds, options={"maxiter": 15}).x
        self.noise = float(np.exp(self.theta[-1]))
        self.known = self.kernel(x, x, self.theta)
        self.lower = cholesky(self.known + np.diag(own + self.noise + 1e-8), lower=True)
        self.weights = cho_solve((self.lower, True), y)

    def _loss(self, theta: Array) -> tuple[float, Array]:
        """Minus the log posterior of the hyperparameters, and its gradient."""
        x, y = self.x, self.y
        scaled = ((x[:, None] - x[None]) / np.exp(theta[:-2])) ** 2
        root = np.sqrt(5 * scaled.sum(axis=2) + 1e-12)
        decay = np.exp(theta[-2]) * np.exp(-root)
        known, noise = decay * (1 + root + root**2 / 3), np.exp(theta[-1])
        lower = cholesky(known + np.diag(self.own + noise + 1e-8), lower=True)
        weights = cho_solve((lower, True), y)
        inverse = cho_solve((lower, True), np.eye(len(y)))
        inner = inverse - np.outer(weights, weights)
        by_scale = decay * (1 + root) * 5 / 3
        scales = [0.5 * float((inner * by_scale * scaled[:, :, d]).sum()) for d in range(x.shape[1])]
        grad = np.array([*scales, 0.5 * float((inner * known).sum()), 0.5 * noise * float(np.trace(inner))])
        prior = np.concatenate([np.full(x.shape[1], np.log(0.7)), [0.0, np.log(0.1)]])
        spread = np.concatenate([np.full(x.shape[1], 1.0), [1.0, 1.5]])
        off = (theta - prior) / spread
        loss = 0.5 * float(y @ weights) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(off @ off)
        return loss, grad + off / spread

    def seen(self) -> tuple[Array, Array]:
        """Mean and standard deviation of the final results of the trials themselves, their noise included."""
        cross = self.known + self.noise * np.eye(len(self.x))
        solved = solve_triangular(self.lower, cross, lower=True)
        variance = np.diag(cross) - (solved**2).sum(axis=0)
        return cross @ self.weights, np.sqrt(np.maximum(variance, 1e-12))

    def unseen(self, x: Array) -> tuple[Array, Array, Array]:
        """Mean and variance of new configs' results, their noise included, and what their covariances follow from."""
        cross = self.kernel(self.x, x, self.theta)
        solved = solve_triangular(self.lower, cross, lower=True)
        variance = np.exp(self.theta[-2]) + self.noise - (solved**2).sum(axis=0)
        return cross.T @ self.weights, np.maximum(variance, 1e-12), solved


def improvement(mean: Array, sd: Array, best: float) -> Array:
    """The expected improvement over `best`."""
    z = (mean - best) / sd
    found: Array = sd * (z * norm.cdf(z) + norm.pdf(z))
    return found


class FreezeThaw(Way):
    """Sixteen slots for the trials that promise most."""

    def __init__(self, surrogate: Surrogate, seed: int, new_cost: float = NEW_COST) -> None:
        super().__init__(surrogate, seed)
        self.asking = np.random.default_rng([seed, 2])
        self.new_cost = new_cost
        self.process = Process(len(placed(self.surrogate.space, [self.surrogate.default])[0]))
        self.x: list[Array] = []
        self.barriers = 0

    def new(self, params: Mapping[str, Any]) -> int:
        self.x.append(placed(self.surrogate.space, [params])[0])
        return self.begun(params)

    def drawn(self) -> dict[str, Any]:
        return unplaced(self.surrogate.space, self.asking.random(len(self.surrogate.space)).tolist())

    def chosen(self) -> Sequence[int]:
        self.barriers += 1
        if not self.params:
            return [self.new(self.surrogate.default), *(self.new(self.drawn()) for _ in range(IN_FLIGHT - 1))]
        expected = self._fitted()
        mean, sd = self.process.seen()
        over = [n for n, epochs in enumerate(self.trained) if epochs == self.surrogate.epochs]
        best = float(max((expected[n] for n in over), default=mean.max()))
        return self.slots(self.promise(mean, sd, best), mean, best)

    def promise(self, mean: Array, sd: Array, best: float) -> Array:
        """What each trial promises for an epoch, −infinity where it is complete."""
        left = np.array([self.surrogate.epochs - epochs for epochs in self.trained])
        found = np.where(left > 0, improvement(mean, sd, best) / np.maximum(left, 1), -np.inf)
        if left[0]:
            found[0] = np.inf  # the default config is never pruned
        return found

    def learn(self, members: Sequence[int]) -> None:
        """The next choice reads every curve anew."""

    def _fitted(self) -> Array:
        """The standardised expected results of the trials, which the process is fitted to."""
        curves = [self.known(n) for n in range(len(self.params))]
        extrapolation = Extrapolation(self.surrogate.epochs, curves)
        found = np.array([extrapolation.of(curve) for curve in curves])
        low, high = np.quantile(found[:, 0], [0.25, 0.75])
        value = np.maximum(found[:, 0], low - LOW * (high - low))
        scale = float(value.std()) or 1.0
        expected: Array = (value - value.mean()) / scale
        self.process.fit(np.array(self.x), expected, found[:, 1] / scale**2, search=self.barriers % REFIT == 2)
        return expected

    def _candidates(self, mean: Array) -> list[dict[str, Any]]:
        space = self.surrogate.space
        found = [self.drawn() for _ in range(CANDIDATES // 2)]
        for number in np.argsort(-mean)[:NEAR]:
            for _ in range(CANDIDATES // 2 // NEAR):
                unit = np.array([place(d, self.params[number][name]) for name, d in space.items()])
                moved = self.asking.random(len(unit)) < max(0.5, 2 / len(unit))
                unit = np.clip(unit + moved * self.asking.normal(size=len(unit)) * STEP, 0, 1)
                for at, d in enumerate(space.values()):
                    if isinstance(d, CategoricalDistribution) and self.asking.random() < STEP:
                        unit[at] = self.asking.random()
                found.append(unplaced(space, unit.tolist()))
        return found

    def slots(self, promise: Array, mean: Array, best: float) -> list[int]:
        """Sixteen trials: those of most promise, and new ones where these promise more."""
        candidates = self._candidates(mean)
        x = placed(self.surrogate.space, candidates)
        expected, variance, solved = self.process.unseen(x)
        cost = self.new_cost * self.surrogate.epochs
        members: list[int] = []
        order = np.argsort(-promise).tolist()
        waiting = [n for n in order if promise[n] > -np.inf]
        while len(members) < IN_FLIGHT:
            gain = improvement(expected, np.sqrt(np.maximum(variance, 1e-12)), best) / cost
            top = int(np.argmax(gain))
            if waiting and promise[waiting[0]] >= gain[top]:
                members.append(waiting.pop(0))
            elif self.asking.random() < RANDOM:
                members.append(self.new(self.drawn()))
            else:
                members.append(self.new(candidates[top]))
                between = self.process.kernel(x, x[top : top + 1], self.process.theta)[:, 0] - solved.T @ solved[:, top]
                along = between / np.sqrt(variance[top])
                solved = np.vstack([solved, along])
                variance = variance - along**2
                expected = np.where(np.arange(len(expected)) == top, -np.inf, expected)
        return members


class PrunedProcess(FreezeThaw):
    """The same model for new configs alone; trials that began go on until the rule of peers prunes them."""

    def __init__(self, surrogate: Surrogate, seed: int) -> None:
        super().__init__(surrogate, seed)
        self.ended: set[int] = set()

    def promise(self, mean: Array, sd: Array, best: float) -> Array:
        found = np.full(len(mean), np.inf)
        found[list(self.ended)] = -np.inf
        return found

    def learn(self, members: Sequence[int]) -> None:
        for number in members:
            epoch = self.trained[number] - 1
            peers = [curve[epoch] for curve, epochs in zip(self.curves, self.trained, strict=True) if epochs > epoch]
            enough = epoch >= 1 and len(peers) >= LEAST_PEERS and number > 0
            below = enough and self.known(number).max() < np.quantile(peers, 1 - KEPT)
            if below or self.trained[number] == self.surrogate.epochs:
                self.ended.add(number)

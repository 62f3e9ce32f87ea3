"""How tasks and their score are measured on test: direction, unit, smallest step, and the margin that matters."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtlsearch.evidence.statistics import Array, Estimate, estimate, rounding_sd, t_interval

PerSeed = Mapping[str, Sequence[float]]  # a test metric by task, one value a seed, NaN where the seed failed
Score = str | Callable[[Mapping[str, float]], float]  # "mean", "min", or a callable of oriented metrics

FRACTIONS = frozenset({"accuracy", "macro_f1", "macro_auroc", "auroc", "average_precision", "span_f1", "r2"})
FRACTION_MARGIN, RELATIVE_MARGIN = 0.002, 0.01


@dataclass(frozen=True)
class TaskMetric:
    """How one task is measured: the metric's name, its direction, and the test set's size (0: unknown)."""

    name: str = "accuracy"
    higher_is_better: bool = True
    test_examples: int = 0

    @property
    def fraction(self) -> bool:
        return self.name in FRACTIONS

    @property
    def scale(self) -> float:
        """The factor that makes a value readable: 100 for a fraction, which is shown in percent."""
        return 100.0 if self.fraction else 1.0

    @property
    def unit(self) -> str:
        """The unit behind a scaled value: " %" or nothing."""
        return " %" if self.fraction else ""

    @property
    def step(self) -> float:
        """The smallest change the test set can show; 0 where it is unknown or there is none."""
        return 1 / self.test_examples if self.name == "accuracy" and self.test_examples else 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value that there can be; R² has no lowest."""
        if not self.fraction:
            return -math.inf, math.inf
        return (-math.inf if self.name == "r2" else 0.0), 1.0

    @property
    def sign(self) -> int:
        return 1 if self.higher_is_better else -1

    def margin(self, equal: Sequence[float]) -> float:
        """The difference that does not matter, at the values of `equal` weights over seeds."""
        if self.fraction:
            return FRACTION_MARGIN
        mean = float(t_interval(equal).mean)
        return RELATIVE_MARGIN * abs(mean) if math.isfinite(mean) else 0.0


def estimates(values: PerSeed, metrics: Mapping[str, TaskMetric], level: float) -> dict[str, Estimate]:
    """Each task's mean over seeds with its interval, within what its metric can reach."""
    return {
        task: estimate(values[task], level, rounding_sd(metric.step)).within(*metric.bounds)
        for task, metric in metrics.items()
    }


def scores(values: PerSeed, metrics: Mapping[str, TaskMetric], score: Score) -> Array:
    """The score of every seed [S]; NaN where a task's metric is."""
    signs = np.array([metric.sign for metric in metrics.values()])
    oriented = signs[:, None] * np.array([values[task] for task in metrics], dtype=np.float64)
    if not callable(score):
        return _over_tasks(oriented, score)
    seeds = (dict(zip(metrics, map(float, column), strict=True)) for column in oriented.T)
    return np.array([score(seed) if np.isfinite(list(seed.values())).all() else np.nan for seed in seeds])


def score_margin(equal: PerSeed, metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The difference in score that does not matter, at the values of `equal` weights; 0 for a user's own score."""
    if callable(score):
        return 0.0
    return float(_over_tasks(np.array([m.margin(equal[task]) for task, m in metrics.items()]), score))


def score_bounds(metrics: Mapping[str, TaskMetric], score: Score) -> tuple[float, float]:
    """The lowest and the highest score that there can be, where all metrics are fractions."""
    if callable(score) or not all(metric.fraction for metric in metrics.values()):
        return -math.inf, math.inf
    return min(metric.bounds[0] for metric in metrics.values()), 1.0


def score_floor(metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The sd of rounding the score to the test sets' steps; 0 where some metric has no step."""
    steps = [metric.step for metric in metrics.values()]
    if callable(score) or not all(steps):
        return 0.0
    return rounding_sd(min(steps) / (len(steps) if score == "mean" else 1))


def _over_tasks(values: Array, score: str) -> Array:
    assert score in ("mean", "min"), score
    return np.asarray(values.mean(0) if score == "mean" else values.min(0))

"""How tasks and their score are measured on test: direction, unit, smallest step, and the margin that matters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtlsearch.evidence.statistics import Array, Estimate, estimate, rounding_sd, t_interval
from mtlsearch.study.score import CALLABLE, MEAN, PARETO, Score

PerSeed = Mapping[str, Sequence[float]]  # a test metric by task, one value a seed, NaN where the seed failed

FRACTIONS = frozenset({"accuracy", "macro_f1", "macro_auroc", "auroc", "average_precision", "span_f1", "r2"})
RELATIVE_L2 = "relative_l2"
FRACTION_MARGIN, RELATIVE_MARGIN = 0.002, 0.01


@dataclass(frozen=True)
class TaskMetric:
    """How one task is measured: the metric's name, its direction, and the test set's size (0: unknown).

    `overlap` is that of new divisions of the data (`statistics`), 0 where all seeds have one division.
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    test_examples: int = 0
    overlap: float = 0.0

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
            return (0.0 if self.name == RELATIVE_L2 else -math.inf), math.inf
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
    """The mean over seeds of each task that has values, with its interval, within what its metric can reach."""
    return {
        task: estimate(values[task], level, rounding_sd(metric.step), metric.overlap).within(*metric.bounds)
        for task, metric in metrics.items()
        if task in values
    }


def scores(values: PerSeed, metrics: Mapping[str, TaskMetric], score: Score) -> Array:
    """The score of every seed [S]; NaN where the metric of a scored task is."""
    scored = [task for task in score.weights(list(metrics)) if task in values]
    columns = zip(*(values[task] for task in values), strict=True)
    seeds = [dict(zip(values, column, strict=True)) for column in columns]

    def one(seed: Mapping[str, float]) -> float:
        if not all(math.isfinite(seed[task]) for task in scored):
            return math.nan
        return score.value({task: metrics[task].sign * float(value) for task, value in seed.items()})

    return np.array([one(seed) for seed in seeds], dtype=np.float64)


def score_margin(equal: PerSeed, metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The difference in score that does not matter, at the values of `equal` weights."""
    means = {task: metric.sign * float(t_interval(equal[task]).mean) for task, metric in metrics.items()}
    return score.margin_at(means, {task: metric.margin(equal[task]) for task, metric in metrics.items()})


def score_bounds(metrics: Mapping[str, TaskMetric], score: Score) -> tuple[float, float]:
    """The lowest and the highest score that there can be, where all metrics are fractions."""
    scored = [metrics[task] for task in score.weights(list(metrics))]
    if score.kind == CALLABLE or not all(metric.fraction for metric in scored):
        return -math.inf, math.inf
    return min(metric.bounds[0] for metric in scored), 1.0


def score_overlap(metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The overlap of divisions for the score: the largest of a scored task."""
    return max((metrics[task].overlap for task in score.weights(list(metrics))), default=0.0)


def score_floor(metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The sd of rounding the score to the test sets' steps; 0 where the metric of a scored task has no step."""
    weights = score.weights(list(metrics))
    steps = {task: metrics[task].step for task in weights}
    if score.kind == CALLABLE or not all(steps.values()):
        return 0.0
    if score.kind in (MEAN, PARETO):
        return rounding_sd(min(steps.values()) / len(steps))
    if score.kind == "weighted":
        return rounding_sd(min(weight * steps[task] for task, weight in weights.items()))
    return rounding_sd(min(steps.values()))

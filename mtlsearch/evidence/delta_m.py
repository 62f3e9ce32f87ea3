"""Δm: the gain or the cost of sharing against each task trained alone, in percent."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from mtlsearch.evidence.metric import PerSeed, TaskMetric
from mtlsearch.evidence.statistics import Array, Estimate, estimate


def delta_m(
    shared: Mapping[str, ArrayLike], single: Mapping[str, ArrayLike], metrics: Mapping[str, TaskMetric]
) -> tuple[Array | None, str]:
    """Δm of the tasks that were trained alone in percent, one value a seed, and what it is against.

    R² enters as the error 1 - R² (squared error over variance); None and the reason where a baseline is ≤ 0.
    """
    gains = []
    metrics = {task: metric for task, metric in metrics.items() if task in single}
    for task, metric in metrics.items():
        m, s, sign = np.asarray(shared[task], np.float64), np.asarray(single[task], np.float64), metric.sign
        if metric.name == "r2":
            m, s, sign = 1 - m, 1 - s, -1
        if np.any(s <= 0):
            return None, f"no Δm: the single-task {metric.name} of task {task} is zero or negative in a seed"
        gains.append(sign * (m - s) / s)
    errors = [task for task, metric in metrics.items() if metric.name == "r2"]
    note = "against single-task training, formed per seed"
    if errors:
        note += f"; r2 as the error 1 - r2 ({', '.join(errors)})"
    return 100 * np.mean(gains, axis=0), note


def delta_of(
    shared: PerSeed, single: PerSeed | None, metrics: Mapping[str, TaskMetric], level: float
) -> Estimate | None:
    """Δm's mean over seeds with its interval; None without single-task training or a positive baseline."""
    values = None if single is None else delta_m(shared, single, metrics)[0]
    overlap = max((metrics[task].overlap for task in single or ()), default=0.0)
    return None if values is None else estimate(values, level, overlap=overlap)

"""The gain or the cost of sharing against each task trained alone: Δm, and the claims of harm by `verdict`'s rule."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mtlsearch.evidence.metric import PerSeed, TaskMetric, estimates
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.statistics import (
    ALPHA,
    Array,
    Claim,
    Estimate,
    claims_of,
    estimate,
    holm,
    rounding_sd,
    t_interval,
)


def delta_m(
    shared: Mapping[str, ArrayLike], single: Mapping[str, ArrayLike], metrics: Mapping[str, TaskMetric]
) -> tuple[Array | None, str]:
    """Δm against single-task training in percent, one value a seed, and what it is against.

    R² enters as the error 1 - R² (squared error over variance); None and the reason where a baseline is ≤ 0.
    """
    gains = []
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
    return None if values is None else estimate(values, level)


@dataclass(frozen=True)
class Alone:
    """Each task trained alone, with the hyperparameters of the winner; empty without single-task training.

    `harm` is single-task minus shared, higher is more harm. `note` names Δm's baseline, or why there is none.
    """

    metrics: dict[str, Estimate]
    harm: dict[str, Claim]
    harm_sentences: tuple[str, ...]
    note: str

    @classmethod
    def of(
        cls,
        single: PerSeed | None,
        shared: PerSeed,
        equal: PerSeed,
        metrics: Mapping[str, TaskMetric],
        level: float,
    ) -> "Alone":
        """`shared` is at the weights that the verdict keeps, `equal` at equal weights."""
        if single is None:
            return cls({}, {}, (), "no Δm: no single-task training to hold it against")
        harm = claims_of_harm(shared, single, metrics, level)
        note = delta_m(shared, single, metrics)[1]
        return cls(estimates(single, metrics, level), harm, harm_sentences(harm, equal, metrics), note)


def claims_of_harm(
    shared: PerSeed, single: PerSeed, metrics: Mapping[str, TaskMetric], level: float
) -> dict[str, Claim]:
    """How much better each task is alone, Holm over the tasks; empty where there is one task."""
    if len(metrics) == 1:
        return {}
    floors = np.array([rounding_sd(metric.step) for metric in metrics.values()])
    signs = np.array([metric.sign for metric in metrics.values()])
    alone, together = (np.array([values[task] for task in metrics], float) for values in (single, shared))
    found = t_interval(signs[:, None] * (alone - together), floors, level)
    return dict(zip(metrics, claims_of(found, holm(found.p)), strict=True))


def harm_sentences(harm: Mapping[str, Claim], equal: PerSeed, metrics: Mapping[str, TaskMetric]) -> tuple[str, ...]:
    """A sentence for each task that is proven to be better alone; margins are of its values at `equal` weights."""

    def hurts(task: str, claim: Claim) -> bool:
        found, margin = claim.difference, metrics[task].margin(equal[task])
        proven = claim.p_holm is not None and claim.p_holm <= ALPHA
        return proven and found.mean > 0 and found.high is not None and found.high > margin

    return tuple(
        f"sharing hurts task {task} {Unit.of([metrics[task]]).gain(claim.difference)}: train it alone"
        for task, claim in harm.items()
        if hurts(task, claim)
    )

"""What a comparison of weighting methods says: a table, and sentences that follow by a written rule.

Every method had the same search, and its best config was trained again with the same S fresh seeds.

**The rule.** For each method but `equal`, the score on test minus that of equal weights is paired over the seeds,
with a 95 % t interval and a p-value (two-sided paired t, Holm over the methods). The first line that applies:

1. *undecided*, where no method has two pairs of seeds left: there is no interval.
2. *X beats equal weights by … to …*, for each method whose difference is positive with an adjusted p of at most
   0.05.
3. *no method beats equal weights: S seeds can only see differences above x*: what S seeds would show 80 % of the
   time, by the noncentral t at level 0.05 / the number of methods; from the steadiest method to the noisiest.

A further line names each method that falls behind equal weights by the same test. Nothing here needs torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from mtlsearch.evidence.delta_m import delta_m
from mtlsearch.evidence.sentences import Score, TaskMetric, Unit, covers_text, decimals, shown
from mtlsearch.evidence.statistics import (
    ALPHA,
    Claim,
    Estimate,
    claims_of,
    detectable,
    estimate,
    holm,
    rounding_sd,
    sampling_error,
    t_interval,
)
from mtlsearch.evidence.trainings import ended, find_confirmation
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.record import Record

COMPARISON_FORMAT = "mtlsearch/comparison/1"
EQUAL, TUNED = "equal", "tuned"
LEVEL = 1 - ALPHA
Values = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Outcome:
    """What a method reached with the config of its best `trial`, one value a seed (NaN where it failed); its cost."""

    method: str
    trial: int
    metrics: Values  # on test, by task
    score: Sequence[float]  # on test
    trial_epochs: int
    seconds: float


def compared(
    outcomes: Sequence[Outcome],
    failed: Mapping[str, str],
    metrics: Mapping[str, TaskMetric],
    score: Score,
    single: Values | None,
    *,
    trials: int,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """The comparison as it is stored; `failed` says why a method has no config, `single` is each task alone.

    Of a number over less than two seeds low and high are None, its mean where every seed failed.
    """
    claims = _claims(outcomes, metrics, score)
    floor = _least_sd(metrics, score)
    gains = {o.method: _delta(o.metrics, single, metrics) for o in outcomes}
    methods = [
        {
            "method": o.method,
            "trial": o.trial,
            "tasks": {
                task: {"metric": m.name, **numbers(estimate(o.metrics[task], LEVEL, rounding_sd(m.step)))}
                for task, m in metrics.items()
            },
            "score": numbers(estimate(o.score, LEVEL, floor)),
            "difference": numbers(claims[o.method].difference) if o.method in claims else None,
            "delta_m": gains[o.method],
            "trial_epochs": o.trial_epochs,
            "seconds": round(o.seconds, 1),
        }
        for o in outcomes
    ]
    unit = Unit.of(list(metrics.values()), score)
    lines = [*sentences(claims, unit), *(f"{method} has no result: {why}" for method, why in failed.items())]
    lines += [_baseline(single, gains), _covers(outcomes, claims, metrics, len(seeds))]
    return {
        "format": COMPARISON_FORMAT,
        "trials": trials,
        "seeds": list(seeds),
        "methods": methods,
        "lines": lines,
    }


def sentences(claims: Mapping[str, Claim], unit: Unit) -> list[str]:
    """The lines of the module's rule."""
    tested = {method: c for method, c in claims.items() if c.difference.low is not None}
    if not tested:
        return ["undecided: fewer than two pairs of seeds give no interval; compare with 5 seeds or more"]
    proven = {method: c.difference for method, c in tested.items() if (c.p_holm or 0.0) <= ALPHA}
    lines = [
        f"{method} beats equal weights {unit.gain(found)}"
        for method, found in proven.items()
        if found.mean > 0
    ]
    if not lines:
        lines = [f"no method beats equal weights: {_limit(tested, len(claims), unit)}"]
    behind = [
        f"{method} falls behind equal weights {unit.gain(_negative(found))}"
        for method, found in proven.items()
        if found.mean < 0
    ]
    return ["; ".join(lines), *(["; ".join(behind)] if behind else [])]


def _limit(claims: Mapping[str, Claim], methods: int, unit: Unit) -> str:
    """What so many seeds can see, from the steadiest of the methods to the noisiest."""
    seeds = [claim.difference.n for claim in claims.values()]
    limits = sorted(
        unit.scale * detectable(c.difference.n, c.difference.sd or 0.0, ALPHA / methods)
        for c in claims.values()
    )
    least, most = (f"{x:.{decimals(x)}f}" for x in (limits[0], limits[-1]))
    many = f"{min(seeds)} seeds can only see differences above"
    return (
        f"{many} {most} {unit.word}" if least == most else f"{many} {least} to {most} {unit.word}, by method"
    )


def table(comparison: Mapping[str, Any], score: Score) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a comparison for people, the best score first; no more decimals than intervals allow.

    What a narrow terminal has no room for is at the end: the tasks, of which the score tells already.
    """

    def mean(method: Mapping[str, Any]) -> float:
        found = method["score"]["mean"]
        return -math.inf if found is None else float(found)

    ranked = sorted(comparison["methods"], key=mean, reverse=True)
    tasks = {task: TaskMetric(m["metric"]) for method in ranked for task, m in method["tasks"].items()}
    unit = Unit.of(list(tasks.values()), score) if tasks else Unit(1.0, "in score")
    percent = " %" if unit.scale == 100 else ""
    gains = any(method["delta_m"] for method in ranked)
    columns = ["method", "score", f"minus equal ({unit.word})", "trial-epochs", "seconds"]
    columns += [*(["Δm"] if gains else []), *(f"{task} {metric.name}" for task, metric in tasks.items())]
    rows: list[list[object]] = []
    for method in ranked:
        row: list[object] = [method["method"], _cell(method["score"], unit.scale, percent)]
        row += [_cell(method["difference"], unit.scale), method["trial_epochs"], round(method["seconds"])]
        row += [_cell(method["delta_m"], 1.0, " %")] if gains else []
        for task, metric in tasks.items():
            row.append(_cell(method["tasks"][task], metric.scale, metric.unit))
        rows.append(row)
    return columns, rows


def numbers(found: Estimate) -> dict[str, float | None]:
    """An estimate as it is stored; what is unknown is None."""
    return {"mean": found.mean if found.n else None, "low": found.low, "high": found.high}


def first_counted(record: Record, trials: int) -> list[FrozenTrial]:
    """The first so many trials that have an outcome of their own: all that a method was given."""
    return sorted(filter(is_counted, record.trials()), key=lambda trial: trial.number)[:trials]


def single_runs(record: Record, seeds: Sequence[int], metrics: Mapping[str, TaskMetric]) -> Values | None:
    """Each task's test metric alone, by seed, from the study's confirmation; None where it has not all these seeds."""
    confirmation = find_confirmation(record)
    concluded = confirmation.study.user_attrs.get("conclusion") if confirmation is not None else None
    if confirmation is None or concluded is None:
        return None
    attrs = (trial.user_attrs for trial in ended(confirmation).values())
    runs = {(a["task"], a["seed"]): a for a in attrs if "task" in a and a["of"] == concluded["of"]}
    if any((task, seed) not in runs for task in metrics for seed in seeds):
        return None
    return {
        task: [runs[task, seed].get("test", {task: {m.name: math.nan}})[task][m.name] for seed in seeds]
        for task, m in metrics.items()
    }


def _claims(outcomes: Sequence[Outcome], metrics: Mapping[str, TaskMetric], score: Score) -> dict[str, Claim]:
    """Each method's score minus equal's, paired over the seeds, with Holm's p over the methods."""
    equal = next((o for o in outcomes if o.method == EQUAL), None)
    others = [o for o in outcomes if o.method != EQUAL]
    if equal is None or not others:
        return {}
    differences = np.array([o.score for o in others], dtype=float) - np.array(equal.score, dtype=float)
    found = t_interval(differences, _least_sd(metrics, score), LEVEL)
    return dict(zip([o.method for o in others], claims_of(found, holm(found.p)), strict=True))


def _least_sd(metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The sd of rounding the score to the test sets' steps; 0 where some metric has no step."""
    steps = [metric.step for metric in metrics.values()]
    if callable(score) or not all(steps):
        return 0.0
    return rounding_sd(min(steps) / (len(steps) if score == "mean" else 1))


def _delta(
    shared: Values, single: Values | None, metrics: Mapping[str, TaskMetric]
) -> dict[str, float | None] | None:
    values = None if single is None else delta_m(shared, single, metrics)[0]
    return None if values is None else numbers(estimate(values, LEVEL))


def _baseline(single: Values | None, gains: Mapping[str, Any]) -> str:
    if any(gains.values()):
        return "Δm against single-task training with the same seeds, at the hyperparameters of the confirmed winner"
    if single is not None:
        return "no Δm: a single-task metric is zero or negative in a seed"
    return "no Δm: `mtlsearch confirm` with as many seeds trains each task alone, then compare again"


def _covers(
    outcomes: Sequence[Outcome], claims: Mapping[str, Claim], metrics: Mapping[str, TaskMetric], seeds: int
) -> str:
    errors = {}
    for task, metric in metrics.items():
        means = [estimate(o.metrics[task], LEVEL) for o in outcomes]
        known = [e.mean for e in means if e.n]
        if metric.step and known:
            errors[task] = sampling_error(max(known), metric.test_examples)
    pairs = min((c.difference.n for c in claims.values()), default=seeds)
    return covers_text(pairs, seeds, LEVEL, errors, metrics)


def _negative(found: Estimate) -> Estimate:
    assert found.low is not None
    assert found.high is not None
    return Estimate(-found.mean, -found.high, -found.low, found.sd, found.n)


def _cell(stored: Mapping[str, Any] | None, scale: float, unit: str = "") -> str:
    if stored is None:
        return "–"
    if stored["mean"] is None:
        return "failed"
    seeds = 1 if stored["low"] is None else 2  # enough for `shown` to know whether there is an interval
    return shown(Estimate(stored["mean"], stored["low"], stored["high"], None, seeds), scale, unit)

"""The comparison of weighting methods: a table, and sentences that follow from a written rule.

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

from mtlsearch.evidence.delta_m import delta_of
from mtlsearch.evidence.metric import PerSeed, TaskMetric, estimates, score_bounds, score_floor
from mtlsearch.evidence.sentences import Limits, Unit, decimals, shown
from mtlsearch.evidence.statistics import (
    ALPHA,
    Claim,
    Estimate,
    claims_of,
    detectable,
    estimate,
    holm,
    t_interval,
)
from mtlsearch.evidence.trainings import find_confirmation, runs_alone
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.record import Record
from mtlsearch.study.score import Score
from mtlsearch.wording import shown_tasks

COMPARISON_FORMAT = "mtlsearch/comparison/1"
EQUAL, TUNED = "equal", "tuned"
LEVEL = 1 - ALPHA


@dataclass(frozen=True)
class Outcome:
    """The results and the cost of a method: on test with the config of its best `trial`, one value a seed."""

    method: str
    trial: int
    metrics: PerSeed
    score: Sequence[float]
    trial_epochs: int
    seconds: float


def compared(
    outcomes: Sequence[Outcome],
    failed: Mapping[str, str],
    metrics: Mapping[str, TaskMetric],
    score: Score,
    single: PerSeed | None,
    *,
    trials: int,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """The comparison as it is stored; `failed` says why a method has no config, `single` is each task alone.

    An estimate is stored as mean, low and high: without an interval low and high are None, and where every seed
    failed the mean is None too.
    """
    claims = _claims(outcomes, metrics, score)
    gains = {o.method: delta_of(o.metrics, single, metrics, LEVEL) for o in outcomes}
    floor = score_floor(metrics, score)
    methods = [
        {
            "method": o.method,
            "trial": o.trial,
            "tasks": {
                task: {"metric": metrics[task].name, **found.stored()}
                for task, found in estimates(o.metrics, metrics, LEVEL).items()
            },
            "score": estimate(o.score, LEVEL, floor).within(*score_bounds(metrics, score)).stored(),
            "difference": claims[o.method].difference.stored() if o.method in claims else None,
            "delta_m": gain.stored() if (gain := gains[o.method]) else None,
            "trial_epochs": o.trial_epochs,
            "seconds": round(o.seconds, 1),
        }
        for o in outcomes
    ]
    lines = [
        *sentences(claims, Unit.of_score(score, metrics)),
        *(f"{method} has no result: {why}" for method, why in failed.items()),
        _baseline(single, gains),
        _limits(outcomes, claims, metrics, len(seeds)).sentence(metrics),
    ]
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
    lines = [f"{method} beats equal weights {unit.gain(found)}" for method, found in proven.items() if found.mean > 0]
    if not lines:
        lines = [f"no method beats equal weights: {_limit(tested, len(claims), unit)}"]
    behind = [
        f"{method} falls behind equal weights {unit.gain(-found)}" for method, found in proven.items() if found.mean < 0
    ]
    return ["; ".join(lines), *(["; ".join(behind)] if behind else [])]


def _limit(claims: Mapping[str, Claim], methods: int, unit: Unit) -> str:
    """The differences that so many seeds can see, from the steadiest method to the noisiest."""
    seeds = [claim.difference.n for claim in claims.values()]
    limits = sorted(
        unit.scale * detectable(c.difference.n, c.difference.sd or 0.0, ALPHA / methods) for c in claims.values()
    )
    least, most = (f"{x:.{decimals(x)}f}" for x in (limits[0], limits[-1]))
    many = f"{min(seeds)} seeds can only see differences above"
    return f"{many} {most} {unit.word}" if least == most else f"{many} {least} to {most} {unit.word}, by method"


def ranked_methods(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The methods of a stored comparison, the best score first; a method without a score is last."""

    def mean(method: Mapping[str, Any]) -> float:
        found = method["score"]["mean"]
        return -math.inf if found is None else float(found)

    return sorted(comparison["methods"], key=mean, reverse=True)


def table(comparison: Mapping[str, Any], score: Score) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of a comparison for people, the best score first; no more decimals than intervals allow.

    The tasks come last: a narrow terminal has no room for them, and the score sums them up. Of very many tasks some
    are shown (`compared_tasks`).
    """
    methods = ranked_methods(comparison)
    tasks = _tasks(comparison)
    unit = Unit.of_score(score, tasks) if tasks else Unit(1.0, "in score")
    percent = " %" if unit.scale == 100 else ""
    gains = ["Δm"] if any(method["delta_m"] for method in methods) else []
    columns = ["method", "score", f"minus equal ({unit.word})", "trial-epochs", "seconds", *gains]
    shown = {task: tasks[task] for task in compared_tasks(comparison)}
    columns += [f"{task} {metric.name}" for task, metric in shown.items()]
    rows = [
        [
            method["method"],
            _cell(method["score"], unit.scale, percent),
            _cell(method["difference"], unit.scale),
            method["trial_epochs"],
            round(method["seconds"]),
            *(_cell(method["delta_m"], 1.0, " %") for _ in gains),
            *(_cell(method["tasks"][task], metric.scale, metric.unit) for task, metric in shown.items()),
        ]
        for method in methods
    ]
    return columns, rows


def compared_tasks(comparison: Mapping[str, Any]) -> list[str]:
    """All tasks if they are few; else those that gain most and least by the best method, against equal weights."""
    best, by_method = ranked_methods(comparison), {method["method"]: method for method in comparison["methods"]}
    first = next((method for method in best if method["method"] != EQUAL), None)
    equal, tasks = by_method.get(EQUAL), list(_tasks(comparison))

    def gain(task: str) -> float:
        means = [None if method is None else method["tasks"][task]["mean"] for method in (first, equal)]
        return 0.0 if means[0] is None or means[1] is None else means[0] - means[1]

    return shown_tasks({task: gain(task) for task in tasks})


def _tasks(comparison: Mapping[str, Any]) -> dict[str, TaskMetric]:
    """The metric of each task."""
    methods = comparison["methods"]
    return {task: TaskMetric(m["metric"]) for method in methods for task, m in method["tasks"].items()}


def task_table(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows of every task's test metric: a row a task, a column a method, the best score first."""
    methods, tasks = ranked_methods(comparison), _tasks(comparison)
    rows: list[list[object]] = [
        [task, metric.name, *(_cell(method["tasks"][task], metric.scale, metric.unit) for method in methods)]
        for task, metric in tasks.items()
    ]
    return ["task", "metric", *(method["method"] for method in methods)], rows


def outcome_line(outcome: Outcome, metrics: Mapping[str, TaskMetric], score: Score) -> str:
    """A method's outcome in a line, told as soon as its trainings have ended."""
    unit = Unit.of_score(score, metrics)
    found = estimate(outcome.score, LEVEL, score_floor(metrics, score)).within(*score_bounds(metrics, score))
    told = shown(found, unit.scale, " %" if unit.scale == 100 else "")
    return f"{outcome.method}: score on test {told}, with the config of trial {outcome.trial}"


def _cell(stored: Mapping[str, Any] | None, scale: float, unit: str = "") -> str:
    if stored is None:
        return "–"
    return "failed" if stored["mean"] is None else shown(Estimate.of_stored(stored), scale, unit)


def first_counted(record: Record, trials: int) -> list[FrozenTrial]:
    """The first `trials` trials that have an outcome of their own: all that a method was given."""
    return sorted(filter(is_counted, record.trials()), key=lambda trial: trial.number)[:trials]


def single_runs(record: Record, seeds: Sequence[int], metrics: Mapping[str, TaskMetric]) -> PerSeed | None:
    """Test metrics of the tasks that the study's confirmation trained alone, by seed; None without all these seeds."""
    confirmation = find_confirmation(record)
    if confirmation is None or confirmation.conclusion is None or confirmation.conclusion.get("divisions"):
        return None
    runs = runs_alone(confirmation, confirmation.conclusion)
    if not runs or any(seed not in by_seed for by_seed in runs.values() for seed in seeds):
        return None

    def value(task: str, seed: int) -> float:
        name = metrics[task].name
        return float(runs[task][seed].user_attrs.get("test", {task: {name: math.nan}})[task][name])

    return {task: [value(task, seed) for seed in seeds] for task in metrics if task in runs}


def _claims(outcomes: Sequence[Outcome], metrics: Mapping[str, TaskMetric], score: Score) -> dict[str, Claim]:
    """Each method's score minus equal's, paired over the seeds, with Holm's p over the methods."""
    equal = next((o for o in outcomes if o.method == EQUAL), None)
    others = [o for o in outcomes if o.method != EQUAL]
    if equal is None or not others:
        return {}
    differences = np.array([o.score for o in others], dtype=float) - np.array(equal.score, dtype=float)
    found = t_interval(differences, score_floor(metrics, score), LEVEL)
    return dict(zip([o.method for o in others], claims_of(found, holm(found.p)), strict=True))


def _baseline(single: PerSeed | None, gains: Mapping[str, Any]) -> str:
    """The baseline of Δm, or the reason why there is none."""
    if any(gains.values()):
        return "Δm against single-task training with the same seeds, of the confirmation"
    if single is not None:
        return "no Δm: a single-task metric is zero or negative in a seed"
    return "no Δm: `mtlsearch confirm --resplit 0` with as many seeds trains each task alone, then compare again"


def _limits(
    outcomes: Sequence[Outcome], claims: Mapping[str, Claim], metrics: Mapping[str, TaskMetric], seeds: int
) -> Limits:
    """The limits of the comparison, by the best mean of each task."""
    means = {task: [estimate(o.metrics[task], LEVEL) for o in outcomes] for task in metrics}
    best = {task: max((e.mean for e in found if e.n), default=math.nan) for task, found in means.items()}
    pairs = min((c.difference.n for c in claims.values()), default=seeds)
    return Limits.of(pairs, seeds, LEVEL, best, metrics)

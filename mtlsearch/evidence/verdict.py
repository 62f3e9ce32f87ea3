"""What a confirmation proves: intervals over seeds, and a sentence that follows by a written rule.

`judge` takes the numbers of a confirmation (k configs, each with its twin at equal weights, S fresh seeds)
and gives a `Verdict`; it knows no store and no model. A seed that failed is NaN and is dropped from its
pairs.

**The rule.** The winner has the best mean validation score. Its difference to its own twin is the score on
test, tuned minus equal, paired over seeds, with a 95 % t interval and a p-value (two-sided paired t, Holm
over the k configs). The first line that applies speaks:

1. *undecided*, where fewer than two pairs are left: there is no interval.
2. *equal weights are as good, keep them*: the interval lies within ±margin, whichever side of zero it is
   on.
3. *tuned weights beat equal ones by … to …*: the difference is positive and its adjusted p is at most 0.05.
4. *equal weights are better* (or *as good or better*), *keep them*: the interval ends at or below the
   margin.
5. *undecided: S seeds can only see differences above x*: what S seeds would call *tuned* 80 % of the time,
   by the noncentral t at level 0.05/k and the observed sd; and how many seeds would see the larger of the
   observed difference and the margin.

*Sharing hurts task X by … to …: train it alone*: single-task minus shared (at the weights that the sentence
keeps: the twin's where it says equal, else the winner's), paired over seeds, is positive with p at most
0.05 after Holm over the T tasks, and its interval reaches beyond the task's margin.

A task's margin is 0.2 points where its metric is a fraction, else 1 % of the twin's value; the score's
margin is their mean, or their least where the score is `min`. A score of the user's own has margin 0 unless
one is given.

**The choice among k** looks at validation, and the same trained models are scored on test: a lucky run of
seeds wins and shines on test too. For k ≤ 3 the plain interval covers 93 to 97 % all the same (measured by
`benchmarks/calibration.py`; more, where the noise is less than a step of the test set); for more configs
its level rises to 1 - 0.05·3/k, which keeps it above 93 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtlsearch.errors import StudyError
from mtlsearch.evidence.delta_m import claims_of_harm, delta_of, harm_sentences
from mtlsearch.evidence.sentences import ONE_TASK, Finding, Kind, Score, TaskMetric, Unit, covers_text, shown
from mtlsearch.evidence.statistics import (
    ALPHA,
    Array,
    Claim,
    Estimate,
    Intervals,
    choose,
    claims_of,
    estimate,
    holm,
    interval_level,
    rounding_sd,
    sampling_error,
    t_interval,
)


@dataclass(frozen=True)
class Confirmed:
    """One config's confirmation; every sequence holds one value a seed, in one order, NaN where it failed."""

    weights: Mapping[str, float]
    validation: Sequence[float]  # the score of the tuned config, higher is better
    tuned: Mapping[str, Sequence[float]]  # test metrics by task
    twin: Mapping[str, Sequence[float]]
    single: Mapping[str, Sequence[float]] | None = None


class Contest(NamedTuple):
    """The winner's number, all k intervals and adjusted p-values, and the kind of verdict on the winner."""

    winner: NDArray[np.int64]
    intervals: Intervals
    p_holm: Array
    kind: NDArray[np.str_]


@dataclass(frozen=True)
class Verdict:
    """The answer with its evidence. Metrics and scores are in their own units, `delta_m` in percent."""

    kind: Kind
    sentence: str
    harm_sentences: tuple[str, ...]
    winner: int  # index among the confirmed configs
    weights: dict[str, float]
    metrics: dict[str, Estimate]  # of the winner, on test
    equal_metrics: dict[str, Estimate]
    single_metrics: dict[str, Estimate]  # empty without single-task training
    score: Estimate
    equal_score: Estimate
    difference: Estimate  # winner minus its twin
    claims: tuple[Claim, ...]  # tuned minus twin, of every config
    harm: dict[str, Claim]  # single-task minus shared, higher is more harm
    delta_m: Estimate | None
    equal_delta_m: Estimate | None
    delta_m_note: str  # the baseline, or why there is no Δm
    margin: float
    level: float  # nominal level of the intervals
    seeds: int
    detectable: float | None  # the difference that these seeds call tuned 80 % of the time
    seeds_needed: int | None  # to see the larger of the difference and the margin; None: over 1,000
    sampling_error: dict[str, float]  # standard error by the test set's size, of accuracies
    covers: str
    measured: dict[str, TaskMetric]

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON-able values; a missing number is None, never NaN."""
        return cast(dict[str, Any], _jsonable(asdict(self)))

    def lines(self) -> list[str]:
        """The verdict as `run` and `best` print it."""
        weights = ", ".join(f"{task} {weight:.2f}" for task, weight in self.weights.items())
        lines = [self.sentence, *self.harm_sentences, f"weights: {weights}"]
        for task, metric in self.measured.items():
            scale, unit = metric.scale, metric.unit
            line = f"{task}: {metric.name} {shown(self.metrics[task], scale, unit)}"
            line += f"; equal weights {shown(self.equal_metrics[task], scale, unit)}"
            if self.single_metrics:
                line += f"; alone {shown(self.single_metrics[task], scale, unit)}"
            lines.append(line)
        gain = f"Δm {shown(self.delta_m, unit=' %')}, " if self.delta_m else ""
        return [*lines, gain + self.delta_m_note, self.covers]


def contest(validation: ArrayLike, difference: ArrayLike, margin: float, floor: float = 0.0) -> Contest:
    """The module's rule on arrays (…, configs, seeds): validation scores, and tuned minus twin on test."""
    winner = choose(validation)
    difference = np.asarray(difference, dtype=np.float64)
    found = t_interval(difference, floor, interval_level(difference.shape[-2]))
    p_holm = holm(found.p)
    at = winner[..., None]
    mean, low, high, p = (np.take_along_axis(a, at, -1)[..., 0] for a in (*found[:3], p_holm))
    within = (low >= -margin) & (high <= margin)
    cases = [within, (mean > 0) & (p <= ALPHA), high <= margin]
    kind = np.select(cases, ["equal", "tuned", "equal"], "undecided")
    return Contest(winner, found, p_holm, kind)


def judge(
    confirmed: Sequence[Confirmed],
    metrics: Mapping[str, TaskMetric],
    score: Score = "mean",
    margin: float | None = None,
) -> Verdict:
    """The verdict on k confirmed configs; the order of tasks is that of `metrics`.

    `score` is `mean`, `min`, or a callable of one seed's metrics by task, oriented so that higher is better;
    `margin` is in its units.
    Raises StudyError where no seed of any config has a validation score.
    """
    validation = np.array([c.validation for c in confirmed], dtype=np.float64)
    if not np.isfinite(validation).any():
        raise StudyError(
            "a verdict needs a config with a finished seed, but all of them failed; "
            "see their reasons in the confirmation's trials, then confirm again"
        )
    tuned = np.array([_scores(c.tuned, metrics, score) for c in confirmed])
    equal = np.array([_scores(c.twin, metrics, score) for c in confirmed])
    if margin is None:
        margin = _margin(confirmed[int(choose(validation))], metrics, score)
    result = contest(validation, tuned - equal, margin, _least_sd(metrics, score))
    winner, level = int(result.winner), interval_level(len(confirmed))
    best, claims = confirmed[winner], claims_of(result.intervals, result.p_holm)
    kind = cast(Kind, "equal" if len(metrics) == 1 else str(result.kind))
    finding = Finding.of(kind, claims[winner], margin, len(confirmed), Unit.of(list(metrics.values()), score))
    harm = claims_of_harm(best.twin if kind == "equal" else best.tuned, best.single, metrics, level)
    gain, note = delta_of(best.tuned, best.single, metrics, level)
    means = _estimates(best.tuned, metrics, level)
    errors = {
        task: sampling_error(means[task].mean, metric.test_examples)
        for task, metric in metrics.items()
        if metric.step and means[task].n
    }
    return Verdict(
        kind=kind,
        sentence=finding.sentence() if len(metrics) > 1 else ONE_TASK,
        harm_sentences=harm_sentences(harm, best.twin, metrics),
        winner=winner,
        weights={task: float(best.weights[task]) for task in metrics},
        metrics=means,
        equal_metrics=_estimates(best.twin, metrics, level),
        single_metrics=_estimates(best.single, metrics, level) if best.single else {},
        score=estimate(tuned[winner], level),
        equal_score=estimate(equal[winner], level),
        difference=finding.claim.difference,
        claims=claims,
        harm=harm,
        delta_m=gain,
        equal_delta_m=delta_of(best.twin, best.single, metrics, level)[0],
        delta_m_note=note,
        margin=margin,
        level=level,
        seeds=validation.shape[1],
        detectable=finding.seen,
        seeds_needed=finding.needed,
        sampling_error=errors,
        covers=covers_text(finding.claim.difference.n, validation.shape[1], level, errors, metrics),
        measured=dict(metrics),
    )


def _scores(values: Mapping[str, Sequence[float]], metrics: Mapping[str, TaskMetric], score: Score) -> Array:
    """The score of every seed; NaN where a task's metric is."""
    signs = np.array([metric.sign for metric in metrics.values()])
    oriented = signs[:, None] * np.array([values[task] for task in metrics], dtype=np.float64)
    if not callable(score):
        return _over_tasks(oriented, score)
    seeds = (dict(zip(metrics, map(float, column), strict=True)) for column in oriented.T)
    return np.array([score(seed) if np.isfinite(list(seed.values())).all() else np.nan for seed in seeds])


def _over_tasks(values: Array, score: str) -> Array:
    assert score in ("mean", "min"), score
    return np.asarray(values.mean(0) if score == "mean" else values.min(0))


def _margin(winner: Confirmed, metrics: Mapping[str, TaskMetric], score: Score) -> float:
    if callable(score):
        return 0.0
    margins = [metric.margin(winner.twin[task]) for task, metric in metrics.items()]
    return float(_over_tasks(np.array(margins), score))


def _least_sd(metrics: Mapping[str, TaskMetric], score: Score) -> float:
    """The sd of rounding the score to the test sets' steps; 0 where some metric has no step."""
    steps = [metric.step for metric in metrics.values()]
    if callable(score) or not all(steps):
        return 0.0
    return rounding_sd(min(steps) / (len(steps) if score == "mean" else 1))


def _estimates(
    values: Mapping[str, Sequence[float]], metrics: Mapping[str, TaskMetric], level: float
) -> dict[str, Estimate]:
    return {task: estimate(values[task], level, rounding_sd(metric.step)) for task, metric in metrics.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

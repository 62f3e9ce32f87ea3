"""The verdict on a confirmation: intervals over seeds, and a sentence that follows from a written rule.

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
from mtlsearch.evidence.delta_m import Alone, delta_of
from mtlsearch.evidence.metric import PerSeed, Score, TaskMetric, estimates, score_floor, score_margin, scores
from mtlsearch.evidence.sentences import Finding, Kind, Limits, Unit, shown
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
    t_interval,
)

ONE_TASK = "one task has one weight: there is nothing to hold against equal weights"


@dataclass(frozen=True)
class Confirmed:
    """One config's confirmation; every sequence holds one value a seed, in one order, NaN where it failed."""

    weights: Mapping[str, float]
    validation: Sequence[float]  # the score of the tuned config, higher is better
    tuned: PerSeed
    twin: PerSeed
    single: PerSeed | None = None


class Contest(NamedTuple):
    """The winner's number, all k intervals and adjusted p-values, and the kind of verdict on the winner."""

    winner: NDArray[np.int64]
    intervals: Intervals
    p_holm: Array
    kind: NDArray[np.str_]


@dataclass(frozen=True)
class Arm:
    """The winner with its tuned weights or with equal ones, on test; `delta_m` in percent."""

    metrics: dict[str, Estimate]
    score: Estimate
    delta_m: Estimate | None


@dataclass(frozen=True)
class Verdict:
    """The answer with its evidence; metrics and scores are in their own units."""

    finding: Finding
    winner: int  # index among the confirmed configs
    weights: dict[str, float]
    tuned: Arm
    equal: Arm
    alone: Alone
    claims: tuple[Claim, ...]  # tuned minus twin, of every config
    limits: Limits
    measured: dict[str, TaskMetric]

    @property
    def kind(self) -> Kind:
        return self.finding.kind

    @property
    def sentence(self) -> str:
        return ONE_TASK if len(self.measured) == 1 else self.finding.sentence()

    def to_dict(self) -> dict[str, Any]:
        """The verdict as it is stored, in JSON-able values; a missing number is None, never NaN."""
        verdict = {
            "kind": self.kind,
            "sentence": self.sentence,
            "harm_sentences": self.alone.harm_sentences,
            "winner": self.winner,
            "weights": self.weights,
            "metrics": self.tuned.metrics,
            "equal_metrics": self.equal.metrics,
            "single_metrics": self.alone.metrics,
            "score": self.tuned.score,
            "equal_score": self.equal.score,
            "difference": self.finding.difference,
            "claims": self.claims,
            "harm": self.alone.harm,
            "delta_m": self.tuned.delta_m,
            "equal_delta_m": self.equal.delta_m,
            "delta_m_note": self.alone.note,
            "margin": self.finding.margin,
            "level": self.limits.level,
            "seeds": self.limits.seeds,
            "detectable": self.finding.detectable,
            "seeds_needed": self.finding.seeds_needed,
            "sampling_error": self.limits.sampling_error,
            "covers": self.limits.sentence(self.measured),
            "measured": self.measured,
        }
        return {key: _jsonable(value) for key, value in verdict.items()}

    def lines(self) -> list[str]:
        """The verdict as `run` and `best` print it."""
        weights = ", ".join(f"{task} {weight:.2f}" for task, weight in self.weights.items())
        lines = [self.sentence, *self.alone.harm_sentences, f"weights: {weights}"]
        for task, metric in self.measured.items():
            scale, unit = metric.scale, metric.unit
            line = f"{task}: {metric.name} {shown(self.tuned.metrics[task], scale, unit)}"
            line += f"; equal weights {shown(self.equal.metrics[task], scale, unit)}"
            if self.alone.metrics:
                line += f"; alone {shown(self.alone.metrics[task], scale, unit)}"
            lines.append(line)
        gain = f"Δm {shown(self.tuned.delta_m, unit=' %')}, " if self.tuned.delta_m else ""
        return [*lines, gain + self.alone.note, self.limits.sentence(self.measured)]


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
    tuned = np.array([scores(c.tuned, metrics, score) for c in confirmed])
    equal = np.array([scores(c.twin, metrics, score) for c in confirmed])
    if margin is None:
        margin = score_margin(confirmed[int(choose(validation))].twin, metrics, score)
    result = contest(validation, tuned - equal, margin, score_floor(metrics, score))
    winner, level = int(result.winner), interval_level(len(confirmed))
    best, claims = confirmed[winner], claims_of(result.intervals, result.p_holm)

    def arm(values: PerSeed, over_seeds: Array) -> Arm:
        gain = delta_of(values, best.single, metrics, level)
        return Arm(estimates(values, metrics, level), estimate(over_seeds, level), gain)

    kind = cast(Kind, "equal" if len(metrics) == 1 else str(result.kind))
    kept = arm(best.tuned, tuned[winner])
    means = {task: found.mean for task, found in kept.metrics.items()}
    unit = Unit.of(list(metrics.values()), score)
    return Verdict(
        finding=Finding(kind, claims[winner], margin, len(confirmed), unit),
        winner=winner,
        weights={task: float(best.weights[task]) for task in metrics},
        tuned=kept,
        equal=arm(best.twin, equal[winner]),
        alone=Alone.of(best.single, best.twin if kind == "equal" else best.tuned, best.twin, metrics, level),
        claims=claims,
        limits=Limits.of(claims[winner].difference.n, validation.shape[1], level, means, metrics),
        measured=dict(metrics),
    )


def _jsonable(value: Any) -> Any:
    if isinstance(value, Estimate | Claim | TaskMetric):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

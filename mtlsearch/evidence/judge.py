"""The rule of a verdict, from the numbers of a confirmation.

`judge` takes the numbers of a confirmation (k configs, each with its twin at equal weights, S fresh seeds; the scored
tasks trained alone; other arms of the winner) and gives a `Verdict`. It knows no store and no model. A seed that
failed is NaN and is dropped from its pairs.

**The rule.** The winner has the best mean validation score. An effect is the difference of two arms on test, paired
over seeds, with a 95 % t interval and a p-value (two-sided paired t); `effects` names it. The effects are:

- *tuning*: the winner's score minus its twin's. *Better* means that tuned weights beat equal ones; *same*, *worse* and
  *not better* keep equal weights; else it is undecided, and the tuned weights stay.
- *sharing*, of each scored task: its metric at the weights that are kept minus trained alone, with hyperparameters
  from a search of its own.
- *auxiliary*, of each auxiliary task that the winner trains: the score minus that without the task.
- *plain sum*: the score at the weights that are kept minus that of the plain sum of the losses, where their units
  differ.

Holm's correction goes over what the recommendation follows from, together: tuning of all k configs, sharing and
auxiliary. Effects that only inform are corrected among themselves: tuning of each task, and the plain sum.

A task's margin is 0.2 points where its metric is a fraction, else 1 % of the twin's value. The score's margin is what
the margins of its tasks come to (`study/score.py`), unless the score has one of its own.

Where every seed has a division of the data of its own, the intervals and p-values allow for what the divisions share
(`statistics`), and hold on new data of this kind.

**The choice among k** looks at validation, and the same trained models are scored on test: a lucky run of seeds wins
and shines on test too. For k ≤ 3 the plain interval covers 93 to 97 % all the same (measured by
`benchmarks/calibration.py`; more, where the noise is less than a step of the test set); for more configs its level
rises to 1 - 0.05·3/k, which keeps it above 93 %.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtlsearch.errors import StudyError
from mtlsearch.evidence.arms import Comparison, Confirmed, Measure
from mtlsearch.evidence.delta_m import delta_m, delta_of
from mtlsearch.evidence.effects import AUXILIARY, PLAIN_SUM, SHARING, TUNING, Blame, Effect, kinds_of
from mtlsearch.evidence.metric import PerSeed, TaskMetric, estimates
from mtlsearch.evidence.probability import probability
from mtlsearch.evidence.profile import profile
from mtlsearch.evidence.recommendation import Findings, recommend
from mtlsearch.evidence.sentences import Limits
from mtlsearch.evidence.statistics import (
    Array,
    Claim,
    Intervals,
    choose,
    claims_of,
    estimate,
    holm,
    interval_level,
    t_interval,
)
from mtlsearch.evidence.verdict import Alone, Arm, Kind, Verdict
from mtlsearch.study.score import MEAN, Score

KINDS = {"better": "tuned", "same": "equal", "worse": "equal", "not better": "equal"}  # of verdict, by tuning's effect


class Contest(NamedTuple):
    """The winner's number, all k intervals and adjusted p-values, and the kind of verdict on the winner."""

    winner: NDArray[np.int64]
    intervals: Intervals
    p_holm: Array
    kind: NDArray[np.str_]


class Decision(NamedTuple):
    """A contest with the effects that the recommendation also follows from: intervals, adjusted p and kinds (…, n)."""

    contest: Contest
    others: Intervals
    p_holm: Array
    kinds: NDArray[np.str_]


def contest(
    validation: ArrayLike,
    difference: ArrayLike,
    margin: float,
    floor: float = 0.0,
    p_holm: ArrayLike | None = None,
    overlap: float = 0.0,
) -> Contest:
    """The winner and its tuning on arrays (…, configs, seeds): validation scores, and tuned minus twin on test.

    `p_holm` replaces the correction over the configs alone; `overlap` is that of new divisions.
    """
    winner = choose(validation)
    difference = np.asarray(difference, dtype=np.float64)
    found = t_interval(difference, floor, interval_level(difference.shape[-2]), overlap)
    adjusted = holm(found.p) if p_holm is None else np.asarray(p_holm)
    at = winner[..., None]
    mean, low, high, p = (np.take_along_axis(a, at, -1)[..., 0] for a in (*found[:3], adjusted))
    effects = kinds_of(mean, low, high, p, margin)
    kind = np.select([effects == effect for effect in KINDS], list(KINDS.values()), "undecided")
    return Contest(winner, found, adjusted, kind)


def decide(
    validation: ArrayLike,
    difference: ArrayLike,
    margin: float,
    floor: float,
    others: ArrayLike,
    margins: ArrayLike,
    floors: ArrayLike,
    overlap: float = 0.0,
    overlaps: ArrayLike = 0.0,
) -> Decision:
    """The contest, and the kinds of n `others` (…, n, seeds): sharing and auxiliary ones; Holm over all together."""
    first = contest(validation, difference, margin, floor, overlap=overlap)
    k = np.asarray(difference).shape[-2]
    found = t_interval(others, floors, interval_level(k), overlaps)
    p_holm = holm(np.concatenate([first.intervals.p, found.p], -1))
    joint = contest(validation, difference, margin, floor, p_holm[..., :k], overlap)
    kinds = kinds_of(found.mean, found.low, found.high, p_holm[..., k:], margins)
    return Decision(joint, found, p_holm[..., k:], kinds)


def judge(
    confirmed: Sequence[Confirmed],
    metrics: Mapping[str, TaskMetric],
    score: Score | str = MEAN,
    margin: float | None = None,
    *,
    auxiliary: Sequence[str] = (),
    terms: Sequence[str] = (),
    blame: Blame | None = None,
    notes: Sequence[str] = (),
) -> Verdict:
    """The verdict on k confirmed configs; the order of tasks is that of `metrics`.

    `margin` is in units of the `score`, and replaces its own. `auxiliary` tasks neither count in the score nor must
    reach anything; `terms` have a weight and no metric. `blame` holds what else could make a task better alone, and
    `notes` are lines to add. Raises StudyError where no seed of any config has a validation score.
    """
    validation = _validation(confirmed)
    best = confirmed[int(choose(validation))]
    measure = Measure.of(metrics, score if isinstance(score, Score) else Score(score), best.twin, margin)
    differences = np.array([measure.scores(c.tuned) - measure.scores(c.twin) for c in confirmed])
    first = contest(validation, differences, measure.margin, measure.floor, overlap=measure.overlap)
    keeps_equal = str(first.kind) == "equal" and not best.equal_breaks
    kept, level = best.twin if keeps_equal else best.tuned, interval_level(len(confirmed))
    deciding = measure.deciding(best, kept)
    decision = _decision(validation, differences, measure, deciding)
    won, count = decision.contest, len(confirmed) + len(deciding)
    claims = claims_of(won.intervals, won.p_holm)
    tuning = Effect(TUNING, None, claims[int(won.winner)], measure.margin, measure.unit, count, measure.overlap)
    effects = _effects(deciding, claims_of(decision.others, decision.p_holm), count)
    informing = list(measure.informing(best, kept))
    informed = _effects(informing, _own_claims(informing, level), len(informing))
    blame = blame or Blame()
    sharing = {e.task: e for e in effects if e.about == SHARING and e.task}
    left_out = {e.task: e for e in effects if e.about == AUXILIARY and e.task}
    by_task = {e.task: e for e in informed if e.about == TUNING and e.task}
    findings = Findings(
        scored=measure.scored,
        auxiliary=auxiliary,
        kept=[task for task in auxiliary if best.weights[task] > 0],
        tuning=tuning,
        sharing=sharing,
        left_out=left_out,
        excused=[task for task in sharing if blame.reason(task) is not None],
        terms=terms,
    )
    tuned, equal, alone = _arms(best, kept, measure, level)
    means = {task: each.mean for task, each in tuned.metrics.items()}
    return Verdict(
        kind=_kind(won, best),
        recommendation=recommend(findings, "equal" if keeps_equal else "tuned"),
        winner=int(won.winner),
        weights={name: float(best.weights[name]) for name in (*metrics, *terms) if name in best.weights},
        tuned=tuned,
        equal=equal,
        alone=alone,
        claims=claims,
        tuning=tuning,
        tuning_by_task=by_task,
        sharing=sharing,
        left_out=left_out,
        plain_sum=next((e for e in informed if e.about == PLAIN_SUM), None),
        plain_sum_metrics={} if best.plain_sum is None else estimates(best.plain_sum, metrics, level),
        equal_breaks=best.equal_breaks,
        blame=blame,
        limits=Limits.of(tuning.difference.n, validation.shape[1], level, means, metrics),
        measured=dict(metrics),
        probability=probability(differences[int(won.winner)], level, measure.overlap),
        profile=profile([each for each in informing if each.about == TUNING], by_task),
        notes=tuple(notes),
    )


def reaching(validation: ArrayLike, short: Sequence[float]) -> Array:
    """Validation scores (configs, seeds), NaN of configs that miss what others reach: they cannot win.

    `short` is how far each config is from the metrics that it must reach, 0 where it reaches them.
    """
    scores = np.array(validation, dtype=np.float64)
    finished = [bool(np.isfinite(seeds).any()) for seeds in scores]
    nearest = min((s for s, ended in zip(short, finished, strict=True) if ended), default=0.0)
    scores[np.array(short) > nearest] = np.nan
    return scores


def _validation(confirmed: Sequence[Confirmed]) -> Array:
    """The validation scores of configs that can win (configs, seeds). Raises StudyError where there is none."""
    scores = reaching([c.validation for c in confirmed], [c.short for c in confirmed])
    if not np.isfinite(scores).any():
        raise StudyError(
            "a verdict needs a config with a finished seed, but all of them failed; "
            "see their reasons in the confirmation's trials, then confirm again"
        )
    return scores


def _decision(validation: Array, differences: Array, measure: Measure, deciding: Sequence[Comparison]) -> Decision:
    others = np.array([c.difference for c in deciding]).reshape(len(deciding), validation.shape[1])
    margins, floors, overlaps = (np.array([getattr(c, of) for c in deciding]) for of in ("margin", "floor", "overlap"))
    own = measure.margin, measure.floor
    return decide(validation, differences, *own, others, margins, floors, measure.overlap, overlaps)


def _effects(comparisons: Sequence[Comparison], claims: Sequence[Claim], count: int) -> list[Effect]:
    pairs = zip(comparisons, claims, strict=True)
    return [Effect(c.about, c.task, claim, c.margin, c.unit, count, c.overlap) for c, claim in pairs]


def _own_claims(comparisons: Sequence[Comparison], level: float) -> tuple[Claim, ...]:
    """The claims of comparisons that are corrected among themselves."""
    if not comparisons:
        return ()
    floors, overlaps = [c.floor for c in comparisons], [c.overlap for c in comparisons]
    found = t_interval([c.difference for c in comparisons], floors, level, overlaps)
    return claims_of(found, holm(found.p))


def _kind(won: Contest, best: Confirmed) -> Kind:
    if len(best.weights) == 1:
        return "equal"
    kind = cast(Kind, str(won.kind))
    return "tuned" if kind == "equal" and best.equal_breaks else kind


def _arms(best: Confirmed, kept: PerSeed, measure: Measure, level: float) -> tuple[Arm, Arm, Alone]:
    """The winner with tuned weights, with equal ones, and its scored tasks alone."""
    metrics, single = measure.metrics, best.single

    def arm(values: PerSeed) -> Arm:
        gain = delta_of(values, single, metrics, level)
        score = estimate(measure.scores(values), level, overlap=measure.overlap)
        return Arm(estimates(values, metrics, level), score, gain)

    if single is None:
        alone = Alone({}, "no Δm: no single-task training to hold it against")
    else:
        alone = Alone(estimates(single, metrics, level), delta_m(kept, single, metrics)[1])
    return arm(best.tuned), arm(best.twin), alone

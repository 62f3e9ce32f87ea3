"""The verdict as a value: the arms with their intervals, the effects, the recommendation, and all of it in words.

`judge` makes it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mtlsearch.evidence.effects import (
    Blame,
    Effect,
    auxiliary_sentence,
    plain_sum_sentence,
    sharing_sentence,
    tuning_phrase,
    tuning_sentence,
)
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.probability import Probability
from mtlsearch.evidence.profile import profile_line
from mtlsearch.evidence.recommendation import Recommendation
from mtlsearch.evidence.sentences import Limits, shown
from mtlsearch.evidence.statistics import Claim, Estimate
from mtlsearch.wording import MANY_TASKS, weight_in_words

Kind = Literal["tuned", "equal", "undecided"]
FOUND_EQUAL = "equal weights are those of the best config: keep them"
ONE_TASK = "one task has one weight: there is nothing to hold against equal weights"


@dataclass(frozen=True)
class Arm:
    """The winner with its tuned weights or with equal ones, on test; `delta_m` in percent."""

    metrics: dict[str, Estimate]
    score: Estimate
    delta_m: Estimate | None


@dataclass(frozen=True)
class Alone:
    """The scored tasks trained alone; empty without single-task training. `note` says what Δm is against."""

    metrics: dict[str, Estimate]
    note: str


@dataclass(frozen=True)
class Verdict:
    """The answer with its evidence; metrics and scores are in their own units."""

    kind: Kind
    recommendation: Recommendation
    winner: int  # index among the confirmed configs
    weights: dict[str, float]
    tuned: Arm
    equal: Arm
    alone: Alone
    claims: tuple[Claim, ...]  # tuned minus twin, of every config
    tuning: Effect
    tuning_by_task: dict[str, Effect]
    sharing: dict[str, Effect]
    left_out: dict[str, Effect]
    plain_sum: Effect | None
    plain_sum_metrics: dict[str, Estimate]
    equal_breaks: bool
    blame: Blame
    limits: Limits
    measured: dict[str, TaskMetric]
    probability: Probability | None = None  # that tuned weights beat equal ones in one more pair
    profile: Mapping[str, Any] | None = None  # of many tasks: the share of them whose gain exceeds τ
    notes: tuple[str, ...] = ()

    @property
    def one_task(self) -> bool:
        return len(self.weights) == 1

    @property
    def found_equal(self) -> bool:
        """Whether the winner is its own twin, as a study's default config is."""
        found = self.weights.values()
        same = math.isclose(min(found), max(found), rel_tol=1e-6) and self.tuning.difference.mean == 0
        return not self.one_task and same

    @property
    def sentence(self) -> str:
        """The recommendation, in words alone."""
        if self.one_task:
            return ONE_TASK
        told = self.recommendation.sentence
        return f"On new data of this kind, {told[:1].lower()}{told[1:]}" if told and self.tuning.overlap else told

    @property
    def weights_sentence(self) -> str:
        """The sentence on what tuned weights do beyond equal ones."""
        if self.one_task:
            return ONE_TASK
        if self.equal_breaks:
            return "equal weights miss what a metric must reach, the tuned ones reach it: keep those"
        if self.found_equal:
            return FOUND_EQUAL
        return tuning_sentence(self.tuning)

    @property
    def sharing_sentences(self) -> dict[str, str]:
        """The sentence on sharing for each scored task that was trained alone."""
        main = len(self.sharing) == 1
        kept = [task for task, weight in self.weights.items() if weight > 0]
        return {
            task: sharing_sentence(
                effect, [other for other in kept if other != task] if main else (), main, self.blame.reason(task)
            )
            for task, effect in self.sharing.items()
        }

    @property
    def harm_sentences(self) -> tuple[str, ...]:
        """The sentences on tasks that sharing hurts."""
        told = self.sharing_sentences
        return tuple(told[task] for task, effect in self.sharing.items() if effect.kind == "worse")

    @property
    def shares(self) -> bool:
        """Whether the recommendation trains tasks together: else there are neither weights nor auxiliary tasks."""
        return self.recommendation.action != "alone"

    @property
    def effects(self) -> list[Effect]:
        """The effects that the sentences tell."""
        told = list(self.sharing.values())
        if self.shares:
            told += [*self.left_out.values(), self.tuning, *self.tuning_by_task.values()]
            told += [] if self.plain_sum is None else [self.plain_sum]
        return told

    def sentences(self) -> list[str]:
        """The sentences of the rule, after the recommendation."""
        if self.one_task:
            return []
        told = list(self.sharing_sentences.values())
        if not self.shares:
            return told
        told += [*map(auxiliary_sentence, self.left_out.values()), self.weights_sentence]
        if 1 < len(self.tuning_by_task) <= MANY_TASKS and not self.found_equal:
            told.append(f"tuned minus equal: {'; '.join(map(tuning_phrase, self.tuning_by_task.values()))}")
        if self.plain_sum is not None:
            told.append(plain_sum_sentence(self.plain_sum, self.recommendation.weights))
        return told

    def to_dict(self) -> dict[str, Any]:
        """The verdict as it is stored, in JSON-able values; a missing number is None, never NaN."""
        verdict = {
            "kind": self.kind,
            "sentence": self.sentence,
            "sentences": self.sentences(),
            "recommendation": asdict(self.recommendation),
            "harm_sentences": self.harm_sentences,
            "winner": self.winner,
            "weights": self.weights,
            "metrics": self.tuned.metrics,
            "equal_metrics": self.equal.metrics,
            "single_metrics": self.alone.metrics,
            "plain_sum_metrics": self.plain_sum_metrics,
            "score": self.tuned.score,
            "equal_score": self.equal.score,
            "difference": self.tuning.difference,
            "claims": self.claims,
            "effects": [_stored(effect) for effect in self.effects],
            "harm": {task: Claim(-e.difference, e.claim.p, e.claim.p_holm) for task, e in self.sharing.items()},
            "delta_m": self.tuned.delta_m,
            "equal_delta_m": self.equal.delta_m,
            "delta_m_note": self.alone.note,
            "probability": None if self.probability is None else self.probability.stored(),
            "profile": self.profile,
            "margin": self.tuning.margin,
            "level": self.limits.level,
            "seeds": self.limits.seeds,
            "detectable": self.tuning.detectable,
            "seeds_needed": self.tuning.seeds_needed,
            "sampling_error": self.limits.sampling_error,
            "gradient_shares": dict(self.blame.shares or {}),
            "covers": self.limits.sentence(self.measured),
            "measured": self.measured,
        }
        return {key: _jsonable(value) for key, value in verdict.items()}

    def lines(self) -> list[str]:
        """The verdict as `run` and `best` print it."""
        weights = ", ".join(f"{task} {weight_in_words(weight)}" for task, weight in self.weights.items())
        lines = [self.sentence, *self.sentences(), f"weights: {weights}"]
        for task, metric in self.measured.items():
            scale, unit = metric.scale, metric.unit
            line = f"{task}: {metric.name} {shown(self.tuned.metrics[task], scale, unit)}"
            for name, found in (
                ("equal weights", self.equal.metrics),
                ("plain sum", self.plain_sum_metrics),
                ("alone", self.alone.metrics),
            ):
                line += f"; {name} {shown(found[task], scale, unit)}" if task in found else ""
            lines.append(line)
        if self.blame.shares:
            lines.append(f"share of the trunk's gradient: {_shares(self.blame.shares)}")
        if self.probability is not None and self.shares and not (self.one_task or self.found_equal):
            lines.append(self.probability.sentence)
        if self.profile is not None and self.shares and not self.found_equal:
            lines.append(profile_line(self.profile))
        gain = f"Δm {shown(self.tuned.delta_m, unit=' %')}, " if self.tuned.delta_m else ""
        return [*lines, *self.notes, gain + self.alone.note, self.limits.sentence(self.measured)]


def _shares(shares: Mapping[str, float]) -> str:
    """The shares by task; of very many tasks, the largest ones."""
    found = list(shares.items())
    if len(found) > MANY_TASKS:
        found = sorted(found, key=lambda each: -each[1])[:MANY_TASKS]
    more = f", … {len(shares) - len(found)} smaller ones" if len(shares) > len(found) else ""
    return ", ".join(f"{task} {100 * share:.0f} %" for task, share in found) + more


def _stored(effect: Effect) -> dict[str, Any]:
    return {
        "about": effect.about,
        "task": effect.task,
        "kind": effect.kind,
        "difference": effect.difference,
        "p": effect.claim.p,
        "p_holm": effect.claim.p_holm,
        "margin": effect.margin,
    }


def _jsonable(value: Any) -> Any:
    if isinstance(value, Estimate | Claim | TaskMetric):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

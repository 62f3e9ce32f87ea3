"""Effects: paired differences between two arms over the seeds, named by one rule, and their sentences.

An arm is one way to train: tuned weights, equal weights, the plain sum of the losses, each task alone, without an
auxiliary task. An effect is an arm minus another, on a task's metric or on the score, oriented so that above zero is
better.

**The rule.** The first line that applies, with the margin m of the task or the score, and p after Holm's correction:

1. *undecided*: fewer than two pairs of seeds are left, so that there is no interval.
2. *same*: the interval lies within ±m, whichever side of zero it is on.
3. *better*: the difference is positive, and p is at most 0.05.
4. *worse*: the difference is negative, and p is at most 0.05.
5. *not better*: the interval ends at or below m.
6. *not worse*: the interval begins at or above −m.
7. *undecided*: none of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtlsearch.evidence.sentences import Unit, decimals, digits_of, number
from mtlsearch.evidence.statistics import ALPHA, MOST_SEEDS, Claim, Estimate, detectable, seeds_needed
from mtlsearch.wording import listed

EffectKind = Literal["same", "better", "worse", "not better", "not worse", "undecided"]
SHARING, TUNING, PLAIN_SUM, AUXILIARY = "sharing", "tuning", "plain sum", "auxiliary"
GROUPING = "grouping"
DROWNING = 0.99  # of the trunk's gradient: a task with more drowns the others


def kinds_of(mean: ArrayLike, low: ArrayLike, high: ArrayLike, p: ArrayLike, margin: ArrayLike) -> NDArray[np.str_]:
    """The module's rule on arrays of differences; without an interval `low` and `high` are NaN."""
    mean, low, high, p, margin = (np.asarray(x, dtype=np.float64) for x in (mean, low, high, p, margin))
    proven = p <= ALPHA
    cases = {
        "undecided": np.isnan(low),
        "same": (low >= -margin) & (high <= margin),
        "better": proven & (mean > 0),
        "worse": proven & (mean < 0),
        "not better": high <= margin,
        "not worse": low >= -margin,
    }
    return np.select(list(cases.values()), list(cases), "undecided")


@dataclass(frozen=True)
class Effect:
    """A paired difference of one arm minus another: of `task`'s metric, or of the score where there is no task.

    `about` is sharing, tuning, plain sum or auxiliary (then `task` is the task that is left out). `claims` counts the
    claims of Holm's correction. `overlap` is that of new divisions, 0 where the seeds have one.
    """

    about: str
    task: str | None
    claim: Claim
    margin: float
    unit: Unit
    claims: int = 1
    overlap: float = 0.0

    @property
    def difference(self) -> Estimate:
        return self.claim.difference

    @property
    def kind(self) -> EffectKind:
        found = self.difference
        low, high, p = (np.nan if x is None else x for x in (found.low, found.high, self.claim.p_holm))
        return cast(EffectKind, str(kinds_of(found.mean, low, high, p, self.margin)))

    @property
    def span(self) -> str:
        """`-0.1 to 0.2 points`."""
        return f"{self.unit.span(self.difference)} {self.unit.word}"

    @property
    def gain(self) -> str:
        """`by 0.2 to 0.6 points`, of the side that is better."""
        return self.unit.gain(self.difference if self.difference.mean > 0 else -self.difference)

    @property
    def target(self) -> float:
        """The larger of the observed difference and the margin."""
        return max(abs(self.difference.mean), self.margin)

    @cached_property
    def detectable(self) -> float | None:
        """The difference that these seeds prove 80 % of the time."""
        if self.difference.sd is None:
            return None
        return detectable(self.difference.n, self.difference.sd, ALPHA / self.claims, overlap=self.overlap)

    @cached_property
    def seeds_needed(self) -> int | None:
        """The seeds that would prove the target; None for over 1,000, or without an interval."""
        if self.difference.sd is None:
            return None
        return seeds_needed(self.target, self.difference.sd, ALPHA / self.claims, overlap=self.overlap)

    @property
    def trainings(self) -> str:
        """The word for what the pairs differ in."""
        return "new divisions" if self.overlap else "seeds"

    @property
    def limits(self) -> str:
        """The reason why an effect is undecided: no interval, or too few seeds."""
        if self.difference.low is None:
            left = "no pair of seeds is left, which" if self.difference.n == 0 else "one seed"
            return f"{left} gives no interval; confirm with 5 seeds or more"
        many = f"over {MOST_SEEDS:,}" if self.seeds_needed is None else f"{self.seeds_needed:,}"
        if self.overlap and self.seeds_needed is None:
            many = "no number of"
        target = self.target * self.unit.scale
        digits = max(decimals(target), digits_of(self.difference, self.unit.scale, 0))
        return f"{many} {self.trainings} would see {number(target, digits)} {self.unit.word}"


@dataclass(frozen=True)
class Blame:
    """Circumstances in which sharing is not to blame for a task that is better alone.

    `edge` is a pair of tasks, the larger weight first, whose ratio lies at the edge of the weight range. `shares` are
    the tasks' shares of the trunk's gradient in the winner.
    """

    edge: tuple[str, str] | None = None
    weight_range: float = 0.0
    shares: Mapping[str, float] | None = None

    def reason(self, task: str) -> str | None:
        """The circumstance that is named instead of sharing, None where sharing is to blame."""
        drowning = {name: share for name, share in (self.shares or {}).items() if share > DROWNING and name != task}
        for name, share in drowning.items():
            return f"{name} has {100 * share:.1f} % of the trunk's gradient and drowns the others"
        if self.edge is not None:
            large, small = self.edge
            reach = f"weight_range={self.weight_range:g}"
            return f"the weights of {large} and {small} lie at the edge of what was searched ({reach}): widen it"
        return None


def sharing_sentence(effect: Effect, others: Sequence[str], main: bool, reason: str | None) -> str:
    """The sentence on what sharing with `others` does to a task; `main` says that it is the only scored task."""
    task, kind = effect.task, effect.kind
    shared = f"sharing with {listed(others)}" if others else "sharing"
    if kind == "undecided":
        if effect.difference.low is None:
            return f"undecided what {shared} does to {task}: {effect.limits}"
        return f"undecided what {shared} does to {task}: it changes by {effect.span}; {effect.limits}"
    if kind == "better":
        return f"{shared} helps {task} {effect.gain}"
    if kind == "worse" and reason is None:
        return f"{shared} hurts {task} {effect.gain}: train it alone"
    if kind == "worse":
        return f"{task} is better alone {effect.gain}, but sharing need not be to blame: {reason}"
    ends = {
        "same": f"no difference, {task} alone is simpler" if main else "no difference",
        "not better": f"{task} alone is as good or better",
        "not worse": f"{task} alone is as good or worse",
    }
    return f"{shared} changes {task} by {effect.span}: {ends[kind]}"


def tuning_sentence(effect: Effect) -> str:
    """The sentence on what tuned weights do to the score, beyond equal ones."""
    found, bound = effect.difference, f"{effect.margin * effect.unit.scale:.2g} {effect.unit.word}"
    if found.low is None or found.high is None:
        return f"undecided: {effect.limits}"
    if effect.kind == "better":
        return f"tuned weights beat equal ones {effect.gain}"
    between = f"tuned minus equal is {effect.span}"
    if effect.kind in ("undecided", "not worse"):
        limit = number((effect.detectable or 0.0) * effect.unit.scale, digits_of(found, effect.unit.scale, 2))
        seen = f"{found.n} {effect.trainings} can only see differences above {limit} {effect.unit.word}"
        return f"undecided: {seen}; {between}{_adjusted(effect)}; {effect.limits}"
    if effect.kind == "same":
        return f"equal weights are as good, keep them: {between}, within the margin of {bound}"
    if found.high < 0:
        return f"equal weights are better {effect.gain}, keep them"
    return f"equal weights are as good or better, keep them: {between}, below the margin of {bound}"


def _adjusted(effect: Effect) -> str:
    """The p-value of an interval that leaves zero out, and is not significant all the same."""
    if (effect.difference.low or 0.0) <= 0 or effect.claim.p_holm is None:
        return ""
    return f" (p = {effect.claim.p_holm:.2g} after Holm over {effect.claims} claims)"


def plain_sum_sentence(effect: Effect, kept: str) -> str:
    """The sentence on what the weights that are `kept` ("tuned" or "equal") do beyond the plain sum of the losses."""
    plain, weights = "the plain sum of the losses", f"{kept} weights"
    if effect.kind == "better":
        return f"{plain}, which people train by default, is worse than {weights} {effect.gain}"
    if effect.kind == "worse":
        return f"{plain} is better than {weights} {effect.gain}"
    if effect.kind == "same":
        return f"{plain} is as good as {weights}: the difference is {effect.span}"
    if effect.difference.low is None:
        return f"undecided whether {weights} beat {plain}: {effect.limits}"
    return f"undecided whether {weights} beat {plain}: the difference is {effect.span}; {effect.limits}"


def auxiliary_sentence(effect: Effect) -> str:
    """The sentence on what an auxiliary task does to the score."""
    task, kind = effect.task, effect.kind
    if kind == "better":
        return f"the auxiliary task {task} helps {effect.gain}: keep it"
    if kind == "worse":
        return f"the auxiliary task {task} hurts {effect.gain}: leave it out"
    if kind == "undecided" and effect.difference.low is None:
        return f"undecided what the auxiliary task {task} does: {effect.limits}"
    ends = {
        "same": "no difference, leave it out",
        "not better": "as good or better without it, leave it out",
        "not worse": "nothing shows that it helps, and nothing that it harms",
        "undecided": f"undecided; {effect.limits}",
    }
    return f"the auxiliary task {task} changes the score by {effect.span}: {ends[kind]}"


def tuning_phrase(effect: Effect) -> str:
    """The phrase on what tuned weights do to one task, beyond equal ones."""
    if effect.difference.low is None:
        return f"{effect.task}: unknown"
    ends = {"better": "better", "worse": "worse", "same": "no difference"}
    return f"{effect.task} {effect.span} ({ends.get(effect.kind, 'undecided')})"

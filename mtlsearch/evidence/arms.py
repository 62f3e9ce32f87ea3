"""The arms of a verdict as numbers: one value a seed on test, and the differences between them.

Every sequence of one config holds its seeds in one order, NaN where a seed failed. Tasks' differences are oriented:
above zero is better.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mtlsearch.evidence.effects import AUXILIARY, PLAIN_SUM, SHARING, TUNING
from mtlsearch.evidence.metric import PerSeed, TaskMetric, score_floor, score_margin, score_overlap, scores
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.statistics import Array, rounding_sd
from mtlsearch.study.score import Score


@dataclass(frozen=True)
class Confirmed:
    """One config's confirmation: its score on `validation`, and on test its own metrics and its twin's.

    The winner has more arms: `single` holds the scored tasks trained alone, `plain_sum` the plain sum of the losses,
    `without` the config without an auxiliary task. `short` and `twin_short` are how far config and twin are from the
    metrics that they must reach, on validation, 0 where they reach them.
    """

    weights: Mapping[str, float]
    validation: Sequence[float]
    tuned: PerSeed
    twin: PerSeed
    single: PerSeed | None = None
    plain_sum: PerSeed | None = None
    without: Mapping[str, PerSeed] = field(default_factory=dict)
    short: float = 0.0
    twin_short: float = 0.0

    @property
    def equal_breaks(self) -> bool:
        """Whether the twin misses what the config itself reaches."""
        return self.twin_short > 0 >= self.short


@dataclass(frozen=True)
class Comparison:
    """The difference of two arms [S], of `task`'s metric or of the score, as `effects.Effect` has it."""

    about: str
    task: str | None
    difference: Array
    margin: float
    floor: float
    unit: Unit
    overlap: float = 0.0


@dataclass(frozen=True)
class Measure:
    """How arms are compared: the tasks' metrics, the score, and the difference in score that does not matter."""

    metrics: Mapping[str, TaskMetric]
    score: Score
    margin: float

    @classmethod
    def of(cls, metrics: Mapping[str, TaskMetric], score: Score, twin: PerSeed, margin: float | None) -> "Measure":
        """With the margin at the values of a `twin`, unless one is given."""
        return cls(metrics, score, score_margin(twin, metrics, score) if margin is None else margin)

    @cached_property
    def scored(self) -> list[str]:
        return list(self.score.weights(list(self.metrics)))

    @cached_property
    def floor(self) -> float:
        return score_floor(self.metrics, self.score)

    @cached_property
    def overlap(self) -> float:
        return score_overlap(self.metrics, self.score)

    @cached_property
    def unit(self) -> Unit:
        return Unit.of_score(self.score, self.metrics)

    def scores(self, values: PerSeed) -> Array:
        """The score of every seed [S]."""
        return scores(values, self.metrics, self.score)

    def by_score(self, about: str, task: str | None, arm: PerSeed, against: PerSeed) -> Comparison:
        """Compare two arms by their scores."""
        difference = self.scores(arm) - self.scores(against)
        return Comparison(about, task, difference, self.margin, self.floor, self.unit, self.overlap)

    def by_task(self, about: str, task: str, arm: PerSeed, against: PerSeed, twin: PerSeed) -> Comparison:
        """Compare two arms by a task's metric; its margin is of the `twin`'s values."""
        metric = self.metrics[task]
        difference = metric.sign * (np.asarray(arm[task], dtype=float) - np.asarray(against[task], dtype=float))
        margin, floor = metric.margin(twin[task]), rounding_sd(metric.step)
        return Comparison(about, task, difference, margin, floor, Unit.of_metric(metric), metric.overlap)

    def deciding(self, best: Confirmed, kept: PerSeed) -> list[Comparison]:
        """The effects from which, beside tuning, the recommendation follows: sharing, and each auxiliary task."""
        alone = best.single if len(self.metrics) > 1 else None
        sharing = [self.by_task(SHARING, t, kept, alone, best.twin) for t in self.scored if alone and t in alone]
        return [*sharing, *(self.by_score(AUXILIARY, t, best.tuned, arm) for t, arm in best.without.items())]

    def informing(self, best: Confirmed, kept: PerSeed) -> Iterator[Comparison]:
        """The effects that only inform: tuning of each of several scored tasks, and the plain sum of the losses."""
        if len(self.scored) > 1:
            for task in self.scored:
                yield self.by_task(TUNING, task, best.tuned, best.twin, best.twin)
        if best.plain_sum is not None:
            yield self.by_score(PLAIN_SUM, None, kept, best.plain_sum)

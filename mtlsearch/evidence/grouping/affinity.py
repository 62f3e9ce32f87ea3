"""Affinities: what sharing a trunk with another task does to each task, and the groupings that follow from them.

The gain of task i from sharing with j is its validation metric when the two are trained together minus that alone,
paired over the seeds and oriented so that above zero is better (the first-order view of Fifty et al. 2021, Efficiently
identifying task groupings for multi-task learning, measured by training pairs as Standley et al. 2020 do). Groupings
are ranked by the study's own score of the predicted metrics. A score that is a function cannot be taken apart by task:
there the mean gain in margins ranks them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlsearch.errors import StudyError
from mtlsearch.evidence.grouping.partitions import Partition, best_partitions, lowest, predicted, summed
from mtlsearch.evidence.metric import PerSeed, TaskMetric, scores
from mtlsearch.evidence.statistics import ALPHA, Array, Estimate, estimate, t_interval
from mtlsearch.study.score import CALLABLE, LOG_ERROR, MIN, Score
from mtlsearch.wording import listed

Grouping = tuple[tuple[str, ...], ...]


def in_words(grouping: Grouping, left_out: Sequence[str] = ()) -> str:
    """`a with b; c alone`, `a with b; without c`, or `all tasks together`."""
    if len(grouping) == 1 and not left_out:
        return "all tasks together"
    groups = [" with ".join(group) if len(group) > 1 else f"{group[0]} alone" for group in grouping]
    return "; ".join([*groups, *([f"without {listed(left_out)}"] if left_out else [])])


@dataclass(frozen=True)
class Affinities:
    """Validation metrics of each task alone and beside each other one, a value a seed, NaN where a seed failed.

    `beside[i][j]` is the metric of task i where it is trained with j.
    """

    tasks: Sequence[str]
    metrics: Mapping[str, TaskMetric]
    alone: PerSeed
    beside: Mapping[str, PerSeed]

    def gain(self, task: str, other: str) -> Estimate:
        """The gain of `task` from sharing with `other`, with its interval."""
        metric = self.metrics[task]
        return estimate(self._gains(task, other), 1 - ALPHA, overlap=metric.overlap)

    def _gains(self, task: str, other: str) -> Array:
        pairs = np.asarray(self.beside[task][other], float) - np.asarray(self.alone[task], float)
        return np.asarray(self.metrics[task].sign * pairs)

    def best(self, score: Score) -> list[tuple[Grouping, float]]:
        """The best grouping into k trunks with its predicted score, for k = 1 … T.

        Raises StudyError where a task that is measured failed alone in every seed.
        """
        count, measured = len(self.tasks), [task for task in self.tasks if task in self.metrics]
        alone, pairs = np.zeros(count), np.zeros((count, count))
        margins = np.ones(count)
        for i, task in enumerate(self.tasks):
            if task not in measured:
                continue
            values = np.asarray(self.alone[task], float)
            if not np.isfinite(values).any():
                raise StudyError(f"no grouping: task {task!r} alone failed with every seed; try a lower learning_rate")
            alone[i] = self.metrics[task].sign * np.nanmean(values)
            margins[i] = self.metrics[task].margin(list(values)) or 1.0
            for j, other in enumerate(self.tasks):
                if other != task:
                    pairs[i, j] = alone[i] + self.gain(task, other).mean
        weights = score.weights(measured)
        shares = [weights.get(task, 0.0) for task in self.tasks]
        if score.kind in (CALLABLE, LOG_ERROR):
            shares = [share / margin for share, margin in zip(shares, margins, strict=True)]
        found = predicted(alone, pairs)
        if score.kind == MIN:
            best = best_partitions(lowest(found, shares), count, np.minimum)
        else:
            best = best_partitions(summed(found, shares), count)
        return [(self._named(partition), value) for partition, value in best]

    @property
    def overlap(self) -> float:
        return max((metric.overlap for metric in self.metrics.values()), default=0.0)

    def by_seed(self, grouping: Grouping, score: Score) -> Array:
        """The predicted score of a grouping with each seed [S]."""
        values: dict[str, list[float]] = {}
        for group in grouping:
            for task in (task for task in group if task in self.metrics):
                others = [self.beside[task][other] for other in group if other != task]
                values[task] = list(np.mean(np.asarray(others or [self.alone[task]], float), axis=0))
        return scores(values, self.metrics, score)

    def _named(self, partition: Partition) -> Grouping:
        return tuple(tuple(self.tasks[i] for i in group) for group in partition)

    def stored(self) -> list[dict[str, Any]]:
        """Every gain, as it is stored."""
        return [
            {
                "task": task,
                "with": other,
                "metric": self.metrics[task].name,
                "higher_is_better": self.metrics[task].higher_is_better,
                "gain": self.gain(task, other).stored(),
            }
            for task in self.tasks
            for other in self.tasks
            if task != other and task in self.metrics
        ]


def candidates(
    affinities: Affinities, score: Score, best: Sequence[tuple[Grouping, float]], top: int
) -> list[Grouping]:
    """The groupings to confirm: all together, all alone, and `top` others, the fewest trunks first.

    Of the others the first is the one with the fewest trunks that validation does not show to be worse than the best of
    them (paired t over the seeds at 0.05), since more trunks cost more; then come the best by what is predicted.
    """
    together, alone = best[0][0], best[-1][0]
    others = [grouping for grouping, _ in sorted(best[1:-1], key=lambda each: -each[1])]
    if others:
        values = {grouping: affinities.by_seed(grouping, score) for grouping in others}
        behind = {g: t_interval(values[others[0]] - found, overlap=affinities.overlap) for g, found in values.items()}
        # Without two seeds there is no p, and nothing is shown to be worse: the prediction alone decides.
        fine = [g for g in others if g == others[0] or (behind[g].n > 1 and float(behind[g].p) > ALPHA)]
        others = list(dict.fromkeys([min(fine, key=len), *others]))[:top]
    return list(dict.fromkeys([together, *sorted(others, key=len), alone]))

"""Weights that tasks share: one for each group of tasks, or a family of a single number.

A weight of each of T tasks takes T−1 dimensions; a search of a hundred trials learns little about dozens of them. Here
a few dimensions move all weights together. Zero stands for equal weights in every one of them, so that a search begins
there. What they gain, and what not, is in benchmarks/RESULTS.md.

Legend: T tasks, n a task's labelled training examples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from optuna.distributions import FloatDistribution

from mtlsearch.data.splits import Splits
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.study.weights.task_weights import GROUP_PREFIX, LABEL_POWER, Distributions, LogRatios, Weights
from mtlsearch.tasks.task import Task, labelled
from mtlsearch.wording import EQUAL, GROUPS, LABELS, WEIGHT_CHOICES, few

MOST_EACH = 8  # tasks, up to which "auto" searches a weight of each
MANY = EQUAL  # what "auto" takes for more: a weight of each lost to them
MOST_POWER = 1.0  # at 1 every label counts alike, at 0 every task
LABEL_GROUPS = 4  # quarters of the tasks by their number of labels


@dataclass(frozen=True)
class Shared:
    """What the ways to share weights have in common: none fixes the weight of a single task."""

    tasks: Sequence[str]

    @property
    def fixed(self) -> Weights:
        return {}

    @property
    def names(self) -> list[str]:
        return []

    def default(self) -> dict[str, float]:
        return dict.fromkeys(self.tasks, 1 / len(self.tasks))

    def with_fixed(self, task: str, weight: float) -> LogRatios:
        raise UsageError(f"--set weight:{task}={weight:g}: tasks share their weights here, but not with --weights each")

    def at(self, weights: Weights) -> LogRatios:
        """All weights fixed, as log ratios have it."""
        return LogRatios(self.tasks, fixed=dict(weights))

    def at_edge(self, weights: Weights) -> list[tuple[str, str]]:
        return []


@dataclass(frozen=True)
class EqualWeights(Shared):
    """The same weight for every task: nothing is searched."""

    @property
    def distributions(self) -> Distributions:
        return {}

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        return self.default()

    def params(self, weights: Weights) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class PowerOfLabels(Shared):
    """`wᵢ ∝ nᵢᵖ`: the weights follow the number of labels to the power p, which is searched from −1 to 1.

    At p = 0 every task counts alike, at p = 1 every label: the mean over all labels of all tasks. Below 0, tasks of few
    labels count more. Where all tasks have as many labels, their weights are equal, and nothing is searched.
    """

    labels: Mapping[str, float] = field(default_factory=dict)

    @property
    def distributions(self) -> Distributions:
        same = self.labels and len({self._count(task) for task in self.tasks}) == 1
        return {} if same else {LABEL_POWER: FloatDistribution(-MOST_POWER, MOST_POWER)}

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        power = params.get(LABEL_POWER, 0.0)
        logs = [power * math.log(self._count(task)) for task in self.tasks]
        shares = [math.exp(each - max(logs)) for each in logs]
        total = math.fsum(shares)
        return {task: share / total for task, share in zip(self.tasks, shares, strict=True)}

    def params(self, weights: Weights) -> dict[str, Any]:
        """The power that comes nearest to these weights, by least squares of their logarithms."""
        kept = [task for task in self.tasks if weights[task] > 0]
        x, y = ([math.log(of(task)) for task in kept] for of in (self._count, weights.__getitem__))
        mean_x, mean_y = (math.fsum(each) / max(1, len(each)) for each in (x, y))
        square = math.fsum((a - mean_x) ** 2 for a in x)
        slope = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / square if square else 0.0
        return dict.fromkeys(self.distributions, min(MOST_POWER, max(-MOST_POWER, slope)))

    def _count(self, task: str) -> float:
        """The number of labels; 1 before the data are loaded."""
        return max(1.0, self.labels.get(task, 1.0))


@dataclass(frozen=True)
class GroupWeights(Shared):
    """One weight for all tasks of a group: log ratios of the groups, up to 1 : `range` between two tasks."""

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    range: float = 100.0

    @property
    def _ratios(self) -> LogRatios:
        return LogRatios([*self.groups], self.range)

    @property
    def distributions(self) -> Distributions:
        bound = self._ratios.bound
        return {f"{GROUP_PREFIX}{name}": FloatDistribution(-bound, bound) for name in [*self.groups][:-1]}

    def weights(self, params: Mapping[str, Any]) -> dict[str, float]:
        named = {f"log_ratio:{name}": params[f"{GROUP_PREFIX}{name}"] for name in [*self.groups][:-1]}
        shares = self._ratios.weights(named)
        total = math.fsum(shares[name] * len(tasks) for name, tasks in self.groups.items())
        found = {task: shares[name] / total for name, tasks in self.groups.items() for task in tasks}
        return {task: found[task] for task in self.tasks}

    def params(self, weights: Weights) -> dict[str, Any]:
        """The ratios of the groups' geometric means; equal weights give 0."""
        means = {}
        for name, tasks in self.groups.items():
            kept = [math.log(weights[task]) for task in tasks if weights[task] > 0]
            means[name] = math.exp(math.fsum(kept) / len(kept)) if kept else 1 / len(self.tasks)
        found = self._ratios.params(means)
        return {f"{GROUP_PREFIX}{name}": found[f"log_ratio:{name}"] for name in [*self.groups][:-1]}


def by_labels(tasks: Sequence[str], labels: Mapping[str, float]) -> dict[str, list[str]]:
    """The tasks in up to four groups of equal size by their number of labels, those with fewest first."""
    ranked = sorted(tasks, key=lambda task: labels.get(task, 1.0))  # stable: ties stay in the study's order
    count = min(LABEL_GROUPS, len(ranked))
    bounds = [round(i * len(ranked) / count) for i in range(count + 1)]
    return {f"labels {i + 1}": ranked[start:end] for i, (start, end) in enumerate(pairwise(bounds))}


def described_choice(choice: str | Mapping[str, Sequence[str]]) -> str | dict[str, list[str]]:
    """The choice as JSON gives it back."""
    return choice if isinstance(choice, str) else {name: list(tasks) for name, tasks in choice.items()}


def label_counts(tasks: Sequence[Task], splits: Sequence[Splits]) -> dict[str, float]:
    """The number of labelled training examples of each task."""
    own = {name: each for each in splits for name in each.tasks}
    return {task.name: float(labelled(own[task.name].train.labels[task.name]).sum()) for task in tasks}


def of_groups(choice: str | Mapping[str, Sequence[str]], tasks: Sequence[str]) -> str | Mapping[str, Sequence[str]]:
    """The choice for some of the tasks: groups lose the others."""
    if isinstance(choice, str):
        return choice
    kept = {name: [task for task in group if task in tasks] for name, group in choice.items()}
    return {name: group for name, group in kept.items() if group}


def check_weights_choice(choice: object, tasks: Sequence[str], terms: Sequence[str]) -> None:
    """Raise StudyError unless `weights` of a study is a known choice, or groups that hold each task once."""
    if isinstance(choice, str):
        if choice not in WEIGHT_CHOICES:
            raise StudyError(
                f"weights must be {', '.join(WEIGHT_CHOICES)} or groups of tasks by name, but got {choice!r}"
            )
        if choice in (LABELS, GROUPS) and terms:
            raise StudyError(
                f"weights={choice!r} follows the number of labels, which the term {terms[0]!r} has not: name groups,"
                ' such as weights={"physics": […], "data": […]}, or take weights="each"'
            )
        return
    if not isinstance(choice, Mapping) or not choice or any(isinstance(group, str) for group in choice.values()):
        raise StudyError(f"weights must be a word or groups, {{name: [task, …]}}, but got {choice!r}")
    named = [task for group in choice.values() for task in group]
    every = [*tasks, *terms]
    unknown = next((task for task in named if task not in every), None)
    if unknown is not None:
        raise StudyError(f"weights names {unknown!r}, which is no task or term of the study: {few(every)}")
    twice = next((task for task in named if named.count(task) > 1), None)
    missing = next((task for task in every if task not in named), None)
    if twice is not None or missing is not None:
        what = f"{twice!r} in two" if twice is not None else f"{missing!r} in none"
        raise StudyError(f"weights must have each task in one group, but has {what}")

"""The content of a report: `read_report` reads a study once from its record, and changes nothing.

`figures` draws it, `page` makes the page, `writing` the files, `dashboard` the notes. Nothing here needs torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.evidence.answer import Plan, best_answer, outdated
from mtlsearch.evidence.comparison import COMPARISON_FORMAT
from mtlsearch.evidence.grouping.answer import GROUPING_FORMAT
from mtlsearch.evidence.importance.mattered import Mattered, edges, mattered
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.searches import stored_evidence
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.trainings import Confirmation, ended, find_confirmation, runs_alone
from mtlsearch.store.config_file import trial_config
from mtlsearch.store.database.damage import damage, fault_of_comparison, fault_of_grouping
from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.record import Record
from mtlsearch.study.score import recorded_score
from mtlsearch.terminal import notice
from mtlsearch.wording import measured


@dataclass(frozen=True)
class Trainings:
    """The complete trainings of the confirmed winner, one per seed: tuned weights, equal weights, each task alone."""

    tuned: Sequence[FrozenTrial] = ()
    equal: Sequence[FrozenTrial] = ()
    alone: Mapping[str, Sequence[FrozenTrial]] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A study as a report shows it."""

    name: str
    info: Mapping[str, Any]
    trials: Sequence[FrozenTrial]  # those with an outcome of their own
    best: FrozenTrial | None  # of the search
    answer: Mapping[str, Any] | None  # the config that `best` and `export` give; None without a complete trial
    concluded: Mapping[str, Any] | None  # the stored conclusion of the confirmation
    trainings: Trainings
    comparison: Mapping[str, Any] | None
    searches: Mapping[str, Any] | None  # the evidence over repeated searches
    outdated: str | None
    grouping: Mapping[str, Any] | None = None  # the answer of `group`
    mattered: Mattered | None = None
    edges: Sequence[str] = ()

    @cached_property
    def tasks(self) -> dict[str, TaskMetric]:
        """The metric of each task."""
        tasks: Mapping[str, Any] = self.info["tasks"]
        return {name: TaskMetric(t["metric"], t["higher_is_better"]) for name, t in tasks.items()}

    @property
    def weighted(self) -> list[str]:
        """What has a weight: the tasks, and the loss terms."""
        return list(self.info.get("weighted", self.tasks))

    @property
    def evaluations(self) -> list[str]:
        """What has a metric and no weight."""
        return [name for name in self.tasks if name not in self.weighted]

    @cached_property
    def space(self) -> dict[str, BaseDistribution]:
        """The dimensions of the search."""
        space: Mapping[str, Any] = self.info["fingerprint"]["space"]
        return {name: json_to_distribution(json.dumps(dimension)) for name, dimension in space.items()}

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """The complete trials, in the order of their numbers."""
        return self.of(TrialState.COMPLETE)

    def of(self, state: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state is state]

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        return None if self.concluded is None else self.concluded["verdict"]

    @property
    def score_scale(self) -> float:
        """The factor that makes the score readable: 100 where it is made of fractions alone, shown in percent."""
        return Unit.of_score(recorded_score(self.info), self.tasks).scale

    @property
    def digest(self) -> str:
        """The SHA-256 of the definition that the study was searched with."""
        text = json.dumps(self.info["fingerprint"], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_report(record: Record, *, deep: bool = False) -> Report:
    """Read a study's trials, answer, confirmation and comparison; `deep` also finds what mattered, in seconds."""
    best = record.best_or_none()
    answer = None if best is None else best_answer(record)[0]
    confirmation = find_confirmation(record)
    concluded = None if confirmation is None else confirmation.conclusion
    trainings = Trainings()
    if confirmation is not None and concluded is not None:
        trainings = _trainings(confirmation, record, concluded)
    comparison = record.study.user_attrs.get("comparison")
    known = isinstance(comparison, Mapping) and comparison.get("format") == COMPARISON_FORMAT
    if known and (wrong := fault_of_comparison(comparison)) is not None:
        notice(f"the comparison is left out: {damage(wrong)}")
        known = False
    return Report(
        name=record.name,
        info=record.info,
        trials=[trial for trial in record.trials() if is_counted(trial)],
        best=best,
        answer=answer,
        concluded=concluded,
        trainings=trainings,
        comparison=comparison if known else None,
        searches=stored_evidence(record.study.user_attrs),
        outdated=None if answer is None else outdated(record, answer),
        grouping=_grouping(record),
        mattered=mattered(record) if deep else None,
        edges=[] if best is None or not deep else edges(record, best),
    )


def _grouping(record: Record) -> Mapping[str, Any] | None:
    """The stored answer of `group`, None where there is none that can be read."""
    grouping = record.study.user_attrs.get("grouping")
    if not (isinstance(grouping, Mapping) and grouping.get("format") == GROUPING_FORMAT):
        return None
    if (wrong := fault_of_grouping(grouping)) is not None:
        notice(f"the grouping is left out: {damage(wrong)}")
        return None
    return grouping


def _trainings(confirmation: Confirmation, record: Record, concluded: Mapping[str, Any]) -> Trainings:
    found, of = ended(confirmation), concluded["of"]
    config = trial_config(record.info, record.trial(of))
    plan = Plan({of: config}, concluded["seeds"], divisions=concluded.get("divisions") or ())

    def complete(repeats: Sequence[Any]) -> list[FrozenTrial]:
        trials = [found[repeat.key] for repeat in repeats if repeat.key in found]
        return [trial for trial in trials if trial.state is TrialState.COMPLETE]

    alone = {
        task: [trial for trial in by_seed.values() if trial.state is TrialState.COMPLETE]
        for task, by_seed in runs_alone(confirmation, concluded).items()
    }
    return Trainings(
        tuned=complete(plan.repeats_of("config", of)),
        equal=complete(plan.repeats_of("twin", of)),
        alone={task: trials for task, trials in alone.items() if trials},
    )


def metric_of(trial: FrozenTrial, task: str, metric: str, split: str = "validation") -> float:
    """A trial's metric of one task, NaN where it has none."""
    value = trial.user_attrs.get(split, {}).get(task, {}).get(metric)
    return math.nan if value is None else float(value)


def weights_of(trial: FrozenTrial) -> Mapping[str, float]:
    """A trial's task weights."""
    weights: Mapping[str, float] = trial.user_attrs["task_weights"]
    return weights


def number(value: float, scale: float = 1.0) -> str:
    """A single number for a reader: as `best` shows it, a fraction in percent."""
    if not math.isfinite(value):
        return "–"
    return f"{value * scale:.2f} %" if scale == 100 else measured(value)

"""Trials of a study: which is the best, how long they were in training, and all of them as a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import stdev
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.database.opening import is_counted
from mtlsearch.store.ownership import LEFT
from mtlsearch.study.front import distances, ranks
from mtlsearch.wording import measured

if TYPE_CHECKING:
    import pandas as pd

    from mtlsearch.study.results import EpochResult

SHOWN_ATTRIBUTES = ("best_epoch", "epochs", "entry_epoch", "seconds", "reason", "retry_of")


def rank(score: float, number: int, shortfall: float = 0.0) -> tuple[float, float, int]:
    """The sort key of "best": the highest score comes first, and of equal scores the earliest trial.

    A trial with a `shortfall`, whose metrics do not reach what they must, comes after all that have none.
    """
    return shortfall, -score, number


def rank_of(trial: FrozenTrial) -> tuple[float, float, int]:
    """The sort key of a complete trial."""
    return rank(score_of(trial), trial.number, shortfall_of(trial))


def shortfall_of(trial: FrozenTrial) -> float:
    """How far a trial's metrics together are from what they must reach, 0 where they reach it."""
    return sum(max(float(short), 0.0) for short in trial.constraints.values())


def missed(trial: FrozenTrial) -> str:
    """The tasks whose metric does not reach what it must, with how far it is from it; empty where all do."""
    short = {task: float(by) for task, by in trial.constraints.items() if by > 0}
    return ", ".join(f"{task} by {measured(by)}" for task, by in short.items())


def ranked(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials, the best first.

    Trials with several values go by their front; on each front the knee comes first, then the more even ones.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not any(map(has_several_values, complete)):
        return sorted(complete, key=rank_of)
    values = [trial.values for trial in complete]
    places = zip(complete, ranks(values), distances(values), strict=True)
    key = {trial.number: (shortfall_of(trial), int(rank), far, trial.number) for trial, rank, far in places}
    return sorted(complete, key=lambda trial: key[trial.number])


def has_several_values(trial: FrozenTrial) -> bool:
    """Whether a complete trial has a value for each task instead of one score."""
    return trial.values is not None and len(trial.values) > 1


def is_on_front(values: Sequence[float], short: float, others: Iterable[FrozenTrial]) -> bool:
    """Whether no other complete trial beats these values on every task, or is less `short` of what it must reach."""
    pairs = [(shortfall_of(trial), trial.values) for trial in others]
    if any(other < short for other, _ in pairs):
        return False
    rivals = [rival for other, rival in pairs if other == short]
    return bool(ranks([values, *rivals])[0] == 0)


def best_of(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The best complete trial, None where none is complete."""
    return next(iter(ranked(trials)), None)


def score_of(trial: FrozenTrial) -> float:
    """The score of a complete trial; where it has several values, their mean at its best epoch."""
    assert trial.values is not None
    return float(trial.user_attrs["score"] if has_several_values(trial) else trial.values[0])


def trial_epochs(trials: Iterable[FrozenTrial]) -> int:
    """The epochs that trials with an outcome of their own have trained."""
    return sum(int(trial.user_attrs.get("epochs", 0)) for trial in trials if is_counted(trial))


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """The time in which at least one trial was in training: members of a population train at the same time."""
    times = ((trial.datetime_start, trial.datetime_complete) for trial in trials)
    busy, until = 0.0, datetime.min
    for begun, ended in sorted((begun, ended) for begun, ended in times if begun and ended):
        busy += max(0.0, (ended - max(begun, until)).total_seconds())
        until = max(until, ended)
    return busy


def trials_frame(trials: Iterable[FrozenTrial]) -> "pd.DataFrame":
    """The trials, one row each: number, state, score, params, task weights, metrics, times."""
    import pandas as pd

    rows = [_row(trial) for trial in trials]
    # Columns are the union over the trials, in the order in which they first appear.
    return pd.DataFrame(rows, columns=list(dict.fromkeys(column for row in rows for column in row)))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    weights = {f"task_weight.{task}": weight for task, weight in attrs.get("task_weights", {}).items()}
    metrics = {
        f"validation.{task}.{metric}": value
        for task, values in attrs.get("validation", {}).items()
        for metric, value in values.items()
    }
    return {
        "number": trial.number,
        "state": _state(trial),
        "score": None if trial.values is None else score_of(trial),
        **_of_folds(attrs.get("folds")),
        **weights,
        **metrics,
        **{f"params.{name}": value for name, value in trial.params.items()},
        **{name: attrs.get(name) for name in SHOWN_ATTRIBUTES},
        **({"worker": attrs["worker"]} if "worker" in attrs else {}),
        "started": trial.datetime_start,
        "completed": trial.datetime_complete,
    }


def _of_folds(folds: Mapping[str, Any] | None) -> dict[str, float]:
    """The spread of a score over folds, and the score of each; nothing without folds."""
    if folds is None:
        return {}
    by_fold = {f"fold.{number}.score": score for number, score in enumerate(folds["scores"], start=1)}
    return {"score.sd": stdev(folds["scores"]), **by_fold}


def _state(trial: FrozenTrial) -> str:
    """The state in words: an `interrupted` trial is asked again, a `paused` one goes on from its kept state."""
    if trial.user_attrs.get("interrupted"):
        return "interrupted"
    left = trial.state is TrialState.RUNNING and (trial.user_attrs.get("owner") or {}).get(LEFT)
    return "paused" if left else trial.state.name.lower()


def outcome(result: "EpochResult") -> dict[str, Any]:
    """The user attributes of a trial that has ended.

    The metrics come first and once more as plain numbers: the dashboard keeps this order and plots numbers only.
    """
    reached: dict[str, Any] = {}
    if result.reason is not None:
        reached["reason"] = result.reason
    elif result.best_validation:
        for task, values in result.best_validation.items():
            reached |= {f"{task} {metric}": value for metric, value in values.items()}
        reached |= {"best_epoch": result.best_epoch, "validation": result.best_validation}
        if result.folds is not None:
            reached["folds"] = asdict(result.folds)
    return {**reached, "epochs": result.epoch + 1}


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Ask the sampler for one dimension."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)

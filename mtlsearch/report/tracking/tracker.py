"""What a tracker is told of a study, and how a stored study is told to it afterwards."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from optuna.trial import FrozenTrial

SCORE = "score"
Values = Mapping[str, float]


class Tracker(Protocol):
    """Takes in trials. `values` are metrics by name, such as `score` or `left/accuracy`."""

    def begun(self, number: int, params: Mapping[str, Any], weights: Mapping[str, float]) -> None:
        """Trial `number` is in training; the same one again where it goes on after an interruption."""
        ...

    def epoch(self, number: int, epoch: int, values: Values) -> None:
        """An epoch of a trial has ended."""
        ...

    def ended(self, number: int, state: str, values: Values, reason: str | None) -> None:
        """A trial has ended as complete, pruned or fail, with these values at its best epoch."""
        ...

    def concluded(self, verdict: Mapping[str, Any]) -> None:
        """The confirmation has given a verdict."""
        ...

    def close(self) -> None:
        """Nothing more is told."""
        ...


def named(validation: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Metrics by task as values by name."""
    return {f"{task}/{metric}": value for task, metrics in validation.items() for metric, value in metrics.items()}


def begin(tracker: Tracker, trial: FrozenTrial) -> None:
    """Tell that a stored trial is in training."""
    tracker.begun(trial.number, trial.params, trial.user_attrs.get("task_weights", {}))


def end(tracker: Tracker, trial: FrozenTrial) -> None:
    """Tell the outcome of a stored trial."""
    attrs = trial.user_attrs
    score = {} if trial.value is None else {SCORE: trial.value}
    values = {**score, **named(attrs.get("validation", {}))}
    tracker.ended(trial.number, trial.state.name.lower(), values, attrs.get("reason"))


def tell_all(tracker: Tracker, trials: Iterable[FrozenTrial], verdict: Mapping[str, Any] | None) -> int:
    """Tell trials that have ended, with the score of every epoch as it is stored; how many there were."""
    told = 0
    for trial in trials:
        if not trial.state.is_finished() or trial.user_attrs.get("interrupted"):
            continue
        begin(tracker, trial)
        for epoch, score in sorted(trial.intermediate_values.items()):
            tracker.epoch(trial.number, epoch, {SCORE: score})
        end(tracker, trial)
        told += 1
    if verdict is not None:
        tracker.concluded(verdict)
    return told

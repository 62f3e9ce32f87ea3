"""The curves of a trial: its score at each epoch, or in a study of several values that of each task.

Optuna stores intermediate values of one score alone, so the curves of several tasks are one user attribute, JSON of
{task: [value an epoch]}. Their values, as those of the trial, are oriented so that higher is better.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

Array = NDArray[np.float64]
CURVES = "curves"


def has_several(study: optuna.Study) -> bool:
    """Whether trials of the study have several values, one a task."""
    return len(study.directions) > 1


def task_curves(trial: FrozenTrial) -> Mapping[str, Sequence[float]]:
    """The value of each task at each epoch; empty in a study of one score."""
    found: Mapping[str, Sequence[float]] = trial.user_attrs.get(CURVES, {})
    return found


def epochs_reported(trial: FrozenTrial) -> int:
    """The number of epochs that a trial has reported."""
    found = task_curves(trial)
    return len(next(iter(found.values()))) if found else len(trial.intermediate_values)


def curve(trial: FrozenTrial) -> Array:
    """The values [epochs, T] that a trial has reported; T is 1 in a study of one score."""
    found = task_curves(trial)
    if found:
        return np.array(list(found.values()), dtype=np.float64).T
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    return np.array(scores, dtype=np.float64)[:, np.newaxis]


def score_curve(trial: FrozenTrial) -> dict[int, float]:
    """The score by epoch; in a study of several values their mean."""
    if not task_curves(trial):
        return dict(trial.intermediate_values)
    return dict(enumerate(curve(trial).mean(axis=1).tolist()))

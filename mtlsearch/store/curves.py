"""The curves of a trial: its score at each epoch, or in a study of several values each task's metric.

Optuna stores intermediate values of one score alone, so the curves of several tasks are one user attribute, JSON of
{task: [value an epoch]}.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

Array = NDArray[np.float64]
CURVES = "curves"


def signs_of(study: optuna.Study) -> list[int]:
    """1 for each value of a study that is maximised, −1 for each that is minimised."""
    return [-1 if direction is StudyDirection.MINIMIZE else 1 for direction in study.directions]


def task_curves(trial: FrozenTrial) -> Mapping[str, Sequence[float]]:
    """The metric of each task at each epoch; empty in a study of one score."""
    found: Mapping[str, Sequence[float]] = trial.user_attrs.get(CURVES, {})
    return found


def epochs_reported(trial: FrozenTrial) -> int:
    """The number of epochs that a trial has reported."""
    found = task_curves(trial)
    return len(next(iter(found.values()))) if found else len(trial.intermediate_values)


def oriented_curve(trial: FrozenTrial, signs: Sequence[int]) -> Array:
    """The values [epochs, T] that a trial has reported, oriented so that higher is better."""
    found = task_curves(trial)
    if found:
        curves: Array = np.array(list(found.values()), dtype=np.float64).T * np.array(signs)
        return curves
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    column: Array = np.array(scores, dtype=np.float64)[:, None] * signs[0]
    return column

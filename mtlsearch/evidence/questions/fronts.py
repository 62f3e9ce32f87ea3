"""The front of a search: its trials as a table, the volume that it covers, and its knee."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from optuna._hypervolume import compute_hypervolume
from optuna.trial import TrialState

from mtlsearch.evidence.questions.asking import front_of, metrics_of, oriented, scored_tasks, value_of
from mtlsearch.store.record import Record
from mtlsearch.study.front import knee

MOST_TASKS = 6  # whose volume is computed: it takes exponential time


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """The volume between `reference` [T] and the front of `values` [N, T], both oriented so that higher is better.

    Source: Zitzler and Thiele 1998, "Multiobjective optimization using evolutionary algorithms", computed by WFG.
    """
    rows, ground = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[(rows > ground).all(axis=1)]
    return float(compute_hypervolume(-rows, -ground)) if len(rows) else 0.0


def covered(values: ArrayLike) -> list[float]:
    """The share of the box between the worst and the best of all rows that the front covers, after each row [N].

    Empty for more than MOST_TASKS tasks, or where a task has one value alone.
    """
    rows = np.asarray(values, dtype=np.float64)
    finite = rows[np.isfinite(rows).all(axis=1)]
    if not len(finite) or rows.shape[1] > MOST_TASKS or not (np.ptp(finite, axis=0) > 0).all():
        return []
    low, high = finite.min(axis=0), finite.max(axis=0)
    box = (rows - low) / (high - low)
    found: list[float] = []
    for count in range(1, len(box) + 1):
        now = box[count - 1]
        beaten = bool(found) and (box[: count - 1] >= now).all(axis=1).any()
        is_new = np.isfinite(now).all() and not beaten
        found.append(hypervolume(box[:count], np.zeros(rows.shape[1])) if is_new else found[-1] if found else 0.0)
    return found


def front_table(record: Record) -> dict[str, Any] | None:
    """The front of the complete trials, by the first task; None with fewer than two tasks or without a complete trial.

    `knee` is the number of the trial at the knee, None where there is no clear one.
    """
    metrics, tasks = metrics_of(record.info), scored_tasks(record.info)
    complete = record.trials(TrialState.COMPLETE)
    if len(tasks) < 2 or not complete:
        return None
    values = oriented(complete, tasks, metrics)
    place, volumes = knee(values), covered(values)
    front = sorted(front_of(complete, tasks, metrics), key=lambda trial: -value_of(trial, tasks[0], metrics[tasks[0]]))
    return {
        "tasks": tasks,
        "trials": [
            {
                "trial": trial.number,
                "validation": {task: value_of(trial, task, metrics[task]) for task in tasks},
                "task_weights": trial.user_attrs["task_weights"],
            }
            for trial in front
        ],
        "knee": complete[place.row].number if place.clear else None,
        "hypervolume": volumes[-1] if volumes else None,
    }

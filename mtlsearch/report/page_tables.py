"""The tables of the report's page: the tasks with their metrics, and the compared methods."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from mtlsearch.evidence.comparison import ranked_methods
from mtlsearch.evidence.delta_m import delta_m
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.sentences import shown
from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.report.reading import Report, metric_of, number
from mtlsearch.wording import MANY_TASKS, duration, shown_tasks


class Cell(NamedTuple):
    """A value, the metric behind it and the interval below it in small print."""

    value: str
    metric: str = ""
    interval: str = ""

    @classmethod
    def of(cls, found: Estimate, scale: float, unit: str) -> "Cell":
        mean, bracket, interval = shown(found, scale, unit).partition(" (")
        return cls(mean, interval=(bracket + interval).strip())

    @classmethod
    def stored(cls, found: Mapping[str, Any] | None, scale: float, unit: str) -> "Cell":
        return UNKNOWN if found is None else cls.of(Estimate.of_stored(found), scale, unit)


UNKNOWN = Cell("–")


class Table(NamedTuple):
    """A table's columns and its rows by name; of the tasks also which are `shown`, and the gain of all."""

    head: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    shown: Sequence[str] = ()
    gain: Cell | None = None


def tasks_table(report: Report) -> Table | None:
    """The weight of each task and what it reaches; None without a complete trial."""
    if report.answer is None:
        return None
    weights = report.answer["task_weights"] if report.verdict is None else report.verdict["weights"]
    gain = None if report.verdict is None else report.verdict["delta_m"]
    return Table(
        head=_columns(report),
        rows={task: _task_row(report, task) for task in weights},
        shown=shown_tasks(weights),
        gain=None if gain is None else Cell.stored(gain, 1.0, " %"),
    )


def _columns(report: Report) -> list[str]:
    if report.verdict is None or report.concluded is None:
        return ["task", "weight", "validation"]
    tuned = ["tuned weight"] if report.concluded["weights"] != "tuned" else []
    alone = ["alone, test", "Δm"] if report.verdict["single_metrics"] else []
    return ["task", "weight", *tuned, "validation", "tuned, test", "equal, test", *alone]


def _task_row(report: Report, task: str) -> list[Cell]:
    assert report.answer is not None
    metric = report.tasks[task]
    found = report.answer["validation"].get(task, {}).get(metric.name, math.nan)
    cells = [
        Cell(f"{report.answer['task_weights'].get(task, 0.0):.4f}"),
        Cell(number(found, metric.scale), metric.name),
    ]
    if report.verdict is None or report.concluded is None:
        return cells
    if report.concluded["weights"] != "tuned":
        cells.insert(1, Cell(f"{report.verdict['weights'][task]:.4f}"))
    for key in ("metrics", "equal_metrics", "single_metrics"):
        if report.verdict[key]:
            cells.append(Cell.stored(report.verdict[key].get(task), metric.scale, metric.unit))
    return [*cells, _task_gain(report, task, metric)] if report.verdict["single_metrics"] else cells


def _task_gain(report: Report, task: str, metric: TaskMetric) -> Cell:
    """Δm of one task, formed per seed over the seeds that both trainings have."""

    def by_seed(trials: Iterable[FrozenTrial]) -> dict[int, float]:
        return {t.user_attrs["seed"]: metric_of(t, task, metric.name, "test") for t in trials}

    shared, alone = by_seed(report.trainings.tuned), by_seed(report.trainings.alone.get(task, ()))
    seeds = [seed for seed in shared if seed in alone]
    if not seeds:
        return UNKNOWN
    values, _ = delta_m({task: [shared[s] for s in seeds]}, {task: [alone[s] for s in seeds]}, {task: metric})
    level = float((report.verdict or {})["level"])
    return UNKNOWN if values is None else Cell.of(estimate(values, level), 1.0, " %")


def methods_table(report: Report) -> Table | None:
    """The score, the metrics and the cost of every compared method; None without a comparison."""
    if report.comparison is None:
        return None
    methods, scale = ranked_methods(report.comparison), report.score_scale
    unit, points = (" %", " points") if scale == 100 else ("", "")
    gains = any(method.get("delta_m") for method in methods)
    tasks = list(report.tasks.items())[:MANY_TASKS]
    head = ["method", "score", "minus equal", *["Δm"] * gains, *(f"{task} {m.name}" for task, m in tasks)]
    rows = {
        method["method"]: [
            Cell.stored(method["score"], scale, unit),
            Cell.stored(method.get("difference"), scale, points),
            *[Cell.stored(method.get("delta_m"), 1.0, " %")] * gains,
            *(Cell.stored(method["tasks"].get(task), metric.scale, metric.unit) for task, metric in tasks),
            Cell(f"{method['trial_epochs']:,}"),
            Cell(duration(method["seconds"])),
        ]
        for method in methods
    }
    return Table([*head, "trial-epochs", "time"], rows)

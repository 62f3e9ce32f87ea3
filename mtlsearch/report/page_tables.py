"""The tables of the report's page: tasks with their metrics, compared methods, groupings, searches, shares."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from mtlsearch.evidence.comparison import compared_tasks, ranked_methods
from mtlsearch.evidence.delta_m import delta_m
from mtlsearch.evidence.grouping.answer import affinity_table, grouping_table
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.sentences import shown
from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.report.reading import Report, metric_of, number
from mtlsearch.wording import duration, shown_tasks


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


UNKNOWN, EMPTY = Cell("–"), Cell("")


class Table(NamedTuple):
    """A table's columns and its rows by name; of the tasks also which are `shown`, and the rows of all at its foot."""

    head: Sequence[str]
    rows: Mapping[str, Sequence[Cell]]
    shown: Sequence[str] = ()
    foot: Mapping[str, Sequence[Cell]] = {}


def tasks_table(report: Report) -> Table | None:
    """The weight of each task and what it reaches; None without a complete trial."""
    if report.answer is None:
        return None
    weights = report.answer["task_weights"] if report.verdict is None else report.verdict["weights"]
    return Table(
        head=_columns(report),
        rows={task: _task_row(report, task) for task in dict.fromkeys([*weights, *report.evaluations])},
        shown=[*shown_tasks(weights), *report.evaluations],
        foot=_foot(report) if len(weights) > 1 else {},
    )


def _foot(report: Report) -> dict[str, list[Cell]]:
    """The score on validation and on test, and the gain of all tasks together, below their columns."""
    assert report.answer is not None
    scale, verdict = report.score_scale, report.verdict or {}
    unit = " %" if scale == 100 else ""
    score = {
        "validation": Cell(number(report.answer["score"]["value"], scale)),
        "tuned, test": Cell.stored(verdict.get("score"), scale, unit),
        "equal, test": Cell.stored(verdict.get("equal_score"), scale, unit),
    }
    gain = {"Δm": Cell.stored(verdict.get("delta_m"), 1.0, " %")}
    columns = _columns(report)[1:]
    rows = {f"{report.info['score']} score": score, **({"all tasks": gain} if verdict.get("delta_m") else {})}
    return {name: [cells.get(column, EMPTY) for column in columns] for name, cells in rows.items()}


def _columns(report: Report) -> list[str]:
    if report.verdict is None or report.concluded is None:
        return ["task", "weight", "validation"]
    tuned = ["tuned weight"] if report.concluded["weights"] != "tuned" else []
    alone = ["alone, test", "Δm"] if report.verdict["single_metrics"] else []
    return ["task", "weight", *tuned, "validation", "tuned, test", "equal, test", *alone]


def _task_row(report: Report, task: str) -> list[Cell]:
    assert report.answer is not None
    metric = report.tasks.get(task)
    if metric is None:  # a loss term
        cells = [Cell(f"{report.answer['task_weights'][task]:.4f}")]
        if report.verdict is not None and report.concluded is not None and report.concluded["weights"] != "tuned":
            cells.append(Cell(f"{report.verdict['weights'][task]:.4f}"))
        return [*cells, *[EMPTY] * (len(_columns(report)) - 1 - len(cells))]
    found = report.answer["validation"].get(task, {}).get(metric.name, math.nan)
    has_weight = task not in report.evaluations
    cells = [
        Cell(f"{report.answer['task_weights'].get(task, 0.0):.4f}") if has_weight else EMPTY,
        Cell(number(found, metric.scale), metric.name),
    ]
    if report.verdict is None or report.concluded is None:
        return cells
    if report.concluded["weights"] != "tuned":
        cells.insert(1, Cell(f"{report.verdict['weights'][task]:.4f}") if has_weight else EMPTY)
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
    tasks = [(task, report.tasks[task]) for task in compared_tasks(report.comparison) if task in report.tasks]
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


def grouping_tables(report: Report) -> list[Table]:
    """The groupings that were trained as wholes, and what each task gains from each other; none without a grouping."""
    if report.grouping is None:
        return []
    return [_of_columns(*make(report.grouping)) for make in (grouping_table, affinity_table)]


def _of_columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table as a terminal shows it, with intervals in small print."""
    return Table(head, {str(name): [_of_text(value) for value in values] for name, *values in rows})


def _of_text(value: object) -> Cell:
    text, bracket, interval = str(f"{value:,}" if isinstance(value, int) else value).partition(" (")
    return Cell(text, interval=(bracket + interval).strip())


def shares_table(report: Report) -> Table | None:
    """The share of each dimension in the variation of the score and of each task; None where nothing tells."""
    if report.mattered is None or not report.mattered.shares:
        return None
    found = report.mattered.shares
    names = list(next(iter(found.values())).shares)
    kept = [name for name in found if name == "score" or name in shown_tasks(dict.fromkeys(found, 0.0))]
    rows = {
        name: [
            Cell(f"{100 * found[column].shares[name]:.0f} %") if found[column].determined else UNKNOWN
            for column in kept
        ]
        for name in names
    }
    foot = {"out-of-bag R²": [Cell(f"{found[column].r2:.2f}") for column in kept]}
    return Table(["share of the variation of", *kept], rows, foot=foot)


def needed_table(report: Report) -> Table | None:
    """By PED-ANOVA what sets the best tenth apart in the score and each task; None where nothing tells."""
    if report.mattered is None or not report.mattered.needed:
        return None
    found = report.mattered.needed
    kept = [name for name in found if name == "score" or name in shown_tasks(dict.fromkeys(found, 0.0))]
    names = next(iter(found.values()))
    return Table(
        ["what sets the best tenth apart in", *kept],
        {name: [Cell(f"{100 * found[column].get(name, 0.0):.0f} %") for column in kept] for name in names},
    )


def searches_table(report: Report) -> Table | None:
    """The winner of every repeated search, its gain and its weights; None without repeated searches."""
    if report.searches is None:
        return None
    found, scale = report.searches["found"], report.score_scale
    tasks = shown_tasks(found[0]["weights"])
    rows = {
        each["study"]: [
            Cell(str(each["seed"])),
            Cell(f"trial {each['trial']}"),
            Cell.stored(each["gain"], scale, " points" if scale == 100 else ""),
            *(Cell(f"{each['weights'].get(task, 0.0):.4f}") for task in tasks),
        ]
        for each in found
    }
    return Table(["search", "seed", "winner", "tuned minus equal", *(f"weight of {task}" for task in tasks)], rows)

"""The tables of the report's page: the tasks with what each reaches, the hyperparameters, the compared methods."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from mtlsearch.evidence.delta_m import delta_m
from mtlsearch.evidence.sentences import TaskMetric
from mtlsearch.evidence.statistics import estimate
from mtlsearch.offline_page import escaped
from mtlsearch.report.figure_style import Plot, number, scale_of
from mtlsearch.report.figures_confirmed import ranked
from mtlsearch.report.page_parts import drawing, estimated, section, table
from mtlsearch.report.reading import Report, estimate_of, metric_of
from mtlsearch.wording import MANY_TASKS, plain, shown_tasks


def tasks_section(report: Report) -> str:
    """Per task its weight and what it reaches, and the hyperparameters with which it does."""
    if report.answer is None:
        return ""
    head = _columns(report)
    weights = report.answer["task_weights"] if report.verdict is None else report.verdict["weights"]
    rows = {task: f"<tr>{_task_row(report, task)}</tr>" for task in weights}
    foot = ""
    if report.verdict is not None and report.verdict["delta_m"] is not None:
        gain = estimated(estimate_of(report.verdict["delta_m"]), 1.0, " %")
        empty = "<td></td>" * (len(head) - 2)
        foot = f'<tfoot><tr><th scope="row">all tasks</th>{empty}<td>{gain}</td></tr></tfoot>'
    few = [rows[task] for task in shown_tasks(weights) if task is not None]
    more = ""
    if len(weights) > MANY_TASKS:
        more = f"<details><summary>All {len(weights)} tasks</summary>{table(head, rows.values())}</details>"
    caption = f'<p class="caption">{_about_table(report)}</p>'
    return section("Tasks", caption, table(head, few, foot), more, _values(report), name="tasks")


def _columns(report: Report) -> list[str]:
    if report.verdict is None or report.concluded is None:
        return ["task", "weight", "validation"]
    tuned = ["tuned weight"] if report.concluded["weights"] == "equal" else []
    alone = ["alone, test", "Δm"] if report.verdict["single_metrics"] else []
    return ["task", "weight", *tuned, "validation", "tuned, test", "equal, test", *alone]


def _about_table(report: Report) -> str:
    """What the columns are of."""
    assert report.answer is not None
    if report.verdict is None or report.concluded is None:
        return f"Trial {report.answer['trial']} of the search: one training, on validation. Weights sum to 1."
    concluded = report.concluded
    alone = ", and for each task trained alone" if report.verdict["single_metrics"] else ""
    gain = " Δm is the change of the tuned ones against alone; positive is better." if alone else ""
    return (
        f"Weight and validation are of the training that <code>best</code> and <code>export</code> give, with"
        f" {escaped(concluded['weights'])} weights. On test: the mean and interval over {len(concluded['seeds'])} fresh"
        f" seeds of the config of trial {concluded['of']}, for its tuned weights, for equal ones{alone}.{gain}"
    )


def _task_row(report: Report, task: str) -> str:
    assert report.answer is not None
    metric = report.tasks[task]
    found = report.answer["validation"].get(task, {}).get(metric.name, math.nan)
    weight = report.answer["task_weights"][task]
    cells = [f"{weight:.4f}", f"{number(found, scale_of(metric))} <small>{escaped(metric.name)}</small>"]
    if report.verdict is not None and report.concluded is not None:
        if report.concluded["weights"] == "equal":
            cells.insert(1, f"{report.verdict['weights'][task]:.4f}")
        scale, unit = (100.0, " %") if metric.fraction else (1.0, "")
        for key in ("metrics", "equal_metrics", "single_metrics"):
            if report.verdict[key]:
                cells.append(estimated(estimate_of(report.verdict[key][task]), scale, unit))
        if report.verdict["single_metrics"]:
            cells.append(_task_gain(report, task, metric))
    return f'<th scope="row">{escaped(task)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells)


def _task_gain(report: Report, task: str, metric: TaskMetric) -> str:
    """One task's share in Δm, formed per seed of those that both have."""
    name, level = metric.name, float((report.verdict or {})["level"])

    def by_seed(trials: Iterable[FrozenTrial]) -> dict[int, float]:
        return {t.user_attrs["seed"]: metric_of(t, task, name, "test") for t in trials}

    shared, alone = by_seed(report.trainings.tuned), by_seed(report.trainings.alone.get(task, ()))
    seeds = [seed for seed in shared if seed in alone]
    if not seeds:
        return "–"
    values, _ = delta_m({task: [shared[s] for s in seeds]}, {task: [alone[s] for s in seeds]}, {task: metric})
    return "–" if values is None else estimated(estimate(values, level), 1.0, " %")


def _values(report: Report) -> str:
    assert report.answer is not None
    training = report.answer["training"]
    values = {name: plain(value) for name, value in report.answer["hyperparameters"].items()}
    values["epochs"] = f"{training['epochs_trained']} (best: {training['best_epoch'] + 1})"
    pairs = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in values.items()
    )
    return f'<h2 style="margin:18px 0 8px">Hyperparameters</h2><dl class="values">{pairs}</dl>'


def methods_section(report: Report, plot: Plot | None) -> str:
    """The compared methods: what each reaches, and what it cost."""
    if report.comparison is None or plot is None:
        return ""
    methods = ranked(report.comparison)
    points = " points" if report.score_scale == 100 else ""
    head = ["method", "score", "minus equal"]
    gains = any(method.get("delta_m") for method in methods)
    head += ["Δm"] * gains + [f"{task} {metric.name}" for task, metric in report.tasks.items()][:MANY_TASKS]
    head += ["trial-epochs", "time"]
    rows = []
    for method in methods:
        cells = [
            _stored(method["score"], report.score_scale),
            _stored(method.get("difference"), report.score_scale, points),
        ]
        cells += [_stored(method.get("delta_m"), 1.0, " %")] * gains
        for task, metric in list(report.tasks.items())[:MANY_TASKS]:
            cells.append(_stored(method["tasks"].get(task), scale_of(metric)))
        cells += [f"{method['trial_epochs']:,}", _duration(method["seconds"])]
        rows.append(
            f'<tr><th scope="row">{escaped(method["method"])}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'
        )
    said, *about = report.comparison["lines"]
    lines = f"<p><strong>{escaped(said)}</strong></p>"
    lines += "".join(f'<p class="caption">{escaped(line)}</p>' for line in about)
    caption = f'<p class="caption">{escaped(plot.caption)}</p>'
    return section(plot.title, caption, lines, table(head, rows), drawing(plot), name=plot.name)


def _stored(stored: Mapping[str, Any] | None, scale: float, unit: str | None = None) -> str:
    if stored is None:
        return "–"
    return estimated(estimate_of(stored), scale, (" %" if scale == 100 else "") if unit is None else unit)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""The trade-off of many tasks: parallel coordinates of the weights and of the metrics.

These are not Optuna's `plot_parallel_coordinate`. It scales every axis for itself, so neither two weights nor a weight
and equal weights can be compared, and it draws a trace per trial and five labels per axis in fixed colours.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from mtlsearch.report import figure_style as style
from mtlsearch.report.reading import Report, metric_of, weights_of
from mtlsearch.store.trials import score_of
from mtlsearch.wording import shown_tasks

MOST_LINES = 300
QUARTERS = (
    ("lowest quarter", style.LOW),
    ("third quarter", style.TRIAL),
    ("second quarter", style.MIDDLE),
    ("best quarter of scores", style.TUNED),
)
WIDTH_OF_TASK = 34
Value = Callable[[FrozenTrial, str], float]


def of_many(report: Report) -> list[style.Plot]:
    """The weights and the metrics of the tasks; of very many tasks some, and the metrics of all on request."""
    few = shown_tasks(weights_of(report.best or report.complete[0]))
    found = [_weights(report, few), style.Plot("task-metrics", "Task metrics", *_metrics(report, few))]
    if len(few) < len(report.tasks):
        title, width = f"Metrics of all {len(report.tasks)} tasks", WIDTH_OF_TASK * len(report.tasks)
        whole = _metrics(report, list(report.tasks))
        found.append(style.Plot("all-metrics", title, *whole, folded=True, least_width=width))
    return found


def _weights(report: Report, tasks: Sequence[str]) -> style.Plot:
    axis = {"title": "task weight", "rangemode": "tozero"}
    figure = _parallel(report, tasks, lambda trial, task: weights_of(trial)[task], axis)
    figure.add_hline(
        y=1 / len(report.tasks),
        line={"color": style.EQUAL, "width": 2, "dash": "dash"},
        annotation={"text": "equal", "font": {"color": style.EQUAL, "size": 12}},
    )
    text = f"The task weights of every complete trial; the better its score, the bluer.{_some(report, tasks)}"
    return style.Plot("trade-off", "Task weights", text, (figure,))


def _metrics(report: Report, tasks: Sequence[str]) -> tuple[str, tuple[go.Figure]]:
    """The caption and the figure of the metrics: in percent, or between the worst and the best trial of each task."""
    if all(metric.fraction for metric in report.tasks.values()):
        value, title = _percent(report), "metric, validation (%)"
        limits = style.window([value(trial, task) for trial in report.complete for task in tasks])
    else:
        value, limits = _shares(report, tasks), (-0.03, 1.03)
        title = "metric, validation (0 worst to 1 best trial)"
    figure = _parallel(report, tasks, value, {"title": title, "range": limits})
    text = f"The metric of each task for every complete trial; the better its score, the bluer.{_some(report, tasks)}"
    return text, (figure,)


def _percent(report: Report) -> Value:
    return lambda trial, task: 100 * metric_of(trial, task, report.tasks[task].name)


def _shares(report: Report, tasks: Sequence[str]) -> Value:
    """A task's metric on the way from its worst trial, 0, to its best trial, 1."""

    def oriented(trial: FrozenTrial, task: str) -> float:
        return report.tasks[task].sign * metric_of(trial, task, report.tasks[task].name)

    ends = {}
    for task in tasks:
        found = [v for trial in report.complete if math.isfinite(v := oriented(trial, task))]
        ends[task] = (min(found, default=0.0), max(found, default=1.0))

    def share(trial: FrozenTrial, task: str) -> float:
        low, high = ends[task]
        return (oriented(trial, task) - low) / (high - low) if high > low else 0.5

    return share


def _some(report: Report, tasks: Sequence[str]) -> str:
    if len(tasks) == len(report.tasks):
        return ""
    return f" The {len(tasks)} tasks are those with the largest and smallest weights in the best trial."


def _parallel(report: Report, tasks: Sequence[str], value: Value, axis: dict[str, Any]) -> go.Figure:
    """A line per trial over the tasks, in a trace for each quarter of the scores, and the best trial's line."""
    ranked = style.thinned(sorted(report.complete, key=score_of), MOST_LINES)
    places, names = list(range(len(tasks))), [style.label(task) for task in tasks]
    traces = []
    for quarter, (name, colour) in enumerate(QUARTERS):
        y: list[float | None] = []
        texts: list[str] = []
        trials = ranked[quarter * len(ranked) // 4 : (quarter + 1) * len(ranked) // 4]
        for trial in trials:
            y += [*style.rounded((value(trial, task) for task in tasks), 4), None]
            texts += [*(f"trial {trial.number}, {name}" for name in names), ""]
        line = {"color": colour, "width": 1}
        traces.append(_line([*places, None] * len(trials), y, texts, name=name, line=line, opacity=0.7))
    if report.best is not None:
        best, name = report.best, f"best: trial {report.best.number}"
        y, texts = style.rounded((value(best, t) for t in tasks), 4), [f"{name}, {task}" for task in names]
        line = {"color": style.INK, "width": 3}
        traces.append(_line(places, y, texts, name=name, line=line, marker={"size": 7}, mode="lines+markers"))
    # The names lean to the left, so that the last one stays inside a narrow figure.
    ticks = {"tickvals": places, "ticktext": names, "autotickangles": [0, -40, -90]}
    return style.drawn(traces, 420, xaxis={"range": [-0.2, len(tasks) - 0.8], **ticks}, yaxis=axis)


def _line(x: Sequence[int | None], y: Sequence[float | None], texts: Sequence[str], **more: Any) -> go.Scatter:
    hover = "%{customdata}: %{y:.4g}<extra></extra>"
    return go.Scatter(x=x, y=y, customdata=texts, hovertemplate=hover, **({"mode": "lines"} | more))

"""The trade-off of many tasks: parallel coordinates, as lines, which follow the colour scheme and scroll."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from mtlsearch.report.figure_style import (
    EQUAL,
    INK,
    LOW,
    MIDDLE,
    TRIAL,
    TUNED,
    Plot,
    axis,
    label,
    layout,
    rounded,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, metric_of, value_of, weights_of

MOST_LINES = 300
BINS = 4
WIDTH_OF_TASK = 34


def of_weights(report: Report, tasks: Sequence[str]) -> Plot:
    figure = _parallel(report, tasks, lambda trial, task: weights_of(trial)[task])
    equal = 1 / len(report.tasks)
    figure.add_hline(y=equal, line={"color": EQUAL, "width": 2, "dash": "dash"})
    figure.add_annotation(
        x=1, xref="paper", y=equal, text="equal", showarrow=False, xanchor="right", yanchor="bottom",
        font={"color": EQUAL, "size": 12},
    )  # fmt: skip
    figure.update_yaxes(axis("task weight", rangemode="tozero"))
    text = f"The task weights of every complete trial; the better its score, the bluer.{_some(report, tasks)}"
    return Plot("trade-off", "Task weights", text, figure)


def of_metrics(report: Report, tasks: Sequence[str], folded: bool = False) -> Plot:
    same = all(metric.fraction for metric in report.tasks.values())
    ranges = {task: _range(report, task) for task in tasks}

    def value(trial: FrozenTrial, task: str) -> float:
        metric = report.tasks[task]
        found = metric_of(trial, task, metric.name)
        if same:
            return 100 * found
        low, high = ranges[task]
        share = (found - low) / (high - low) if high > low else 0.5
        return share if metric.higher_is_better else 1 - share

    figure = _parallel(report, tasks, value)
    limits = window([value(t, task) for t in report.complete for task in tasks]) if same else (-0.03, 1.03)
    title = "metric, validation (%)" if same else "metric, validation (0 worst to 1 best trial)"
    figure.update_yaxes(axis(title, range=limits))
    text = (
        f"Each task's metric of every complete trial; the better its score, the bluer.{_some(report, tasks)}"
    )
    if folded:
        width = WIDTH_OF_TASK * len(tasks)
        return Plot(
            "all-metrics", f"Metrics of all {len(tasks)} tasks", text, figure, folded=True, least_width=width
        )
    return Plot("task-metrics", "Task metrics", text, figure)


def _some(report: Report, tasks: Sequence[str]) -> str:
    rest = len(report.tasks) - len(tasks)
    return (
        f" Shown are the {len(tasks)} tasks of the best trial's largest and smallest weights." if rest else ""
    )


def _range(report: Report, task: str) -> tuple[float, float]:
    name = report.tasks[task].name
    values = [v for t in report.complete if math.isfinite(v := metric_of(t, task, name))]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _parallel(report: Report, tasks: Sequence[str], value: Callable[[FrozenTrial, str], float]) -> go.Figure:
    """A line a trial over the tasks, in few traces: one for each quarter of the scores, and the best one's."""
    figure = go.Figure(layout=layout(420))
    ranked = thinned(sorted(report.complete, key=value_of), MOST_LINES)
    places = list(range(len(tasks)))
    names = ("lowest quarter", "third quarter", "second quarter", "best quarter of scores")
    for quarter, (name, colour) in enumerate(zip(names, (LOW, TRIAL, MIDDLE, TUNED), strict=True)):
        x: list[int | None] = []
        y: list[float | None] = []
        told: list[str] = []
        for trial in ranked[quarter * len(ranked) // BINS : (quarter + 1) * len(ranked) // BINS]:
            x += [*places, None]
            y += [*rounded((value(trial, task) for task in tasks), 4), None]
            told += [f"trial {trial.number}, {label(task)}" for task in tasks] + [""]
        figure.add_trace(
            go.Scatter(
                x=x, y=y, customdata=told, mode="lines", name=name, line={"color": colour, "width": 1}, opacity=0.7,
                hovertemplate="%{customdata}: %{y:.4g}<extra></extra>",
            )
        )  # fmt: skip
    if report.best is not None:
        best = report.best
        figure.add_trace(
            go.Scatter(
                x=places,
                y=rounded((value(best, task) for task in tasks), 4),
                customdata=[label(task) for task in tasks],
                mode="lines+markers",
                name=f"best: trial {best.number}",
                line={"color": INK, "width": 3},
                marker={"size": 7},
                hovertemplate=f"best: trial {best.number}, %{{customdata}}: %{{y:.4g}}<extra></extra>",
            )
        )
    ticks: dict[str, Any] = {"tickvals": places, "ticktext": [label(task) for task in tasks]}
    # Leaning to the left, the last name stays inside of a narrow figure.
    ticks["autotickangles"] = [0, -40, -90]
    figure.update_xaxes(axis(range=[-0.2, len(tasks) - 0.8], **ticks))
    return figure

"""The figures of what was trained again on test: the confirmation, and the compared methods; dots with intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlsearch.evidence.statistics import Estimate
from mtlsearch.report.figure_style import (
    ALONE,
    EQUAL,
    PAPER,
    TRIAL,
    TUNED,
    Plot,
    axis,
    label,
    layout,
    metric_title,
    rounded,
    scale_of,
)
from mtlsearch.report.reading import Report, estimate_of, metric_of
from mtlsearch.wording import MANY_TASKS, shown_tasks


def confirmation(report: Report) -> list[Plot]:
    """Tuned weights, equal ones and each task alone on test: every seed, the mean and its interval."""
    if report.verdict is None:
        return []
    tasks = [task for task in shown_tasks(report.verdict["weights"]) if task is not None]
    kinds = {"alone": "single_metrics", "equal weights": "equal_metrics", "tuned weights": "metrics"}
    kinds = {name: key for name, key in kinds.items() if report.verdict[key]}
    height = 44 + 24 * len(kinds)
    figure = make_subplots(
        rows=len(tasks), cols=1, vertical_spacing=min(0.5 / len(tasks), 60 / (len(tasks) * height))
    )
    figure.update_layout(layout(len(tasks) * (height + 30) + 30, showlegend=False))
    figure.update_layout(margin={"t": 8})
    colours = {"alone": ALONE, "equal weights": EQUAL, "tuned weights": TUNED}
    for row, task in enumerate(tasks, 1):
        metric = report.tasks[task]
        scale = scale_of(metric)
        runs = {
            "alone": report.trainings.alone.get(task, ()),
            "equal weights": report.trainings.equal,
            "tuned weights": report.trainings.tuned,
        }
        for place, (name, key) in enumerate(kinds.items()):
            seeds = [metric_of(t, task, metric.name, "test") * scale for t in runs[name]]
            found = estimate_of(report.verdict[key][task])
            for trace in _interval(name, place, colours[name], seeds, found, scale):
                figure.add_trace(trace, row=row, col=1)
        figure.update_xaxes(
            axis(metric_title(metric, task, "test").replace("<br>", ", "), nticks=7), row=row, col=1
        )
        ticks: dict[str, Any] = {
            "tickvals": list(range(len(kinds))),
            "ticktext": list(kinds),
            "range": [-0.6, len(kinds) - 0.4],
        }
        figure.update_yaxes(axis(showgrid=False, **ticks), row=row, col=1)
    text = (
        "The confirmed hyperparameters trained again with fresh seeds and scored on test once: each seed, the mean and"
        " its interval. That two intervals overlap does not mean that there is no difference: the verdict compares seed"
        " by seed."
    )
    return [Plot("confirmation", "Confirmation on test", text, figure)]


def _interval(
    name: str, place: int, colour: str, seeds: Sequence[float], found: Estimate, scale: float = 1.0
) -> list[go.Scatter]:
    """A row of a figure: seeds as ticks, the mean as a dot, its interval as a bar."""
    mean, bar, interval = found.mean * scale, None, ""
    if found.low is not None and found.high is not None:
        low, high = found.low * scale, found.high * scale
        bar = {
            "symmetric": False,
            "array": [high - mean],
            "arrayminus": [mean - low],
            "thickness": 2.5,
            "width": 6,
        }
        interval = f" ({low:.4g} to {high:.4g})"
    each = go.Scatter(
        x=rounded(seeds),
        y=[place] * len(seeds),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": colour, "line": {"width": 1.5}},
        hovertemplate=f"{name}, one seed: %{{x:.4g}}<extra></extra>",
    )
    middle = go.Scatter(
        x=rounded([mean]),
        y=[place],
        error_x=bar,
        mode="markers",
        marker={"color": colour, "size": 11, "line": {"color": PAPER, "width": 1.5}},
        hovertemplate=f"{name}, mean: {mean:.4g}{interval}<extra></extra>",
    )
    return [each, middle] if seeds else [middle]


# The comparison of methods.


def ranked(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The compared methods, the best score first; what has none is last."""
    return sorted(comparison["methods"], key=lambda m: -_mean(m["score"]))


def _mean(stored: Mapping[str, Any]) -> float:
    return -math.inf if stored["mean"] is None else float(stored["mean"])


def comparison(report: Report) -> list[Plot]:
    """The score of every compared method with its interval, the best at the top; few tasks' metrics below it."""
    if report.comparison is None or not report.comparison["methods"]:
        return []
    methods = ranked(report.comparison)[::-1]  # an axis begins at the bottom
    tasks = list(report.tasks) if 1 < len(report.tasks) <= MANY_TASKS // 3 else []
    titles = ["<b>score</b>, test" + (" (%)" if report.score_scale == 100 else "")]
    titles += [metric_title(report.tasks[task], task, "test").replace("<br>", ", ") for task in tasks]
    height = 26 * len(methods) + 62
    figure = make_subplots(rows=len(titles), cols=1, vertical_spacing=62 / (len(titles) * (height + 10)))
    figure.update_layout(layout(len(titles) * height + 30, showlegend=False))
    figure.update_layout(margin={"t": 8})
    colours = {"equal": EQUAL, "tuned": TUNED}
    for row, title in enumerate(titles, 1):
        for place, method in enumerate(methods):
            stored = method["score"] if row == 1 else method["tasks"][tasks[row - 2]]
            scale = report.score_scale if row == 1 else scale_of(report.tasks[tasks[row - 2]])
            name = label(method["method"])
            traces = _interval(
                name, place, colours.get(method["method"], TRIAL), (), estimate_of(stored), scale
            )
            figure.add_traces(traces, rows=row, cols=1)
        figure.update_xaxes(axis(title, nticks=7), row=row, col=1)
        ticks: dict[str, Any] = {
            "tickvals": list(range(len(methods))),
            "ticktext": [label(m["method"]) for m in methods],
        }
        figure.update_yaxes(axis(showgrid=False, range=[-0.6, len(methods) - 0.4], **ticks), row=row, col=1)
    many = len(report.comparison["seeds"])
    text = (
        f"Every method with the same search budget, its best config trained with {many} fresh seeds: mean and interval"
        " on test."
    )
    return [Plot("methods", "Compared methods", text, figure)]

"""The figures of the trainings on test, the confirmation and the compared methods: means with their intervals."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlsearch.evidence.comparison import ranked_methods
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.report.figure_style import (
    ALONE,
    EQUAL,
    PAPER,
    TEMPLATE,
    TRIAL,
    TUNED,
    Plot,
    label,
    metric_title,
    rounded,
)
from mtlsearch.report.reading import Report, metric_of
from mtlsearch.wording import MANY_TASKS, shown_tasks

LINE = 26  # pixels of one mean
AROUND = 64  # pixels of a panel's axis, its title, and the space between panels


class Mean(NamedTuple):
    """A line of a panel: seeds as ticks, their mean as a dot, its interval as a bar."""

    name: str
    colour: str
    found: Estimate
    seeds: Sequence[float] = ()


class Panel(NamedTuple):
    """Means below each other on one axis; `scale` makes the values readable."""

    title: str
    scale: float
    means: Sequence[Mean]


def confirmation(report: Report) -> list[Plot]:
    """Tuned weights, equal ones and each task alone on test: every seed, the mean and its interval."""
    if report.verdict is None:
        return []
    verdict, trainings, panels = report.verdict, report.trainings, []
    for task in shown_tasks(verdict["weights"]):
        if task is None:
            continue
        metric = report.tasks[task]
        means = [
            Mean(
                name,
                colour,
                Estimate.of_stored(verdict[key][task]),
                [metric_of(trial, task, metric.name, "test") for trial in found],
            )
            for name, key, colour, found in (
                ("alone", "single_metrics", ALONE, trainings.alone.get(task, ())),
                ("equal weights", "equal_metrics", EQUAL, trainings.equal),
                ("tuned weights", "metrics", TUNED, trainings.tuned),
            )
            if verdict[key]
        ]
        panels.append(Panel(_title(metric, task), metric.scale, means))
    text = (
        "The confirmed hyperparameters, trained with fresh seeds and scored on test once: each seed, the mean and its"
        " interval. Two intervals may overlap although there is a difference: the verdict compares seed by seed."
    )
    return [Plot("confirmation", "Confirmation on test", text, (_drawn(panels),))]


def _title(metric: TaskMetric, task: str) -> str:
    return metric_title(metric, task, "test").replace("<br>", ", ")


def comparison(report: Report) -> list[Plot]:
    """The score of every compared method with its interval, the best at the top; of few tasks their metrics too."""
    if report.comparison is None or not report.comparison["methods"]:
        return []
    methods = ranked_methods(report.comparison)[::-1]  # an axis begins at the bottom
    colours = {"equal": EQUAL, "tuned": TUNED}

    def panel(title: str, scale: float, stored: Sequence[Any]) -> Panel:
        names = [method["method"] for method in methods]
        found = zip(names, map(Estimate.of_stored, stored), strict=True)
        return Panel(
            title, scale, [Mean(label(name), colours.get(name, TRIAL), mean) for name, mean in found]
        )

    unit = " (%)" if report.score_scale == 100 else ""
    panels = [panel(f"<b>score</b>, test{unit}", report.score_scale, [method["score"] for method in methods])]
    if 1 < len(report.tasks) <= MANY_TASKS // 3:
        for task, metric in report.tasks.items():
            stored = [method["tasks"][task] for method in methods]
            panels.append(panel(_title(metric, task), metric.scale, stored))
    text = (
        f"Every method with the same search budget. Its best config was trained with"
        f" {len(report.comparison['seeds'])} fresh seeds: the mean and its interval on test."
    )
    return [Plot("methods", "Compared methods", text, (_drawn(panels),))]


def _drawn(panels: Sequence[Panel]) -> go.Figure:
    """The panels one below another."""
    count, lines = len(panels), len(panels[0].means)
    height = LINE * lines + AROUND
    figure = make_subplots(rows=count, cols=1, vertical_spacing=AROUND / (count * height))
    axes: dict[str, Any] = {}
    for row, panel in enumerate(panels, 1):
        for place, mean in enumerate(panel.means):
            figure.add_traces(list(_traces(mean, place, panel.scale)), rows=row, cols=1)
        ticks = {"tickvals": list(range(lines)), "ticktext": [mean.name for mean in panel.means]}
        axes[f"xaxis{row}"] = {"title": panel.title, "nticks": 7}
        axes[f"yaxis{row}"] = {"showgrid": False, "range": [-0.6, lines - 0.4], **ticks}
    shape = {"height": count * height + 20, "margin": {"t": 8}, "showlegend": False}
    return figure.update_layout(axes, template=TEMPLATE, **shape)


def _traces(line: Mean, place: int, scale: float) -> Iterator[go.Scatter]:
    name, colour, found, seeds = line
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
    if seeds:
        yield go.Scatter(
            x=rounded(seed * scale for seed in seeds), y=[place] * len(seeds), mode="markers",
            marker={"symbol": "line-ns-open", "size": 12, "color": colour, "line": {"width": 1.5}},
            hovertemplate=f"{name}, one seed: %{{x:.4g}}<extra></extra>",
        )  # fmt: skip
    yield go.Scatter(
        x=rounded([mean]), y=[place], error_x=bar, mode="markers",
        marker={"color": colour, "size": 11, "line": {"color": PAPER, "width": 1.5}},
        hovertemplate=f"{name}, mean: {mean:.4g}{interval}<extra></extra>",
    )  # fmt: skip

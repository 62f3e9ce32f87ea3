"""The trade-off of two tasks: each one's metric against the one free weight, and what was trained again."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.report.figure_style import (
    ALONE,
    EQUAL,
    HOVERTEXT,
    PAPER,
    TUNED,
    Plot,
    axis,
    clipped,
    dots,
    label,
    layout,
    metric_title,
    number,
    rounded,
    scale_of,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, metric_of, weights_of


def of_two(report: Report) -> Plot:
    """Each task's metric on validation against the first task's weight."""
    first = next(iter(report.tasks))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    figure.update_layout(layout(560))
    for row, (task, metric) in enumerate(report.tasks.items(), 1):
        scale = scale_of(metric)
        trials = thinned(report.complete)
        values = [metric_of(t, task, metric.name) * scale for t in trials]
        alone = [metric_of(t, task, metric.name) * scale for t in report.trainings.alone.get(task, ())]
        seeds = {
            name: [metric_of(t, task, metric.name) * scale for t in found]
            for name, found in (("tuned", report.trainings.tuned), ("equal", report.trainings.equal))
        }
        level = 0.95 if report.verdict is None else float(report.verdict["level"])
        band = estimate(alone, level)
        intervals = [band, estimate(seeds["tuned"], level), estimate(seeds["equal"], level)]
        ends = [v for e in intervals for v in (e.low, e.high) if v is not None]
        kept = [*alone, *seeds["tuned"], *seeds["equal"], *ends]
        limits = window(values, kept, not metric.higher_is_better)
        for trace in (
            *_alone(band),
            _points(trials, values, limits, first, metric),
            *_confirmed(report, seeds, first, level),
        ):
            trace.showlegend = row == 1 and trace.showlegend is not False
            figure.add_trace(trace, row=row, col=1)
        if not report.trainings.tuned and report.best is not None:
            star = _star(report.best, metric_of(report.best, task, metric.name) * scale, first)
            figure.add_trace(star.update(showlegend=row == 1), row=row, col=1)
        figure.update_yaxes(
            axis(metric_title(metric, task, "validation"), range=limits, nticks=7), row=row, col=1
        )
    figure.update_xaxes(axis(range=[-0.02, 1.02], nticks=11))
    figure.update_xaxes(title_text=f"weight of {label(first)}", row=2, col=1)
    text = (
        "Every complete trial at its weights, of which the second task has the rest; its other hyperparameters differ"
        " too. Triangles lie beyond the range."
    )
    if report.trainings.tuned:
        text += (
            " Confirmed trainings are drawn with each fresh seed, their mean and its interval, the tasks trained alone"
            " as a line with its interval. All on validation, where trials were chosen; the verdict is from test."
        )
    return Plot("trade-off", "Task trade-off", text, figure)


def _points(
    trials: Sequence[FrozenTrial],
    values: Sequence[float],
    limits: tuple[float, float],
    first: str,
    metric: TaskMetric,
) -> go.Scatter:
    shown, symbols = clipped(values, limits)
    scale = scale_of(metric)
    told = [
        f"trial {t.number}, weight {weights_of(t)[first]:.3f}: {number(v / scale, scale)}"
        for t, v in zip(trials, values, strict=True)
    ]
    return go.Scatter(
        x=rounded(weights_of(t)[first] for t in trials),
        y=shown,
        hovertext=told,
        name="trial of the search",
        mode="markers",
        marker=dots(len(trials), symbol=symbols),
        hovertemplate=HOVERTEXT,
    )


def _alone(band: Estimate) -> list[go.Scatter]:
    """The line of single-task training over the whole width, and its interval."""
    if not band.n:
        return []
    line = {"color": ALONE, "width": 2, "dash": "dash"}
    mean = go.Scatter(
        x=[-0.02, 1.02],
        y=rounded([band.mean] * 2),
        name="task alone",
        mode="lines",
        line=line,
        hovertemplate="task alone: %{y:.4g}<extra></extra>",
        legendgroup="alone",
    )
    if band.low is None or band.high is None:
        return [mean]
    around = go.Scatter(
        x=[-0.02, 1.02, 1.02, -0.02],
        y=rounded([band.low, band.low, band.high, band.high]),
        fill="toself",
        fillcolor=f"{ALONE}22",
        line={"width": 0, "color": ALONE},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup="alone",
    )
    return [around, mean]


def _confirmed(
    report: Report, seeds: Mapping[str, list[float]], first: str, level: float
) -> list[go.Scatter]:
    """The confirmed config and its twin: every seed, and the mean with its interval."""
    traces = []
    colours = {"tuned": TUNED, "equal": EQUAL}
    for name, trainings in (("equal", report.trainings.equal), ("tuned", report.trainings.tuned)):
        if not trainings:
            continue
        weight, found = weights_of(trainings[0])[first], estimate(seeds[name], level)
        each = go.Scatter(
            x=[round(weight, 4)] * len(seeds[name]),
            y=rounded(seeds[name]),
            customdata=[t.user_attrs["seed"] for t in trainings],
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 12, "color": colours[name], "line": {"width": 1.5}},
            showlegend=False,
            legendgroup=name,
            hovertemplate=f"{name} weights, seed %{{customdata}}: %{{y:.4g}}<extra></extra>",
        )
        mean = go.Scatter(
            x=[round(weight, 4)],
            y=rounded([found.mean]),
            error_y=None if found.half is None else {"array": [found.half], "thickness": 2.5, "width": 7},
            mode="markers",
            name=f"{name} weights, {len(trainings)} fresh seeds",
            legendgroup=name,
            marker={"color": colours[name], "size": 11, "line": {"color": PAPER, "width": 1.5}},
            hovertemplate=f"{name} weights, mean: %{{y:.4g}}<extra></extra>",
        )
        traces += [each, mean]
    return traces


def _star(best: FrozenTrial, value: float, first: str) -> go.Scatter:
    return go.Scatter(
        x=[round(weights_of(best)[first], 4)],
        y=rounded([value]),
        name=f"best: trial {best.number}, one seed",
        mode="markers",
        marker={"color": TUNED, "size": 16, "symbol": "star", "line": {"color": PAPER, "width": 1}},
        hovertemplate=f"best: trial {best.number}: %{{y:.4g}}<extra></extra>",
    )

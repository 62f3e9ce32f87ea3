"""The trade-off of two tasks: the metric of each against the one free weight, with the confirmed trainings."""

from collections.abc import Iterator, Sequence

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
    TEMPLATE,
    TUNED,
    Plot,
    clipped,
    dots,
    label,
    metric_title,
    number,
    rounded,
    star,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, metric_of, weights_of

WHOLE = (-0.02, 1.02)


def of_two(report: Report) -> Plot:
    """The metric of each task on validation against the weight of the first task."""
    first = next(iter(report.tasks))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    axes = {
        "xaxis": {"range": WHOLE, "nticks": 11},
        "xaxis2": {"range": WHOLE, "nticks": 11, "title": f"weight of {label(first)}"},
    }
    for row, (task, metric) in enumerate(report.tasks.items(), 1):
        traces, limits = _panel(report, task, metric, first)
        for trace in traces:
            trace.showlegend = row == 1 and trace.showlegend is not False
        figure.add_traces(traces, rows=row, cols=1)
        title = metric_title(metric, task, "validation")
        axes[f"yaxis{row}"] = {"title": title, "range": limits, "nticks": 7}
    figure.update_layout(axes, template=TEMPLATE, height=560)
    text = (
        "Every complete trial at its weights; the second task has the rest of the weight. The other hyperparameters"
        " differ too. Triangles lie beyond the range."
    )
    if report.trainings.tuned:
        text += (
            " Confirmed trainings: each fresh seed, and their mean with its interval. The line is the task trained"
            " alone, with its interval. All values are on validation, where trials were chosen; the verdict is from"
            " test."
        )
    return Plot("trade-off", "Task trade-off", text, (figure,))


def _panel(
    report: Report, task: str, metric: TaskMetric, first: str
) -> tuple[list[go.Scatter], tuple[float, float]]:
    """One task's traces, and the range of its axis."""

    def values(trials: Sequence[FrozenTrial]) -> list[float]:
        return [metric_of(trial, task, metric.name) * metric.scale for trial in trials]

    trials, found = thinned(report.complete), report.trainings
    level = 0.95 if report.verdict is None else float(report.verdict["level"])
    groups = {
        name: (trainings, values(trainings), estimate(values(trainings), level))
        for name, trainings in (
            ("alone", found.alone.get(task, ())),
            ("equal", found.equal),
            ("tuned", found.tuned),
        )
    }
    ends = [v for _, _, e in groups.values() for v in (e.low, e.high) if v is not None]
    kept = [*(v for _, seeds, _ in groups.values() for v in seeds), *ends]
    limits = window(values(trials), kept, not metric.higher_is_better)
    traces = [*_alone(groups.pop("alone")[2]), _points(trials, values(trials), limits, first, metric.scale)]
    for (name, (trainings, seeds, estimated)), colour in zip(groups.items(), (EQUAL, TUNED), strict=True):
        if trainings:
            traces += _confirmed(name, colour, trainings, seeds, estimated, first)
    if not found.tuned and report.best is not None:
        (value,), told = values([report.best]), f"best: trial {report.best.number}"
        mark = star(weights_of(report.best)[first], value, f"{told}: {value:.4g}", name=f"{told}, one seed")
        traces.append(mark)
    return traces, limits


def _points(
    trials: Sequence[FrozenTrial],
    values: Sequence[float],
    limits: tuple[float, float],
    first: str,
    scale: float,
) -> go.Scatter:
    shown, symbols = clipped(values, limits)
    weights = [weights_of(trial)[first] for trial in trials]
    told = [
        f"trial {trial.number}, weight {weight:.3f}: {number(value / scale, scale)}"
        for trial, weight, value in zip(trials, weights, values, strict=True)
    ]
    return go.Scatter(
        x=rounded(weights), y=shown, name="trial of the search", mode="markers", marker=dots(symbols),
        hovertext=told, hovertemplate=HOVERTEXT,
    )  # fmt: skip


def _alone(band: Estimate) -> Iterator[go.Scatter]:
    """The mean of single-task training as a line over the whole width, and its interval."""
    if not band.n:
        return
    line = {"color": ALONE, "width": 2, "dash": "dash"}
    if band.low is not None and band.high is not None:
        low, high = rounded([band.low, band.high])
        yield go.Scatter(
            x=[*WHOLE, *reversed(WHOLE)], y=[low, low, high, high], mode="lines", legendgroup="alone",
            fill="toself", fillcolor=f"{ALONE}22", line={"width": 0, "color": ALONE}, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
    yield go.Scatter(
        x=WHOLE, y=rounded([band.mean] * 2), mode="lines", line=line, name="task alone", legendgroup="alone",
        hovertemplate="task alone: %{y:.4g}<extra></extra>",
    )  # fmt: skip


def _confirmed(
    name: str,
    colour: str,
    trainings: Sequence[FrozenTrial],
    seeds: Sequence[float],
    found: Estimate,
    first: str,
) -> list[go.Scatter]:
    """The confirmed config, or its twin: every seed, and the mean with its interval."""
    weight = round(weights_of(trainings[0])[first], 4)
    bar = None if found.half is None else {"array": [found.half], "thickness": 2.5, "width": 7}
    each = go.Scatter(
        x=[weight] * len(seeds), y=rounded(seeds), customdata=[t.user_attrs["seed"] for t in trainings],
        mode="markers", showlegend=False, legendgroup=name,
        marker={"symbol": "line-ew-open", "size": 12, "color": colour, "line": {"width": 1.5}},
        hovertemplate=f"{name} weights, seed %{{customdata}}: %{{y:.4g}}<extra></extra>",
    )  # fmt: skip
    mean = go.Scatter(
        x=[weight], y=rounded([found.mean]), error_y=bar,
        mode="markers", name=f"{name} weights, {len(trainings)} fresh seeds", legendgroup=name,
        marker={"color": colour, "size": 11, "line": {"color": PAPER, "width": 1.5}},
        hovertemplate=f"{name} weights, mean: %{{y:.4g}}<extra></extra>",
    )  # fmt: skip
    return [each, mean]

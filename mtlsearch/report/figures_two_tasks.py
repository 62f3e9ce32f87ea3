"""The trade-off of two tasks: the metric of each against the one free weight, with the confirmed trainings."""

from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.report import figure_style as style
from mtlsearch.report.figures_confirmed import Mean
from mtlsearch.report.reading import Report, metric_of, number, weights_of

WHOLE = (-0.02, 1.02)


def of_two(report: Report) -> style.Plot:
    """The metric of each task on validation against the weight of the first task."""
    first = next(iter(report.tasks))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    weight = {"range": WHOLE, "nticks": 11}
    axes: dict[str, Any] = {"xaxis": weight, "xaxis2": {"title": f"weight of {style.label(first)}", **weight}}
    for row, (task, metric) in enumerate(report.tasks.items(), 1):
        traces, limits = _panel(report, task, first)
        for trace in traces:
            trace.showlegend = row == 1 and trace.showlegend is not False
        figure.add_traces(traces, rows=row, cols=1)
        title = style.metric_title(metric, task, "validation")
        axes[f"yaxis{row}"] = {"title": title, "range": limits, "nticks": 7}
    figure.update_layout(axes, template=style.TEMPLATE, height=560)
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
    return style.Plot("trade-off", "Task trade-off", text, (figure,))


def _panel(report: Report, task: str, first: str) -> tuple[list[go.Scatter], tuple[float, float]]:
    """One task's traces, and the range of its axis."""
    metric, found = report.tasks[task], report.trainings
    level = 0.95 if report.verdict is None else float(report.verdict["level"])

    def values(trials: Sequence[FrozenTrial]) -> list[float]:
        return [metric_of(trial, task, metric.name) * metric.scale for trial in trials]

    def mean(name: str, colour: str, trials: Sequence[FrozenTrial]) -> Mean:
        return Mean(name, colour, estimate(values(trials), level), values(trials))

    alone = mean("task alone", style.ALONE, found.alone.get(task, ()))
    equal = mean("equal weights", style.EQUAL, found.equal)
    tuned = mean("tuned weights", style.TUNED, found.tuned)
    trained = [v for m in (alone, equal, tuned) for v in (*m.seeds, m.found.low, m.found.high)]
    shown = style.thinned(report.complete)
    kept = [value for value in trained if value is not None]
    limits = style.window(values(shown), kept, not metric.higher_is_better)
    traces = [*_alone(alone.found), _points(shown, values(shown), limits, first, metric.scale)]
    for group, name, trials in ((equal, "equal", found.equal), (tuned, "tuned", found.tuned)):
        if trials:
            named: dict[str, Any] = {"name": f"{group.name}, {len(trials)} fresh seeds", "legendgroup": name}
            traces += group.traces(round(weights_of(trials[0])[first], 4), vertical=True, **named)
    if not found.tuned and report.best is not None:
        (value,), weight = values([report.best]), weights_of(report.best)[first]
        best = f"best: trial {report.best.number}"
        traces.append(style.star(weight, value, f"{best}: {value:.4g}", name=f"{best}, one seed"))
    return traces, limits


def _points(
    trials: Sequence[FrozenTrial],
    values: Sequence[float],
    limits: tuple[float, float],
    first: str,
    scale: float,
) -> go.Scatter:
    shown, symbols = style.clipped(values, limits)
    weights = [weights_of(trial)[first] for trial in trials]
    texts = [
        f"trial {trial.number}, weight {weight:.3f}: {number(value / scale, scale)}"
        for trial, weight, value in zip(trials, weights, values, strict=True)
    ]
    return style.points(style.rounded(weights), shown, texts, style.dots(symbols), name="trial of the search")


def _alone(band: Estimate) -> Iterator[go.Scatter]:
    """The mean of single-task training as a line over the whole width, and its interval."""
    if not band.n:
        return
    if band.low is not None and band.high is not None:
        low, high = style.rounded([band.low, band.high])
        edges = {"x": [*WHOLE, *reversed(WHOLE)], "y": [low, low, high, high], "line": {"width": 0}}
        quiet = {"hoverinfo": "skip", "showlegend": False, "legendgroup": "alone"}
        yield go.Scatter(edges, mode="lines", fill="toself", fillcolor=f"{style.ALONE}22", **quiet)
    line = {"color": style.ALONE, "width": 2, "dash": "dash"}
    named = {"name": "task alone", "legendgroup": "alone"}
    mean = go.Scatter(x=WHOLE, y=style.rounded([band.mean] * 2), mode="lines", line=line, **named)
    yield mean.update(hovertemplate="task alone: %{y:.4g}<extra></extra>")

"""The trade-off of two tasks: the metric of each against the one free weight, with the confirmed trainings.

And the front: the metrics of two tasks against each other, in which a trial can be picked.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from mtlsearch.evidence.questions.asking import front_of, scored_tasks
from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.report import figure_style as style
from mtlsearch.report.figures_confirmed import Mean
from mtlsearch.report.reading import Report, metric_of, number, weights_of
from mtlsearch.report.reproduce import command, named
from mtlsearch.store.trials import score_of

MOST_ASKED = 12  # tasks with sliders
LEAST_ASKED = 2  # trials
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


def front(report: Report) -> style.Plot | None:
    """The first two scored tasks against each other; None with fewer tasks, or very many.

    Its traces are the trials, the front and the star of the answer, in this order: `front.js` moves them.
    """
    tasks = [task for task in scored_tasks(report.info) if task in report.tasks]
    trials = report.complete
    if not 2 <= len(tasks) <= MOST_ASKED or len(trials) < LEAST_ASKED:
        return None
    x, y = ([report.tasks[t].scale * metric_of(trial, t, report.tasks[t].name) for trial in trials] for t in tasks[:2])
    on_front = {trial.number for trial in front_of(trials, tasks, report.tasks)}
    line = sorted((a, b) for trial, a, b in zip(trials, x, y, strict=True) if trial.number in on_front)
    texts = [f"trial {trial.number}: {a:.4g}, {b:.4g}" for trial, a, b in zip(trials, x, y, strict=True)]
    dots = style.dots(["circle"] * len(trials)) | {"opacity": [0.85] * len(trials)}
    numbers = [trial.number for trial in trials]
    points = style.points(style.rounded(x), style.rounded(y), texts, dots, name="trial", customdata=numbers)
    staircase = go.Scatter(
        x=style.rounded(a for a, _ in line),
        y=style.rounded(b for _, b in line),
        mode="lines",
        line={"color": style.MIDDLE, "width": 2},
        name="front",
        hoverinfo="skip",
    )
    star = style.star(x[0], y[0], "the answer", name="the answer")
    titles = [style.metric_title(report.tasks[task], task, "validation", ": ") for task in tasks[:2]]
    lower = [not report.tasks[task].higher_is_better for task in tasks[:2]]
    ranges = [style.window(each, [], less) for each, less in zip((x, y), lower, strict=True)]
    pairs = zip(("xaxis", "yaxis"), titles, ranges, strict=True)
    axes = {name: {"title": title, "range": limits} for name, title, limits in pairs}
    figure = style.drawn([points, staircase, star], 420, **axes)
    return style.Plot("front", "Ask the trials", "", (figure,))


def asked_trials(report: Report) -> dict[str, Any]:
    """What the page needs to answer questions: the tasks, and the complete trials with their values."""
    tasks = [task for task in scored_tasks(report.info) if task in report.tasks]
    metrics = report.tasks
    on_front = {trial.number for trial in front_of(report.complete, tasks, metrics)}
    return {
        "export": command("export", report.name),
        "confirm": command("confirm", *named(report)),
        "tasks": [
            {
                "name": task,
                "metric": metrics[task].name,
                "higher": metrics[task].higher_is_better,
                "scale": metrics[task].scale,
                "unit": metrics[task].unit,
                "title": style.metric_title(metrics[task], task, "validation", ": "),
                "low": min(metrics[task].sign * metric_of(t, task, metrics[task].name) for t in report.complete),
                "high": max(metrics[task].sign * metric_of(t, task, metrics[task].name) for t in report.complete),
            }
            for task in tasks
        ],
        "trials": [
            {
                "number": trial.number,
                "score": score_of(trial),
                "front": trial.number in on_front,
                "values": [metric_of(trial, task, metrics[task].name) for task in tasks],
            }
            for trial in report.complete
            if all(math.isfinite(metric_of(trial, task, metrics[task].name)) for task in tasks)
        ],
    }


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

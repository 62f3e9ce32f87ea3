"""The figures of tasks and their weights: what one weighting or another did to each task in the search."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from mtlsearch.intervals import Estimate, estimate
from mtlsearch.plots import (
    ALONE,
    AXIS,
    EQUAL,
    GRID,
    HOVERTEXT,
    INK,
    LOW,
    MIDDLE,
    PAPER,
    TRIAL,
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
from mtlsearch.report import Report, metric_of
from mtlsearch.sentences import TaskMetric
from mtlsearch.show import shown_tasks

MOST_LINES = 300
BINS = 4
WIDTH_OF_TASK = 34


def trade_offs(report: Report) -> list[Plot]:
    """What weights do to the tasks: points over the one weight of two tasks, a triangle of three, lines of more."""
    if not report.complete or len(report.tasks) < 2:
        return []
    if len(report.tasks) == 2:
        return [_of_two(report)]
    if len(report.tasks) == 3:
        return [_of_three(report)]
    weights = report.complete[0].user_attrs["task_weights"] if report.best is None else _weights(report.best)
    few = [task for task in shown_tasks(weights) if task is not None]
    drawn = [_of_weights(report, few), _of_metrics(report, few)]
    if len(few) < len(report.tasks):
        drawn.append(_of_metrics(report, list(report.tasks), folded=True))
    return drawn


def _weights(trial: FrozenTrial) -> Mapping[str, float]:
    weights: Mapping[str, float] = trial.user_attrs["task_weights"]
    return weights


# Two tasks.


def _of_two(report: Report) -> Plot:
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
        f"trial {t.number}, weight {_weights(t)[first]:.3f}: {number(v / scale, scale)}"
        for t, v in zip(trials, values, strict=True)
    ]
    return go.Scatter(
        x=rounded(_weights(t)[first] for t in trials),
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
        weight, found = _weights(trainings[0])[first], estimate(seeds[name], level)
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
        x=[round(_weights(best)[first], 4)],
        y=rounded([value]),
        name=f"best: trial {best.number}, one seed",
        mode="markers",
        marker={"color": TUNED, "size": 16, "symbol": "star", "line": {"color": PAPER, "width": 1}},
        hovertemplate=f"best: trial {best.number}: %{{y:.4g}}<extra></extra>",
    )


# Three tasks.


def _of_three(report: Report) -> Plot:
    """The weights as points of a triangle, coloured by score."""
    tasks, scale = list(report.tasks), report.score_scale
    trials = thinned(sorted(report.complete, key=_value))  # the best is drawn last, on top
    scores = [_value(t) * scale for t in trials]
    limits = window(scores)
    title = "score (%)" if scale == 100 else "score"
    marker = {
        "size": 10,
        "color": rounded(scores),
        "colorscale": [[0, LOW], [0.5, MIDDLE], [1, TUNED]],
        "cmin": limits[0],
        "cmax": max(scores),
        "line": {"color": TRIAL, "width": 0.5},
        "colorbar": {
            "title": {"text": title, "side": "top", "font": {"size": 12}},
            "orientation": "h",
            "thickness": 10,
            "outlinewidth": 0,
            "len": 0.6,
            "y": -0.16,
            "yanchor": "top",
            "nticks": 5,
            "tickfont": {"size": 12},
            "ticks": "outside",
            "tickcolor": AXIS,
        },
    }
    figure = go.Figure(layout=layout(520))
    figure.add_trace(
        _corner(
            [_weights(t) for t in trials],
            tasks,
            name="trial of the search",
            marker=marker,
            hovertext=[
                f"trial {t.number}: score {number(_value(t), scale)}<br>{_told(_weights(t))}" for t in trials
            ],
            hovertemplate=HOVERTEXT,
        )
    )
    equal = dict.fromkeys(tasks, 1 / 3)
    mark = {"color": EQUAL, "size": 13, "symbol": "diamond", "line": {"color": PAPER, "width": 1.5}}
    told = {"hovertemplate": "%{customdata}<extra></extra>"}
    figure.add_trace(
        _corner([equal], tasks, name="equal weights", marker=mark, customdata=["equal weights"], **told)
    )
    if report.answer is not None:
        chosen = report.trainings.tuned[0] if report.trainings.tuned else report.best
        assert chosen is not None
        name = "confirmed weights" if report.trainings.tuned else "best trial"
        mark = {"color": TUNED, "size": 18, "symbol": "star", "line": {"color": PAPER, "width": 1.5}}
        figure.add_trace(
            _corner(
                [_weights(chosen)], tasks, name=name, marker=mark, customdata=[f"{name}<br>{_told(_weights(chosen))}"],
                **told,
            )
        )  # fmt: skip
    sides = {
        name: {
            "title": {"text": label(task)},
            "gridcolor": GRID,
            "linecolor": AXIS,
            "tickfont": {"size": 11},
            "nticks": 6,
        }
        for name, task in zip(("aaxis", "baxis", "caxis"), tasks, strict=True)
    }
    figure.update_layout(ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **sides})
    figure.update_layout(margin={"l": 44, "r": 44, "t": 64, "b": 90}, legend_y=1.12)
    text = (
        "Each complete trial at its three weights: a corner is all weight on one task, the middle equal weights."
        " The colour is the score on validation; the other hyperparameters differ too."
    )
    return Plot("trade-off", "Task trade-off", text, figure)


def _corner(weights: Sequence[Mapping[str, float]], tasks: Sequence[str], **more: Any) -> go.Scatterternary:
    a, b, c = (rounded((w[task] for w in weights), 4) for task in tasks)
    return go.Scatterternary(a=a, b=b, c=c, mode="markers", **more)


def _told(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{label(task)} {weight:.2f}" for task, weight in weights.items())


# More tasks: parallel coordinates, drawn as lines so that they follow the colour scheme and scroll with the page.


def _of_weights(report: Report, tasks: Sequence[str]) -> Plot:
    figure = _parallel(report, tasks, lambda trial, task: _weights(trial)[task])
    equal = 1 / len(report.tasks)
    figure.add_hline(y=equal, line={"color": EQUAL, "width": 2, "dash": "dash"})
    figure.add_annotation(
        x=1, xref="paper", y=equal, text="equal", showarrow=False, xanchor="right", yanchor="bottom",
        font={"color": EQUAL, "size": 12},
    )  # fmt: skip
    figure.update_yaxes(axis("task weight", rangemode="tozero"))
    text = f"The task weights of every complete trial; the better its score, the bluer.{_some(report, tasks)}"
    return Plot("trade-off", "Task weights", text, figure)


def _of_metrics(report: Report, tasks: Sequence[str], folded: bool = False) -> Plot:
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
    ranked = thinned(sorted(report.complete, key=_value), MOST_LINES)
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
    figure.update_xaxes(axis(range=[-0.2, len(tasks) - 0.8], **ticks))
    return figure


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value

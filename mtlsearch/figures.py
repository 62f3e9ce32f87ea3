"""The figures of a search: learning curves, best so far, hyperparameters; `plots` gives all that a report has."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from plotly.subplots import make_subplots

from mtlsearch.figures_confirmed import comparison, confirmation
from mtlsearch.figures_tasks import trade_offs
from mtlsearch.plots import (
    FAINT,
    HOVERTEXT,
    PAPER,
    TRIAL,
    TUNED,
    Plot,
    axis,
    clipped,
    dots,
    label,
    layout,
    number,
    rounded,
    thinned,
    window,
)
from mtlsearch.report import Report
from mtlsearch.space import WEIGHT_PREFIX

MOST_CURVES = 400
MOST_PANELS = 12
MOST_POINTS_OF_PANEL = 600
FEW_TASKS = 3
PANEL_HEIGHT = 230
COLUMNS = 3


def plots(report: Report) -> list[Plot]:
    """Every figure that the study has the numbers for, in the order of the page."""
    drawn = [*trade_offs(report), *confirmation(report), *comparison(report)]
    if any(trial.intermediate_values for trial in report.trials):
        drawn.append(curves(report))
    if report.complete:
        drawn += [progress(report), *hyperparameters(report)]
    return drawn


def score_title(report: Report) -> str:
    """The score's name and unit, for an axis."""
    name = f"{label(report.info['score'])} score, validation"
    return f"{name} (%)" if report.score_scale == 100 else name


# Learning curves.


def curves(report: Report) -> Plot:
    """The score of every epoch: pruned trials faint, complete ones grey, the best one bold."""
    scale, best = report.score_scale, report.best
    others = [t for t in report.complete if best is None or t.number != best.number]
    pruned = [t for t in report.trials if t.state is not TrialState.COMPLETE and t.intermediate_values]
    figure = go.Figure(layout=layout(400))
    for name, trials, colour, width in (
        ("pruned", pruned, FAINT, 1.0),
        ("complete", others, TRIAL, 1.2),
        ("best", [best] if best else [], TUNED, 3.0),
    ):
        if trials:
            title = f"best: trial {best.number}" if name == "best" and best else f"{name} ({len(trials):,})"
            figure.add_trace(_lines(thinned(trials, MOST_CURVES), title, colour, width, scale))
    ends = [max(t.intermediate_values.values()) * scale for t in others + pruned if t.intermediate_values]
    held = [] if best is None else [v * scale for v in best.intermediate_values.values()]
    most = max(len(trial.intermediate_values) for trial in report.trials)
    figure.update_xaxes(axis("epoch", dtick=_whole_steps(most), tick0=1, range=[0.6, most + 0.4]))
    figure.update_yaxes(axis(score_title(report), range=window(ends, held)))
    left_out = (
        f" Of more than {MOST_CURVES} curves of a kind, {MOST_CURVES} are drawn."
        if most > MOST_CURVES
        else ""
    )
    text = f"Score on validation after each epoch; a trial counts with its best epoch.{left_out}"
    return Plot("learning-curves", "Learning curves", text, figure)


def _lines(trials: Sequence[FrozenTrial], name: str, colour: str, width: float, scale: float) -> go.Scatter:
    """Many curves as one trace, which a browser draws far quicker; a gap parts two of them."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        x += [*(step + 1 for step in steps), None]
        y += [*rounded(trial.intermediate_values[step] * scale for step in steps), None]
        numbers += [trial.number] * (len(steps) + 1)
    single = len(trials) == 1
    return go.Scatter(
        x=x,
        y=y,
        customdata=numbers,
        name=name,
        mode="lines+markers" if single or all(len(t.intermediate_values) == 1 for t in trials) else "lines",
        line={"color": colour, "width": width},
        marker={"size": 7 if single else 4},
        opacity=1 if single else 0.75 if len(trials) <= 100 else 0.3,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.4g}<extra></extra>",
    )


def _whole_steps(most: int) -> int:
    return max(1, math.ceil(most / 10))


# Best so far.


def progress(report: Report) -> Plot:
    """The best score so far against the time in which the study was in training."""
    clock, scale = busy_clock(report.trials), report.score_scale
    ended = sorted(report.complete, key=lambda t: t.datetime_complete or datetime.min)
    seconds = [clock(t.datetime_complete) for t in ended]
    factor, unit = (
        (1.0, "s") if seconds[-1] < 300 else (60.0, "min") if seconds[-1] < 3 * 3600 else (3600.0, "h")
    )
    times = [s / factor for s in seconds]
    values = [_value(t) * scale for t in ended]
    best = list(itertools.accumulate(values, max))
    limits = window(values, best)
    shown, symbols = clipped(values, limits)
    steps = [0, *(i for i in range(1, len(best)) if best[i] > best[i - 1])]
    figure = go.Figure(layout=layout(360))
    points = thinned(range(len(ended)))
    told = [
        f"trial {ended[i].number} after {times[i]:.3g} {unit}: {number(values[i] / scale, scale)}"
        for i in points
    ]
    figure.add_trace(
        go.Scatter(
            x=rounded(times[i] for i in points),
            y=[shown[i] for i in points],
            hovertext=told,
            name="complete trial",
            mode="markers",
            marker=dots(len(points), symbol=[symbols[i] for i in points]),
            hovertemplate=HOVERTEXT,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=rounded([*(times[i] for i in steps), times[-1]]),
            y=rounded([*(best[i] for i in steps), best[-1]]),
            customdata=[*(ended[i].number for i in steps), ended[steps[-1]].number],
            name="best so far",
            mode="lines+markers",
            line={"color": TUNED, "width": 2.5, "shape": "hv"},
            marker={"size": [8] * len(steps) + [0], "color": TUNED, "line": {"color": PAPER, "width": 1}},
            hovertemplate=f"best so far: trial %{{customdata}} after %{{x:.3g}} {unit}: %{{y:.4g}}<extra></extra>",
        )
    )
    figure.update_xaxes(axis(f"wall time in training ({unit})", rangemode="tozero"))
    figure.update_yaxes(axis(score_title(report), range=limits))
    text = (
        "The best score that was known at each moment, and every complete trial where it ended. Time in which"
        " nothing was in training is left out. Triangles are trials below the range."
    )
    return Plot("best-so-far", "Best so far", text, figure)


def busy_clock(trials: Sequence[FrozenTrial]) -> Callable[[datetime | None], float]:
    """A clock that stands while no trial is in training: a moment as seconds since the first trial began."""
    timed = sorted(
        (t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete
    )
    spans: list[list[datetime]] = []
    for begun, done in timed:
        if spans and begun <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], done)
        else:
            spans.append([begun, done])

    def clock(moment: datetime | None) -> float:
        if moment is None:
            return 0.0
        return sum((min(moment, done) - begun).total_seconds() for begun, done in spans if begun < moment)

    return clock


# Hyperparameters.


def hyperparameters(report: Report) -> list[Plot]:
    """The score against each dimension, a panel each; of very many the rest on request."""
    names = dimensions(report)
    if not names or len(report.complete) < 2:
        return []
    text = "Score of every complete trial against each value that was searched; the star is the best trial."
    found = [_panels(report, "hyperparameters", "Hyperparameters", text, names[:MOST_PANELS])]
    if rest := names[MOST_PANELS:]:
        title = f"{len(rest)} more hyperparameters"
        found.append(_panels(report, "more-hyperparameters", title, text, rest, folded=True))
    return found


def dimensions(report: Report) -> list[str]:
    """The dimensions that were searched, with a task's weight where there are few tasks."""
    space = report.info["fingerprint"]["space"]
    names = [
        name for name in space if name in report.info["default"] and not _distribution(report, name).single()
    ]
    few = 1 < len(report.tasks) <= FEW_TASKS
    weights = list(report.tasks)[: len(report.tasks) - (len(report.tasks) == 2)] if few else []
    return names + [f"{WEIGHT_PREFIX}{task}" for task in weights]


def _panels(
    report: Report, name: str, title: str, text: str, names: Sequence[str], folded: bool = False
) -> Plot:
    rows = math.ceil(len(names) / COLUMNS)
    whole = make_subplots(
        rows=rows, cols=COLUMNS, horizontal_spacing=0.08, vertical_spacing=0.3 / max(rows, 1.2)
    )
    whole.update_layout(layout(PANEL_HEIGHT * rows + 60, showlegend=False))
    for i in range(rows * COLUMNS - len(names)):
        whole.update_xaxes(visible=False, row=rows, col=COLUMNS - i)
        whole.update_yaxes(visible=False, row=rows, col=COLUMNS - i)
    panels = []
    for i, dimension in enumerate(names):
        traces, x, y = _panel(report, dimension)
        panel = go.Figure(
            traces, layout(PANEL_HEIGHT, showlegend=False, margin={"l": 12, "r": 8, "t": 8, "b": 8})
        )
        panel.update_xaxes(x)
        panel.update_yaxes(y)
        panels.append(panel)
        row, column = i // COLUMNS + 1, i % COLUMNS + 1
        for trace in traces:
            whole.add_trace(go.Scatter(trace), row=row, col=column)
        whole.update_xaxes(x, row=row, col=column)
        whole.update_yaxes({**y, "title": {} if column > 1 else y["title"]}, row=row, col=column)
    return Plot(name, title, text, whole, tuple(panels), folded)


def _panel(report: Report, name: str) -> tuple[list[go.Scatter], dict[str, Any], dict[str, Any]]:
    """One dimension: the trials' points and the best one's star, and the axes."""
    scale, best = report.score_scale, report.best
    trials = thinned([t for t in report.complete if _at(t, name) is not None], MOST_POINTS_OF_PANEL)
    if best is not None and best not in trials:
        trials.append(best)
    limits = window([_value(t) * scale for t in trials])
    places, x = _places(report, name, trials)
    shown, symbols = clipped([_value(t) * scale for t in trials], limits)
    told = [
        f"trial {t.number}: {label(_told(_at(t, name)))}, score {number(_value(t), scale)}" for t in trials
    ]
    points = go.Scatter(
        x=places,
        y=shown,
        hovertext=told,
        mode="markers",
        marker=dots(len(trials), symbol=symbols),
        hovertemplate=HOVERTEXT,
    )
    traces = [points]
    if best is not None and _at(best, name) is not None:
        i = trials.index(best)
        mark = {"color": TUNED, "size": 15, "symbol": "star", "line": {"color": PAPER, "width": 1}}
        traces.append(
            go.Scatter(
                x=[places[i]],
                y=[shown[i]],
                hovertext=[told[i]],
                mode="markers",
                marker=mark,
                hovertemplate=HOVERTEXT,
            )
        )
    return traces, x, axis(score_title(report).replace(", validation", ""), range=limits, nticks=5)


def _places(
    report: Report, name: str, trials: Sequence[FrozenTrial]
) -> tuple[list[float | None], dict[str, Any]]:
    """Where each trial's value lies, and the axis: logarithmic where the dimension is, names for choices."""
    values = [_at(trial, name) for trial in trials]
    if name.startswith(WEIGHT_PREFIX):
        task = label(name.removeprefix(WEIGHT_PREFIX))
        return rounded(values), axis(f"weight of {task}", range=[-0.03, 1.03], nticks=6)
    distribution = _distribution(report, name)
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        # Spread by the golden ratio, so that equal values do not hide each other.
        places = [
            choices.index(v) + ((t.number * 0.618034) % 1 - 0.5) * 0.5
            for v, t in zip(values, trials, strict=True)
        ]
        ticks = {"tickvals": list(range(len(choices))), "ticktext": [label(_told(c)) for c in choices]}
        return rounded(places), axis(label(name), range=[-0.6, len(choices) - 0.4], **ticks)
    low, high, log = distribution.low, distribution.high, distribution.log  # type: ignore[attr-defined]
    if log:
        low, high = math.log10(low), math.log10(high)
    pad = 0.04 * (high - low)
    more = {"type": "log", **_log_ticks(low, high)} if log else {"nticks": 6}
    return rounded(values), axis(label(name), range=[low - pad, high + pad], **more)


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a logarithmic axis between two powers of ten: 1, 2, 5 of each decade where there are few, else 1."""
    steps = (1, 2, 5) if high - low < 2 else (1,)
    every = max(1, math.ceil((high - low) / 5))
    decades = range(math.floor(low), math.ceil(high) + 1, every)
    values = [step * 10.0**decade for decade in decades for step in steps]
    values = [v for v in values if low - 1e-9 <= math.log10(v) <= high + 1e-9]
    return {"tickvals": values, "ticktext": [f"{v:g}" for v in values]}


def _distribution(report: Report, name: str) -> BaseDistribution:
    return json_to_distribution(json.dumps(report.info["fingerprint"]["space"][name]))


def _at(trial: FrozenTrial, name: str) -> Any:
    if name.startswith(WEIGHT_PREFIX):
        return trial.user_attrs.get("task_weights", {}).get(name.removeprefix(WEIGHT_PREFIX))
    return trial.params.get(name)


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value

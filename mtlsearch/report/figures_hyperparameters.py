"""The figures of the hyperparameters: the score against each dimension that was searched, a panel each."""

import json
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial
from plotly.subplots import make_subplots

from mtlsearch.report.figure_style import (
    HOVERTEXT,
    PAPER,
    TUNED,
    Plot,
    axis,
    clipped,
    dots,
    label,
    layout,
    number,
    rounded,
    score_title,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, value_of
from mtlsearch.study.space import WEIGHT_PREFIX

MOST_PANELS = 12
MOST_POINTS_OF_PANEL = 600
FEW_TASKS = 3
PANEL_HEIGHT = 230
COLUMNS = 3


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
    limits = window([value_of(t) * scale for t in trials])
    places, x = _places(report, name, trials)
    shown, symbols = clipped([value_of(t) * scale for t in trials], limits)
    told = [
        f"trial {t.number}: {label(_told(_at(t, name)))}, score {number(value_of(t), scale)}" for t in trials
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

"""The trade-off of three tasks: a triangle of their weights, coloured by score."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mtlsearch.report.figure_style import (
    AXIS,
    EQUAL,
    GRID,
    HOVERTEXT,
    LOW,
    MIDDLE,
    PAPER,
    TRIAL,
    TUNED,
    Plot,
    label,
    layout,
    number,
    rounded,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, value_of, weights_of

TOLD = {"hovertemplate": "%{customdata}<extra></extra>"}


def of_three(report: Report) -> Plot:
    """The weights as points of a triangle, coloured by score."""
    tasks = list(report.tasks)
    figure = go.Figure(layout=layout(520))
    figure.add_trace(_searched(report, tasks))
    figure.add_trace(_equal(tasks))
    if report.answer is not None:
        figure.add_trace(_chosen(report, tasks))
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


def _searched(report: Report, tasks: Sequence[str]) -> go.Scatterternary:
    """The complete trials; the best is drawn last, on top."""
    scale = report.score_scale
    trials = thinned(sorted(report.complete, key=value_of))
    scores = [value_of(t) * scale for t in trials]
    marker = {
        "size": 10,
        "color": rounded(scores),
        "colorscale": [[0, LOW], [0.5, MIDDLE], [1, TUNED]],
        "cmin": window(scores)[0],
        "cmax": max(scores),
        "line": {"color": TRIAL, "width": 0.5},
        "colorbar": _scale_of("score (%)" if scale == 100 else "score"),
    }
    return _corner(
        [weights_of(t) for t in trials],
        tasks,
        name="trial of the search",
        marker=marker,
        hovertext=[
            f"trial {t.number}: score {number(value_of(t), scale)}<br>{_told(weights_of(t))}" for t in trials
        ],
        hovertemplate=HOVERTEXT,
    )


def _scale_of(title: str) -> dict[str, Any]:
    """The scale of colours below the triangle."""
    return {
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
    }


def _equal(tasks: Sequence[str]) -> go.Scatterternary:
    mark = {"color": EQUAL, "size": 13, "symbol": "diamond", "line": {"color": PAPER, "width": 1.5}}
    equal = dict.fromkeys(tasks, 1 / 3)
    return _corner([equal], tasks, name="equal weights", marker=mark, customdata=["equal weights"], **TOLD)


def _chosen(report: Report, tasks: Sequence[str]) -> go.Scatterternary:
    """The confirmed weights, else those of the search's best trial."""
    chosen = report.trainings.tuned[0] if report.trainings.tuned else report.best
    assert chosen is not None
    weights = weights_of(chosen)
    name = "confirmed weights" if report.trainings.tuned else "best trial"
    mark = {"color": TUNED, "size": 18, "symbol": "star", "line": {"color": PAPER, "width": 1.5}}
    return _corner(
        [weights], tasks, name=name, marker=mark, customdata=[f"{name}<br>{_told(weights)}"], **TOLD
    )


def _corner(weights: Sequence[Mapping[str, float]], tasks: Sequence[str], **more: Any) -> go.Scatterternary:
    a, b, c = (rounded((w[task] for w in weights), 4) for task in tasks)
    return go.Scatterternary(a=a, b=b, c=c, mode="markers", **more)


def _told(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{label(task)} {weight:.2f}" for task, weight in weights.items())

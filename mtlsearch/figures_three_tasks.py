"""The trade-off of three tasks: a triangle of their weights, coloured by score."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mtlsearch.plots import (
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
from mtlsearch.report import Report, value_of, weights_of


def of_three(report: Report) -> Plot:
    """The weights as points of a triangle, coloured by score."""
    tasks, scale = list(report.tasks), report.score_scale
    trials = thinned(sorted(report.complete, key=value_of))  # the best is drawn last, on top
    scores = [value_of(t) * scale for t in trials]
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
            [weights_of(t) for t in trials],
            tasks,
            name="trial of the search",
            marker=marker,
            hovertext=[
                f"trial {t.number}: score {number(value_of(t), scale)}<br>{_told(weights_of(t))}"
                for t in trials
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
                [weights_of(chosen)],
                tasks,
                name=name,
                marker=mark,
                customdata=[f"{name}<br>{_told(weights_of(chosen))}"],
                **told,
            )
        )
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

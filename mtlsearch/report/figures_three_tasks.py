"""The trade-off of three tasks: a triangle of their weights, coloured by score."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mtlsearch.report import figure_style as style
from mtlsearch.report.reading import Report, number, weights_of
from mtlsearch.store.trials import score_of

Weights = Mapping[str, float]


def of_three(report: Report) -> style.Plot:
    """The weights as points of a triangle, coloured by score."""
    tasks = list(report.tasks)
    traces = [
        _searched(report),
        _mark("equal weights", dict.fromkeys(tasks, 1 / 3), style.EQUAL, "diamond", 13),
    ]
    chosen = report.trainings.tuned[0] if report.trainings.tuned else report.best
    if chosen is not None:
        name = "confirmed weights" if report.trainings.tuned else "best trial"
        traces.append(_mark(name, weights_of(chosen), style.TUNED, "star", 18))
    side = {"gridcolor": style.GRID, "linecolor": style.AXIS, "tickfont": {"size": 11}, "nticks": 6}
    names = zip(("aaxis", "baxis", "caxis"), tasks, strict=True)
    sides = {name: {"title": {"text": style.label(task)}, **side} for name, task in names}
    figure = style.drawn(
        traces,
        520,
        ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **sides},
        margin={"l": 44, "r": 44, "t": 64, "b": 90},
        legend={"y": 1.12},
    )
    text = (
        "Each complete trial at its three weights: a corner is all weight on one task, the middle equal weights."
        " The colour is the score on validation; the other hyperparameters differ too."
    )
    return style.Plot("trade-off", "Task trade-off", text, (figure,))


def _searched(report: Report) -> go.Scatterternary:
    """The complete trials; the best is drawn last, on top."""
    scale = report.score_scale
    trials = style.thinned(sorted(report.complete, key=score_of))
    scores = [score_of(trial) * scale for trial in trials]
    marker = {
        "size": 10,
        "color": style.rounded(scores),
        "colorscale": [[0, style.LOW], [0.5, style.MIDDLE], [1, style.TUNED]],
        "cmin": style.window(scores)[0],
        "cmax": max(scores),
        "line": {"color": style.TRIAL, "width": 0.5},
        "colorbar": _colour_bar("score (%)" if scale == 100 else "score"),
    }
    weights = [weights_of(trial) for trial in trials]
    texts = [
        f"trial {trial.number}: score {number(score_of(trial), scale)}<br>{_words(found)}"
        for trial, found in zip(trials, weights, strict=True)
    ]
    return _corner(weights, texts, name="trial of the search", marker=marker)


def _colour_bar(title: str) -> dict[str, Any]:
    """The colour bar below the triangle."""
    return {
        "title": {"text": title, "side": "top", "font": {"size": 12}}, "orientation": "h", "thickness": 10,
        "outlinewidth": 0, "len": 0.8, "y": -0.16, "yanchor": "top", "nticks": 4, "tickfont": {"size": 12},
        "ticks": "outside", "tickcolor": style.AXIS,
    }  # fmt: skip


def _mark(name: str, weights: Weights, colour: str, symbol: str, size: int) -> go.Scatterternary:
    mark = {"color": colour, "size": size, "symbol": symbol, "line": {"color": style.PAPER, "width": 1.5}}
    return _corner([weights], [f"{name}<br>{_words(weights)}"], name=name, marker=mark)


def _corner(weights: Sequence[Weights], texts: Sequence[str], **more: Any) -> go.Scatterternary:
    a, b, c = (style.rounded((w[task] for w in weights), 4) for task in weights[0])
    return go.Scatterternary(a=a, b=b, c=c, mode="markers", hovertext=texts, hovertemplate=style.HOVERTEXT, **more)


def _words(weights: Weights) -> str:
    return ", ".join(f"{style.label(task)} {weight:.2f}" for task, weight in weights.items())

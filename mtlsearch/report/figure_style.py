"""Shared style of the report's figures: colours, the template of layout and axes, numbers and labels.

One colour means one thing in every figure: the search is grey, tuned weights are blue, equal ones orange, a task
alone is green. A figure is made in the light palette. Its colours are hexadecimal and unique, so replacing them in
the figure's JSON gives another palette.
"""

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.report.reading import Report
from mtlsearch.wording import shortened

INK, GRID, AXIS, PAPER = "#3a4350", "#e4e8ed", "#c2cad4", "#fefefe"
TRIAL, FAINT = "#8792a2", "#bcc5d0"
TUNED, EQUAL, ALONE = "#2459d6", "#c2570c", "#0b7a6f"
LOW, MIDDLE = "#c6ccd5", "#8ba9ea"
DARK = {
    INK: "#c5ccd6", GRID: "#29303a", AXIS: "#465060", PAPER: "#12161d",
    TRIAL: "#7e8a9b", FAINT: "#465161",
    TUNED: "#74a4ff", EQUAL: "#ff9f52", ALONE: "#3bc9b6",
    LOW: "#4b5664", MIDDLE: "#4a6cab",
}  # fmt: skip
# For pages whose colour scheme is not known: every line is visible on white and on black.
NEUTRAL = {INK: "#808b99", GRID: "#80808040", AXIS: "#80808080", LOW: "#a4abb5", FAINT: "#a0a8b280"}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MARGIN = {"l": 12, "r": 14, "t": 10, "b": 12}
_SMALL = {"size": 12}
_AXIS = {
    "gridcolor": GRID, "zeroline": False, "showline": True, "linecolor": AXIS, "automargin": True,
    "ticks": "outside", "tickcolor": AXIS, "ticklen": 4, "tickfont": _SMALL,
    "title": {"standoff": 8, "font": _SMALL},
}  # fmt: skip
TEMPLATE = go.layout.Template(
    layout={
        "autosize": True, "margin": MARGIN, "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": INK},
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 12}, "namelength": -1},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left", "font": _SMALL},
        "xaxis": _AXIS, "yaxis": _AXIS,
    }
)  # fmt: skip
MOST_POINTS = 1500
COLUMNS = 3
HOVERTEXT = "%{hovertext}<extra></extra>"
LONGEST_LABEL = 20


@dataclass(frozen=True)
class Plot:
    """A figure with its name (of files and elements), title and caption, in one panel or several."""

    name: str
    title: str
    caption: str
    panels: tuple[go.Figure, ...]
    folded: bool = False  # shown on request
    least_width: int = 0  # pixels; in a narrower place the figure scrolls

    @cached_property
    def figure(self) -> go.Figure:
        """The panels in one figure."""
        return self.panels[0] if len(self.panels) == 1 else _grid(self.panels)

    @property
    def height(self) -> int:
        return int(self.figure.layout.height)

    def picture(self) -> dict[str, Any]:
        """The figure's JSON for a file of its own: with its title, on white."""
        figure = _titled(self.figure.to_json(), self.title)
        figure["layout"]["paper_bgcolor"] = "#ffffff"
        return figure

    def for_dashboard(self) -> dict[str, Any]:
        """The figure's JSON for optuna-dashboard, whose box has its own height and no room for a caption."""
        figure = _titled(recoloured(self.figure.to_json(), NEUTRAL), self.title)
        layout = figure["layout"]
        del layout["height"]
        if layout.get("showlegend") is not False:
            layout["margin"] |= {"t": 46, "b": 60}
            layout["legend"] = layout.get("legend", {}) | {"y": 0, "yref": "container", "yanchor": "bottom"}
        return figure


def _titled(text: str, title: str) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(text)
    layout = figure["layout"]
    top = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 14}}
    layout["title"] = {"text": title, "x": 0, "xref": "paper", **top}
    layout["margin"] = MARGIN | layout.get("margin", {})
    layout["margin"]["t"] += 36 if layout.get("showlegend") is False else 58
    return figure


def _grid(panels: Sequence[go.Figure]) -> go.Figure:
    """The panels in rows of one figure; the first of a row has the title of the vertical axis."""
    rows, count = math.ceil(len(panels) / COLUMNS), len(panels)
    specs: list[list[dict[str, Any] | None]] = [
        [{} if row * COLUMNS + i < count else None for i in range(COLUMNS)] for row in range(rows)
    ]
    space = {"horizontal_spacing": 0.08, "vertical_spacing": 0.3 / max(rows, 1.2)}
    whole = make_subplots(rows=rows, cols=COLUMNS, specs=specs, **space)
    axes = {}
    for i, panel in enumerate(panels):
        whole.add_traces(panel.data, rows=i // COLUMNS + 1, cols=i % COLUMNS + 1)
        axes[f"xaxis{i + 1}"] = panel.layout.xaxis.to_plotly_json()
        axes[f"yaxis{i + 1}"] = panel.layout.yaxis.to_plotly_json() | ({"title": {}} if i % COLUMNS else {})
    height = panels[0].layout.height * rows + 60
    return whole.update_layout(axes, template=TEMPLATE, height=height, showlegend=False)


def drawn(traces: Iterable[Any], height: int, **layout: Any) -> go.Figure:
    """A figure of `traces` in the shared style."""
    return go.Figure(list(traces), {"template": TEMPLATE, "height": height, **layout})


def recoloured(text: str, colours: Mapping[str, str]) -> str:
    """A figure's JSON with its colours replaced: whole strings, with an alpha or without."""
    for old, new in colours.items():
        text = re.sub(f'"{old}(?=([0-9a-f]{{2}})?")', f'"{new}', text)
    return text


def metric_title(metric: TaskMetric, task: str, split: str, parting: str = "<br>") -> str:
    """The title of a task's axis: its name, and after `parting` its metric, split and unit."""
    unit = " (%)" if metric.fraction else "" if metric.higher_is_better else " (less is better)"
    return f"<b>{label(task)}</b>{parting}{label(metric.name)}, {split}{unit}"


def score_title(report: Report) -> str:
    """The title of the score's axis: its name and unit."""
    name = f"{label(report.info['score'])} score, validation"
    return f"{name} (%)" if report.score_scale == 100 else name


def label(text: object) -> str:
    """A user's text for a figure: short, and without markup."""
    return html.escape(shortened(" ".join(str(text).split()), LONGEST_LABEL), quote=False)


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Numbers of a figure's data; a screen shows no more digits than these."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def thinned(items: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """All items where they are few, else `most` of them, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def window(values: Sequence[float], kept: Sequence[float] = (), lower_is_better: bool = False) -> tuple[float, float]:
    """The range of an axis that shows the better half of `values` well, and all of `kept`."""
    finite = sorted(v for v in (*values, *kept) if math.isfinite(v))
    if not finite:
        return 0.0, 1.0
    sign = -1 if lower_is_better else 1
    ranked = sorted((v for v in values if math.isfinite(v)), reverse=not lower_is_better) or finite
    best, median = ranked[0], ranked[len(ranked) // 2]
    # Twice the better half: the median trial stands in the middle.
    worst = best - sign * 2.2 * abs(best - median)
    within = [v for v in ranked if sign * (v - worst) >= 0] + [v for v in kept if math.isfinite(v)]
    low, high = min(within), max(within)
    pad = 0.07 * (high - low) or max(abs(high), 1e-3) * 0.01
    return low - pad, high + pad


def clipped(values: Sequence[float], limits: tuple[float, float]) -> tuple[list[float | None], list[str]]:
    """The values within an axis's range, and the symbol of each: a triangle where a value lies beyond."""
    low, high = limits
    edge = 0.015 * (high - low)
    symbols = ["triangle-down" if v < low else "triangle-up" if v > high else "circle" for v in values]
    return rounded(min(max(v, low + edge), high - edge) for v in values), symbols


def dots(symbols: Sequence[str]) -> dict[str, Any]:
    """The marker of the trials: the more there are, the smaller and the fainter."""
    count = len(symbols)
    size, opacity = (7, 0.75) if count <= 150 else (5, 0.55) if count <= 500 else (4, 0.45)
    return {"color": TRIAL, "size": size, "opacity": opacity, "symbol": symbols}


def points(x: Any, y: Any, texts: Sequence[str], marker: Mapping[str, Any], **more: Any) -> go.Scatter:
    """Points with the text that each shows under the pointer."""
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, hovertext=texts, hovertemplate=HOVERTEXT, **more)


def star(x: Any, y: float | None, text: str, **more: Any) -> go.Scatter:
    """The best trial, which nothing has confirmed."""
    mark = {"color": TUNED, "size": 15, "symbol": "star", "line": {"color": PAPER, "width": 1}}
    return points([x], [y], [text], mark, **more)

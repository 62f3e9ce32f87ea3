"""What the figures of a report have in common: colours, axes, and a figure with its words.

One colour means one thing in every figure: the search is grey, tuned weights are blue, equal ones orange, a task
alone is green. A figure is made in the light palette; another is had by replacing its colours, all of which are
hexadecimal and unique.
"""

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.report.reading import Report

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
# For pages whose colour scheme is not known: everything stands out on white and on black.
NEUTRAL = {INK: "#808b99", GRID: "#80808040", AXIS: "#80808080", LOW: "#a4abb5", FAINT: "#a0a8b280"}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
CLEAR = "rgba(0,0,0,0)"
MOST_POINTS = 1500
HOVERTEXT = "%{hovertext}<extra></extra>"
LONGEST_LABEL = 20


@dataclass(frozen=True)
class Plot:
    """A figure with its name (of files and elements), title and caption; `panels` are the same, one a piece."""

    name: str
    title: str
    caption: str
    figure: go.Figure
    panels: tuple[go.Figure, ...] = ()
    folded: bool = False  # shown on request
    least_width: int = 0  # in pixels; it scrolls in its place where that is narrower

    @property
    def height(self) -> int:
        return int(self.figure.layout.height)

    def picture(self) -> dict[str, Any]:
        """The figure's JSON for a file of its own: titled, on white."""
        figure = _titled(self.figure.to_json(), self.title)
        figure["layout"]["paper_bgcolor"] = "#ffffff"
        return figure

    def for_dashboard(self) -> dict[str, Any]:
        """The figure's JSON for optuna-dashboard, whose box has a height of its own and no room for words."""
        figure = _titled(recoloured(self.figure.to_json(), NEUTRAL), self.title)
        del figure["layout"]["height"]
        if figure["layout"].get("showlegend") is not False:
            figure["layout"]["margin"] |= {"t": 46, "b": 60}
            figure["layout"]["legend"] |= {"y": 0, "yref": "container", "yanchor": "bottom"}
        return figure


def _titled(text: str, title: str) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(text)
    top = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 14}}
    figure["layout"]["title"] = {"text": title, "x": 0, "xref": "paper", **top}
    figure["layout"]["margin"]["t"] += 36 if figure["layout"].get("showlegend") is False else 58
    return figure


def recoloured(text: str, colours: Mapping[str, str]) -> str:
    """A figure's JSON with its colours replaced: whole strings, with an alpha or without."""
    for old, new in colours.items():
        text = re.sub(f'"{old}(?=([0-9a-f]{{2}})?")', f'"{new}', text)
    return text


def layout(height: int, **more: Any) -> dict[str, Any]:
    """The layout of every figure; `more` goes on top of it."""
    base = {
        "template": go.layout.Template(),
        "height": height,
        "autosize": True,
        "margin": {"l": 12, "r": 14, "t": 10, "b": 12},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": FONT, "size": 13, "color": INK},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 12}, "namelength": -1},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "xanchor": "left",
            "font": {"size": 12},
        },
    }
    return {**base, **more}


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis; `title` is text of ours or escaped."""
    base = {
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": AXIS,
        "ticks": "outside",
        "tickcolor": AXIS,
        "ticklen": 4,
        "automargin": True,
        "title": {"text": title or "", "standoff": 8, "font": {"size": 12}},
        "tickfont": {"size": 12},
    }
    return {**base, **more}


def scale_of(metric: TaskMetric) -> float:
    return 100.0 if metric.fraction else 1.0


def metric_title(metric: TaskMetric, task: str, split: str = "") -> str:
    """A task's axis: its name, metric and unit."""
    unit = " (%)" if metric.fraction else "" if metric.higher_is_better else " (less is better)"
    where = f", {split}" if split else ""
    return f"<b>{label(task)}</b><br>{label(metric.name)}{where}{unit}"


def score_title(report: Report) -> str:
    """The score's name and unit, for an axis."""
    name = f"{label(report.info['score'])} score, validation"
    return f"{name} (%)" if report.score_scale == 100 else name


def label(text: object) -> str:
    """A user's text for a figure: short, and nothing in it is taken for markup."""
    plain = " ".join(str(text).split())
    short = plain if len(plain) <= LONGEST_LABEL else f"{plain[: LONGEST_LABEL - 1]}…"
    return html.escape(short, quote=False)


def number(value: float, scale: float = 1.0) -> str:
    """A single number as a person reads it: a percentage with one digit behind the point, else four digits."""
    if not math.isfinite(value):
        return "–"
    return f"{value * scale:.1f} %" if scale == 100 else f"{value:.4g}"


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Numbers for a figure's data, which need no more digits than a screen has pixels."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def thinned(items: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """All items where they are few, else as many as `most`, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def window(
    values: Sequence[float], kept: Sequence[float] = (), lower_is_better: bool = False
) -> tuple[float, float]:
    """The range of an axis that shows the better half well, and all of `kept`; what is far worse lies outside."""
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


def dots(count: int, **more: Any) -> dict[str, Any]:
    """The marker of so many trials: the more there are, the smaller and the fainter."""
    size, opacity = (7, 0.75) if count <= 150 else (5, 0.55) if count <= 500 else (4, 0.45)
    return {"color": TRIAL, "size": size, "opacity": opacity, **more}


def clipped(values: Sequence[float], limits: tuple[float, float]) -> tuple[list[float | None], list[str]]:
    """The values held inside of an axis's range, and each one's symbol: a triangle where it lies beyond."""
    low, high = limits
    edge = 0.015 * (high - low)
    symbols = ["triangle-down" if v < low else "triangle-up" if v > high else "circle" for v in values]
    return rounded(min(max(v, low + edge), high - edge) for v in values), symbols

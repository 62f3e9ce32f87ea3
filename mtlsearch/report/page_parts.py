"""What the report's page is made of: escaped text, cards, tables, the places of figures."""

from collections.abc import Iterable

import plotly.graph_objects as go

from mtlsearch.evidence.sentences import shown
from mtlsearch.evidence.statistics import Estimate
from mtlsearch.offline_page import escaped, json_text
from mtlsearch.report.figure_style import Plot


def section(title: str, *parts: str, name: str = "", kind: str = "") -> str:
    """A card of the page."""
    attributes = (f' id="{name}"' if name else "") + (f' class="{kind}"' if kind else "")
    heading = f"<h2>{escaped(title)}</h2>" if title else ""
    return f"<section{attributes}>\n{heading}\n" + "\n".join(filter(None, parts)) + "\n</section>"


def table(head: Iterable[str], rows: Iterable[str], foot: str = "", kind: str = "") -> str:
    """A table of ready rows that scrolls in its place where it is wider."""
    cells = "".join(f'<th scope="col">{escaped(name)}</th>' for name in head)
    heading = f"<thead><tr>{cells}</tr></thead>" if cells else ""
    attribute = f' class="{kind}"' if kind else ""
    # A region that scrolls must be reachable by the keyboard.
    whole = f"<table{attribute}>{heading}<tbody>{''.join(rows)}</tbody>{foot}</table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def pair(name: str, value: str) -> str:
    """A row of a name and its words."""
    return f'<tr><th scope="row">{escaped(name)}</th><td class="text">{escaped(value)}</td></tr>'


def estimated(found: Estimate, scale: float, unit: str) -> str:
    """A mean with its interval, the interval small."""
    mean, bracket, interval = shown(found, scale, unit).partition(" (")
    if not bracket:
        return escaped(mean)
    return f'{escaped(mean)} <small class="interval">{escaped((bracket + interval).strip())}</small>'


def drawing(plot: Plot) -> str:
    """A figure, or its panels side by side as far as there is room."""
    if not plot.panels:
        return _plot(plot.figure, plot.title, plot.least_width)
    panels = "".join(f"<div>{_plot(panel, plot.title)}</div>" for panel in plot.panels)
    return f'<div class="panels">{panels}</div>'


def _plot(figure: go.Figure, title: str, least_width: int = 0) -> str:
    """The place of a figure, at its height from the start so that nothing jumps, and its JSON."""
    size = f"height:{int(figure.layout.height)}px" + (f";min-width:{least_width}px" if least_width else "")
    drawn = (
        f'<div class="plot" role="img" aria-label="{escaped(title)}" style="{size}"></div>'
        f'<script type="application/json">{json_text(figure.to_json())}</script>'
    )
    return f'<div class="scroll" tabindex="0">{drawn}</div>' if least_width else drawn

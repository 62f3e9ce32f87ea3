"""The figures of a search over time: learning curves, best so far; `plots` gives all that a report has."""

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import datetime

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.report.figure_style import (
    FAINT,
    HOVERTEXT,
    PAPER,
    TRIAL,
    TUNED,
    Plot,
    axis,
    clipped,
    dots,
    layout,
    number,
    rounded,
    score_title,
    thinned,
    window,
)
from mtlsearch.report.figures_confirmed import comparison, confirmation
from mtlsearch.report.figures_hyperparameters import hyperparameters
from mtlsearch.report.figures_many_tasks import of_metrics, of_weights
from mtlsearch.report.figures_three_tasks import of_three
from mtlsearch.report.figures_two_tasks import of_two
from mtlsearch.report.reading import Report, value_of, weights_of
from mtlsearch.wording import shown_tasks

MOST_CURVES = 400


def plots(report: Report) -> list[Plot]:
    """Every figure that the study has the numbers for, in the order of the page."""
    drawn = [*trade_offs(report), *confirmation(report), *comparison(report)]
    if any(trial.intermediate_values for trial in report.trials):
        drawn.append(curves(report))
    if report.complete:
        drawn += [progress(report), *hyperparameters(report)]
    return drawn


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
        if max(len(others), len(pruned)) > MOST_CURVES
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
    values = [value_of(t) * scale for t in ended]
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


def trade_offs(report: Report) -> list[Plot]:
    """What weights do to the tasks: points over the one weight of two tasks, a triangle of three, lines of more."""
    if not report.complete or len(report.tasks) < 2:
        return []
    if len(report.tasks) == 2:
        return [of_two(report)]
    if len(report.tasks) == 3:
        return [of_three(report)]
    weights = weights_of(report.best or report.complete[0])
    few = [task for task in shown_tasks(weights) if task is not None]
    drawn = [of_weights(report, few), of_metrics(report, few)]
    if len(few) < len(report.tasks):
        drawn.append(of_metrics(report, list(report.tasks), folded=True))
    return drawn

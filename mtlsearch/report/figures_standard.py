"""The standard figures of a search, which Optuna draws: the best score so far, and the score against each dimension.

This module gives them the trials' own numbers, the shared style, and the best trial as a star.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, create_study
from optuna.trial import FrozenTrial, create_trial
from optuna.visualization import plot_optimization_history, plot_slice

from mtlsearch.report.figure_style import (
    HOVERTEXT,
    TEMPLATE,
    TUNED,
    Plot,
    clipped,
    dots,
    label,
    number,
    rounded,
    score_title,
    star,
    thinned,
    window,
)
from mtlsearch.report.reading import Report, value_of, weights_of
from mtlsearch.study.space import WEIGHT_PREFIX

MOST_PANELS = 12
MOST_TRIALS = 1000
FEW_TASKS = 3
PANEL_HEIGHT = 230
SHARE = FloatDistribution(0.0, 1.0)


def scored_study(report: Report) -> tuple[Study, list[FrozenTrial]]:
    """The complete trials, evenly thinned where they are very many, and a study in memory that holds them.

    The study numbers its trials by their place in the list. It has the scores as they are read, in percent or not,
    and the searched dimensions with the task weights themselves.
    """
    trials = thinned(report.complete, MOST_TRIALS)
    if report.best is not None and report.best.number not in {trial.number for trial in trials}:
        trials = sorted([*trials, report.best], key=lambda trial: trial.number)
    names = dimensions(report)
    study = create_study(direction="maximize")
    study.add_trials(_scored(trial, names, value_of(trial) * report.score_scale) for trial in trials)
    return study, trials


def _scored(trial: FrozenTrial, names: Iterable[str], value: float) -> FrozenTrial:
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name in names:
        if name.startswith(WEIGHT_PREFIX):
            # Rounding may put a weight just above 1.
            params[name] = min(weights_of(trial)[name.removeprefix(WEIGHT_PREFIX)], 1.0)
            distributions[name] = SHARE
        elif name in trial.params:
            params[name], distributions[name] = trial.params[name], trial.distributions[name]
    return create_trial(value=value, params=params, distributions=distributions)


def dimensions(report: Report) -> list[str]:
    """The dimensions that were searched, with the task weights where there are few tasks."""
    names = [n for n, d in report.space.items() if n in report.info["default"] and not d.single()]
    few = 1 < len(report.tasks) <= FEW_TASKS
    weights = list(report.tasks)[: len(report.tasks) - (len(report.tasks) == 2)] if few else []
    return names + [f"{WEIGHT_PREFIX}{task}" for task in weights]


def _told(trial: FrozenTrial, words: str, score: float, scale: float) -> str:
    return f"trial {trial.number}{words}: {number(score / scale, scale)}"


# The best score so far.


def best_so_far(report: Report, study: Study, trials: Sequence[FrozenTrial]) -> Plot:
    """The score of every complete trial, and the best of all trials up to it."""
    scale, numbers = report.score_scale, [trial.number for trial in trials]
    figure = plot_optimization_history(study, target_name=score_title(report))
    figure.data = points, line = figure.data[:2]
    values, best = list(points.y), list(line.y)
    limits = window(values, best)
    shown, symbols = clipped(values, limits)
    told = [_told(trial, "", value, scale) for trial, value in zip(trials, values, strict=True)]
    points.update(x=numbers, y=shown, name="complete trial", marker=dots(symbols))
    points.update(hovertext=told, hovertemplate=HOVERTEXT)
    line.update(x=numbers, y=rounded(best), name="best so far")
    line.line = {"color": TUNED, "width": 2.5, "shape": "hv"}
    line.hovertemplate = "best up to trial %{x}: %{y:.4g}<extra></extra>"
    axes = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"range": limits}}
    figure.update_layout(axes, template=TEMPLATE, title=None, height=360)
    text = "The score of every complete trial, and the best score up to it. Triangles lie below the range."
    return Plot("best-so-far", "Best so far", text + _some(report, trials), (figure,))


def _some(report: Report, trials: Sequence[FrozenTrial]) -> str:
    count = len(report.complete)
    return f" Of {count:,} trials, {len(trials):,} are drawn." if len(trials) < count else ""


# Hyperparameters.


def hyperparameters(report: Report, study: Study, trials: Sequence[FrozenTrial]) -> list[Plot]:
    """The score against each dimension, a panel each; very many are folded in part."""
    names = dimensions(report)
    if not names or len(trials) < 2:
        return []
    text = (
        "The score of every complete trial against each dimension of the search; the star is the best trial."
    )
    text += _some(report, trials)
    panels = tuple(_slice(report, study, trials, name) for name in names)
    found = [Plot("hyperparameters", "Hyperparameters", text, panels[:MOST_PANELS])]
    if rest := panels[MOST_PANELS:]:
        title = f"{len(rest)} more hyperparameters"
        found.append(Plot("more-hyperparameters", title, text, rest, folded=True))
    return found


def _slice(report: Report, study: Study, trials: Sequence[FrozenTrial], name: str) -> go.Figure:
    """One dimension: a point per trial, and the best trial's star."""
    figure = plot_slice(study, [name], target_name=score_title(report).replace(", validation", ""))
    (points,) = figure.data
    numbered = [trials[i] for i in points.marker.color]  # Optuna colours a trial by its number
    weight = name.startswith(WEIGHT_PREFIX)
    distribution = SHARE if weight else report.space[name]
    x, limits = list(points.x), window(points.y)
    if isinstance(distribution, CategoricalDistribution):
        # Spread by the golden ratio, so that trials of one choice do not hide each other.
        spread = [((trial.number * 0.618034) % 1 - 0.5) * 0.5 for trial in numbered]
        x = [distribution.choices.index(t.params[name]) + s for t, s in zip(numbered, spread, strict=True)]
    shown, symbols = clipped(points.y, limits)
    told = [
        _told(trial, f", {label(_value(trial, name))}, score", value, report.score_scale)
        for trial, value in zip(numbered, points.y, strict=True)
    ]
    points.update(x=rounded(x), y=shown, hovertext=told, hovertemplate=HOVERTEXT)
    points.marker = dots(symbols)
    best = next((i for i, t in enumerate(numbered) if report.best and t.number == report.best.number), None)
    if best is not None:
        figure.add_trace(star(x[best], shown[best], told[best]))
    title = f"weight of {label(name.removeprefix(WEIGHT_PREFIX))}" if weight else label(name)
    axes = {
        "xaxis": {"title": {"text": title}, **_axis(distribution)},
        "yaxis": {"range": limits, "nticks": 5},
    }
    shape = {"height": PANEL_HEIGHT, "margin": {"l": 12, "r": 8, "t": 8, "b": 8}, "showlegend": False}
    return figure.update_layout(axes, template=TEMPLATE, title=None, **shape)


def _value(trial: FrozenTrial, name: str) -> str:
    if name.startswith(WEIGHT_PREFIX):
        return f"{weights_of(trial)[name.removeprefix(WEIGHT_PREFIX)]:.4g}"
    value = trial.params[name]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _axis(distribution: BaseDistribution) -> dict[str, Any]:
    """The whole range of a dimension, and its ticks; choices are named."""
    if isinstance(distribution, CategoricalDistribution):
        names = [label(choice) for choice in distribution.choices]
        ticks = {"tickvals": list(range(len(names))), "ticktext": names}
        return {"type": "linear", "range": [-0.6, len(names) - 0.4], **ticks}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if not distribution.log:
        pad = 0.04 * (high - low)
        return {"nticks": 6, "range": [low - pad, high + pad]}
    low, high = math.log10(low), math.log10(high)
    pad, step = (
        0.04 * (high - low),
        math.ceil((high - low) / 5) if high - low >= 2 else "D2",
    )  # D2: 1, 2 and 5
    return {"tickformat": "~g", "dtick": step, "range": [low - pad, high + pad]}

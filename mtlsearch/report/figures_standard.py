"""The standard figures of a search, which Optuna draws: the best score so far, and the score against each dimension.

This module gives them the trials' own numbers, the shared style, and the best trial as a star.
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, create_study
from optuna.trial import FrozenTrial, create_trial
from optuna.visualization import plot_optimization_history, plot_slice

from mtlsearch.report import figure_style as style
from mtlsearch.report.reading import Report, number, weights_of
from mtlsearch.store.trials import score_of
from mtlsearch.study.weights.task_weights import WEIGHT_PREFIX
from mtlsearch.wording import plain

MOST_PANELS = 12
MOST_TRIALS = 1000
FEW_TASKS = 3
PANEL_HEIGHT = 230
SHARE = FloatDistribution(0.0, 1.0)


def scored_study(report: Report) -> tuple[Study, list[FrozenTrial]]:
    """A study in memory for Optuna's figures, and its trials: the complete ones, evenly thinned if very many.

    The study numbers the trials by their place in the list. Its scores are in percent where a reader expects that,
    and its parameters are the searched dimensions and the task weights.
    """
    trials = style.thinned(report.complete, MOST_TRIALS)
    if report.best is not None and report.best.number not in {trial.number for trial in trials}:
        trials = sorted([*trials, report.best], key=lambda trial: trial.number)
    names = dimensions(report)
    study = create_study(direction="maximize")
    study.add_trials(_scored(trial, names, score_of(trial) * report.score_scale) for trial in trials)
    return study, trials


def _scored(trial: FrozenTrial, names: Sequence[str], value: float) -> FrozenTrial:
    # Rounding may put a weight just above 1.
    weights = {f"{WEIGHT_PREFIX}{task}": min(weight, 1.0) for task, weight in weights_of(trial).items()}
    values, space = trial.params | weights, trial.distributions | dict.fromkeys(weights, SHARE)
    params = {name: values[name] for name in names if name in values}
    return create_trial(value=value, params=params, distributions={name: space[name] for name in params})


def dimensions(report: Report) -> list[str]:
    """The dimensions that were searched, with the task weights where there are few tasks."""
    names = [n for n, d in report.space.items() if n in report.info["default"] and not d.single()]
    tasks = report.weighted
    weights = tasks[: len(tasks) - (len(tasks) == 2)] if 1 < len(tasks) <= FEW_TASKS else []
    return names + [f"{WEIGHT_PREFIX}{task}" for task in weights]


# The best score so far.


def best_so_far(report: Report, study: Study, trials: Sequence[FrozenTrial]) -> style.Plot:
    """The score of every complete trial, and the best of all trials up to it."""
    numbers = [trial.number for trial in trials]
    figure = plot_optimization_history(study, target_name=style.score_title(report))
    figure.data = points, line = figure.data[:2]
    best = list(line.y)
    limits = style.window(points.y, best)
    texts = [f"trial {n}: {_shown(report, score)}" for n, score in zip(numbers, points.y, strict=True)]
    _restyle(points, limits, texts, x=numbers, name="complete trial")
    line.update(x=numbers, y=style.rounded(best), name="best so far")
    line.line = {"color": style.TUNED, "width": 2.5, "shape": "hv"}
    line.hovertemplate = "best up to trial %{x}: %{y:.4g}<extra></extra>"
    axes = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"range": limits}}
    figure.update_layout(axes, template=style.TEMPLATE, title=None, height=360)
    text = "The score of every complete trial, and the best score up to it. Triangles lie below the range."
    return style.Plot("best-so-far", "Best so far", text + _some(report, trials), (figure,))


def _restyle(points: go.Scatter, limits: tuple[float, float], texts: Sequence[str], **more: Any) -> None:
    """Give the points our colour and hover text, and move those beyond `limits` to the edge."""
    shown, symbols = style.clipped(points.y, limits)
    points.update(y=shown, hovertext=texts, hovertemplate=style.HOVERTEXT, **more)
    points.marker = style.dots(symbols)


def _shown(report: Report, score: float) -> str:
    return number(score / report.score_scale, report.score_scale)


def _some(report: Report, trials: Sequence[FrozenTrial]) -> str:
    count = len(report.complete)
    return f" Of {count:,} trials, {len(trials):,} are drawn." if len(trials) < count else ""


# Hyperparameters.


def hyperparameters(report: Report, study: Study, trials: Sequence[FrozenTrial]) -> list[style.Plot]:
    """The score against each dimension, a panel each; the panels after the first ones are folded."""
    names = dimensions(report)
    if not names or len(trials) < 2:
        return []
    text = "The score of every complete trial against each dimension of the search; the star is the best trial."
    text += _some(report, trials)
    panels = tuple(_slice(report, study, trials, name) for name in names)
    found = [style.Plot("hyperparameters", "Hyperparameters", text, panels[:MOST_PANELS])]
    if rest := panels[MOST_PANELS:]:
        title = f"{len(rest)} more hyperparameters"
        found.append(style.Plot("more-hyperparameters", title, text, rest, folded=True))
    return found


def _slice(report: Report, study: Study, trials: Sequence[FrozenTrial], name: str) -> go.Figure:
    """One dimension: a point per trial, and the best trial's star."""
    figure = plot_slice(study, [name], target_name=style.score_title(report).replace(", validation", ""))
    (points,) = figure.data
    order, limits = list(points.marker.color), style.window(points.y)  # Optuna colours a trial by its number
    numbers, scored = [trials[i].number for i in order], study.get_trials(deepcopy=False)
    x = values = [scored[i].params[name] for i in order]
    distribution = scored[order[0]].distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        # Spread by the golden ratio, so that trials of one choice do not hide each other.
        places = [distribution.choices.index(value) for value in values]
        x = [place + ((n * 0.618034) % 1 - 0.5) * 0.5 for place, n in zip(places, numbers, strict=True)]
    texts = [
        f"trial {n}: {style.label(plain(value))}, score {_shown(report, score)}"
        for n, value, score in zip(numbers, values, points.y, strict=True)
    ]
    _restyle(points, limits, texts, x=style.rounded(x))
    if report.best is not None and report.best.number in numbers:
        best = numbers.index(report.best.number)
        figure.add_trace(style.star(x[best], points.y[best], texts[best]))
    task = name.removeprefix(WEIGHT_PREFIX)
    title = style.label(name) if task == name else f"weight of {style.label(task)}"
    axes = {"xaxis": {"title": {"text": title}, **_axis(distribution)}, "yaxis": {"range": limits}}
    shape = {"height": PANEL_HEIGHT, "margin": {"l": 12, "r": 8, "t": 8, "b": 8}, "showlegend": False}
    return figure.update_layout(axes, template=style.TEMPLATE, title=None, yaxis_nticks=5, **shape)


def _axis(distribution: BaseDistribution) -> dict[str, Any]:
    """The whole range of a dimension, and its ticks; choices are named."""
    if isinstance(distribution, CategoricalDistribution):
        names = [style.label(choice) for choice in distribution.choices]
        ticks = {"tickvals": list(range(len(names))), "ticktext": names}
        return {"type": "linear", "range": [-0.6, len(names) - 0.4], **ticks}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, ticks = distribution.low, distribution.high, {"nticks": 6}
    if distribution.log:
        low, high = math.log10(low), math.log10(high)
        # In decades; of few decades D2 ticks are at 1, 2 and 5.
        ticks = {"tickformat": "~g", "dtick": math.ceil((high - low) / 5) if high - low >= 2 else "D2"}
    pad = 0.04 * (high - low)
    return {"range": [low - pad, high + pad], **ticks}

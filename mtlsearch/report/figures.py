"""All figures of a report, in the order of its page, and the learning curves.

The curves are not Optuna's `plot_intermediate_values`. It draws a trace per trial, for which a browser takes ten
times as long at 1,000 trials, and it does not show which trials were pruned.
"""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.report import figure_style as style
from mtlsearch.report.figures_confirmed import comparison, confirmation, profile
from mtlsearch.report.figures_many_tasks import of_many
from mtlsearch.report.figures_standard import best_so_far, hyperparameters, scored_study
from mtlsearch.report.figures_three_tasks import of_three
from mtlsearch.report.figures_two_tasks import of_two
from mtlsearch.report.reading import Report
from mtlsearch.store.curves import epochs_reported, score_curve

MOST_CURVES = 400


def plots(report: Report) -> list[style.Plot]:
    """Every figure that the study has the numbers for, in the order of the page."""
    found = [*trade_offs(report), *confirmation(report), *profile(report), *comparison(report)]
    if any(epochs_reported(trial) for trial in report.trials):
        found.append(curves(report))
    if report.complete:
        study, trials = scored_study(report)
        found += [best_so_far(report, study, trials), *hyperparameters(report, study, trials)]
    return found


def trade_offs(report: Report) -> list[style.Plot]:
    """The scores of the tasks against their weights: points for two tasks, a triangle for three, lines for more.

    Loss terms have weights and no scores of their own, so there is none with them.
    """
    if not report.complete or len(report.tasks) < 2 or "weighted" in report.info:
        return []
    if len(report.tasks) == 2:
        return [of_two(report)]
    return [of_three(report)] if len(report.tasks) == 3 else of_many(report)


def curves(report: Report) -> style.Plot:
    """The score of every epoch: pruned trials faint, complete ones grey, the best one bold."""
    scale, best = report.score_scale, report.best
    trained = [trial for trial in report.trials if epochs_reported(trial)]
    complete = [t for t in trained if t.state is TrialState.COMPLETE and (best is None or t.number != best.number)]
    pruned = [trial for trial in trained if trial.state is not TrialState.COMPLETE]
    traces = [
        _lines(style.thinned(trials, MOST_CURVES), f"{name} ({len(trials):,})", colour, width, scale)
        for name, trials, colour, width in (
            ("pruned", pruned, style.FAINT, 1.0),
            ("complete", complete, style.TRIAL, 1.2),
        )
        if trials
    ]
    held: list[float] = []
    if best is not None and epochs_reported(best):
        held = [v * scale for v in score_curve(best).values()]
        traces.append(_lines([best], f"best: trial {best.number}", style.TUNED, 3.0, scale))
    ends = [max(score_curve(t).values()) * scale for t in complete + pruned]
    most = max(epochs_reported(trial) for trial in trained)
    step = max(1, math.ceil(most / 10))
    figure = style.drawn(
        traces, 400,
        xaxis={"title": "epoch", "dtick": step, "tick0": 1, "range": [0.6, most + 0.4]},
        yaxis={"title": style.score_title(report), "range": style.window(ends, held)},
    )  # fmt: skip
    text = "Score on validation after each epoch. The best epoch gives the score of a trial."
    if max(len(complete), len(pruned)) > MOST_CURVES:
        text += f" Of more than {MOST_CURVES} curves of a kind, {MOST_CURVES} are drawn."
    return style.Plot("learning-curves", "Learning curves", text, (figure,))


def _lines(trials: Sequence[FrozenTrial], name: str, colour: str, width: float, scale: float) -> go.Scatter:
    """Many curves as one trace, with gaps between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for trial in trials:
        scores = score_curve(trial)
        steps = sorted(scores)
        x += [*(step + 1 for step in steps), None]
        y += [*style.rounded(scores[step] * scale for step in steps), None]
        numbers += [trial.number] * (len(steps) + 1)
    single = len(trials) == 1
    return go.Scatter(
        x=x, y=y, customdata=numbers, name=name,
        mode="lines+markers" if single or all(epochs_reported(t) == 1 for t in trials) else "lines",
        line={"color": colour, "width": width}, marker={"size": 7 if single else 4},
        opacity=1 if single else 0.75 if len(trials) <= 100 else 0.3,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.4g}<extra></extra>",
    )  # fmt: skip

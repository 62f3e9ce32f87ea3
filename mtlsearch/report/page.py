"""The report's page: one HTML file that fetches nothing.

A Content-Security-Policy lets only the page's own scripts run, which it names by their digests.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

import plotly.graph_objects as go
from jinja2.utils import htmlsafe_json_dumps
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from mtlsearch.offline_page import render
from mtlsearch.report.figure_style import DARK, Plot
from mtlsearch.report.figures_two_tasks import asked_trials, front
from mtlsearch.report.page_tables import (
    grouping_tables,
    methods_table,
    needed_table,
    searches_table,
    shares_table,
    tasks_table,
)
from mtlsearch.report.reading import Report, number
from mtlsearch.report.reproduce import command, commands, facts, named
from mtlsearch.report.terminal_table import hyperparameters
from mtlsearch.store.trials import score_of
from mtlsearch.wording import MANY_TASKS, weight_in_words

MOST_REASONS = 20


def page(report: Report, plots: Sequence[Plot]) -> str:
    """The whole page as text."""
    own = (files("mtlsearch.report").joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "front.js"))
    asked = front(report)
    failed = report.of(TrialState.FAIL)
    return render(
        "report/page.html.j2",
        report=report,
        counts=_counts(report),
        most_lines=MANY_TASKS + 3,
        score=None if report.best is None else number(score_of(report.best), report.score_scale),
        command=lambda name: command(name, *named(report)),
        tasks=tasks_table(report),
        weight=weight_in_words,
        most_tasks=MANY_TASKS,
        values={} if report.answer is None else hyperparameters(report.answer),
        plots=plots,
        methods=methods_table(report),
        groupings=grouping_tables(report),
        searches=searches_table(report),
        failed=failed,
        reasons={f"trial {t.number}": _reason(t) for t in failed[:MOST_REASONS]},
        commands=commands(report),
        facts=facts(report),
        dark=DARK,
        asked=asked,
        trials=None if asked is None else asked_trials(report),
        shares=shares_table(report),
        needed=needed_table(report),
        scripts=[get_plotlyjs(), *own],
        digest=_digest,
        json=_json,
    )


def _reason(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason", "no reason was stored"))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(figure: go.Figure) -> str:
    """A figure's JSON, which cannot end the element that holds it."""
    return htmlsafe_json_dumps(figure, dumps=lambda figure, **_: figure.to_json())


def _counts(report: Report) -> str:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    ended = ", ".join(f"{len(found):,} {s.name.lower()}" for s in states if (found := report.of(s)))
    trials = f"{len(report.trials):,} trials ({ended})" if ended else "no trial has ended yet"
    return f"{len(report.tasks)} task{'s' * (len(report.tasks) != 1)} · {trials}"

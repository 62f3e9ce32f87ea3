"""The report's page: one HTML file that fetches nothing.

A Content-Security-Policy lets only the page's own two scripts run, which it names by their digests.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import plotly.graph_objects as go
from jinja2.utils import htmlsafe_json_dumps
from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from mtlsearch.offline_page import render
from mtlsearch.report.figure_style import DARK, Plot, number
from mtlsearch.report.page_tables import hyperparameters, methods_table, tasks_table
from mtlsearch.report.reading import Report
from mtlsearch.report.reproduce import command, commands, facts, named
from mtlsearch.wording import MANY_TASKS

KINDS = {
    "tuned": "Tuned weights",
    "equal": "Equal weights",
    "undecided": "Undecided",
    "unconfirmed": "Not confirmed yet",
    "none": "No answer yet",
}
MOST_REASONS = 20


class Lines(NamedTuple):
    """The verdict on the page: its kind, the lines in large print, and the others."""

    kind: str
    first: Sequence[str]
    rest: Sequence[str]

    @property
    def title(self) -> str:
        return KINDS[self.kind]


def page(report: Report, plots: Sequence[Plot]) -> str:
    """The whole page as text."""
    script = files("mtlsearch.report").joinpath("page.js").read_text(encoding="utf-8")
    failed = report.of(TrialState.FAIL)
    return render(
        "report/page.html.j2",
        report=report,
        counts=_counts(report),
        answer=_answer(report),
        most_lines=MANY_TASKS + 3,
        tasks=tasks_table(report),
        most_tasks=MANY_TASKS,
        values=hyperparameters(report),
        plots=plots,
        methods=methods_table(report),
        failed=failed,
        reasons={
            f"trial {t.number}": t.user_attrs.get("reason", "no reason was stored")
            for t in failed[:MOST_REASONS]
        },
        commands=commands(report),
        facts=facts(report),
        dark=DARK,
        scripts=[get_plotlyjs(), script],
        digest=_digest,
        json=_json,
    )


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


def _answer(report: Report) -> Lines:
    """The answer, in the lines that `run` and `best` print."""
    if report.verdict is not None:
        lines, large = list(report.verdict["lines"]), 1 + len(report.verdict["harm_sentences"])
        return Lines(report.verdict["kind"], lines[:large], lines[large:])
    if report.best is None:
        reason = "no trial is complete yet" if report.trials else "no trial has ended yet"
        return Lines("none", [reason], [f"`{command('run', *named(report))}` goes on with the search"])
    weights = ", ".join(f"{task} {w:.2f}" for task, w in report.best.user_attrs["task_weights"].items())
    value = number(report.best.value or 0.0, report.score_scale)
    score = f"trial {report.best.number} is the best of the search: {report.info['score']} score {value}"
    rest = [
        "this is the score of one seed, and of the trial that came out best, so it is too high on average; a"
        " difference of a few tenths of a point is noise",
        f"`{command('confirm', *named(report))}` trains it and its twin of equal weights with fresh seeds, and gives a"
        " verdict",
    ]
    return Lines("unconfirmed", [f"{score}; weights: {weights}"], rest)

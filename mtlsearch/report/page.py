"""The report's page: one HTML file that asks nothing of any other place.

Everything that a user has named is escaped, in the HTML and in the figures' JSON; a Content-Security-Policy lets
no script run but the two of the page, by their digests, and nothing be fetched.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files

from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from mtlsearch.offline_page import escaped, json_text
from mtlsearch.report.figure_style import DARK, Plot, number
from mtlsearch.report.page_parts import drawing, pair, section, table
from mtlsearch.report.page_tables import methods_section, tasks_section
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


def page(report: Report, plots: Sequence[Plot]) -> str:
    """The whole page as text."""
    scripts = get_plotlyjs(), _part("page.js")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_digest, scripts))}; style-src 'unsafe-inline';"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    by_name = {plot.name: plot for plot in plots}
    methods = by_name.pop("methods", None)
    body = [
        _header(report),
        _verdict(report),
        tasks_section(report),
        *map(_figure, by_name.values()),
        methods_section(report, methods),
        _failures(report),
        _reproduce(report),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaped(report.name)} – mtlsearch</title>",
            f"<style>\n{_part('page.css')}</style>\n</head>\n<body>\n<main>",
            *filter(None, body),
            "</main>",
            f'<script type="application/json" id="dark">{json_text(json.dumps(DARK))}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _part(name: str) -> str:
    room = "mtlsearch.report" if name.endswith(".js") else "mtlsearch"
    return files(room).joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


# What is said in words.


def _header(report: Report) -> str:
    count = {
        state: len(report.of(state)) for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    ended = f"{len(report.trials):,} trials ({', '.join(f'{n:,} {s.name.lower()}' for s, n in count.items() if n)})"
    told = ended if report.trials else "no trial has ended yet"
    tasks = f"{len(report.tasks)} tasks" if len(report.tasks) > 1 else "1 task"
    return f"<header><p>mtlsearch report</p><h1>{escaped(report.name)}</h1><p>{tasks} · {told}</p></header>"


def _verdict(report: Report) -> str:
    """The answer, in the very lines that `run` and `best` print."""
    first, rest, kind = _said(report)
    sentence, *harm = first
    big = f'<p class="sentence">{_said_text(sentence)}</p>'
    big += "".join(f'<p class="harm">{_said_text(line)}</p>' for line in harm)
    items = [f"<li>{_said_text(line)}</li>" for line in rest]
    if report.verdict is not None and items:
        items[-1] = items[-1].replace("<li>", '<li class="covers">', 1)
    small = f"<ul>{''.join(items)}</ul>" if items else ""
    if len(items) > MANY_TASKS + 3:
        small = f"<details><summary>Weights, and every task's line</summary>{small}</details>"
    late = f'<p class="notice">{escaped(report.outdated)}</p>' if report.outdated else ""
    return section(
        "", f'<p class="kind">{KINDS[kind]}</p>', big, small, late, name="verdict", kind=f"verdict {kind}"
    )


def _said_text(line: str) -> str:
    """A line in which commands stand between backticks."""
    parts = escaped(line).split("`")
    whole = len(parts) % 2 == 1
    return (
        "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
        if whole
        else escaped(line)
    )


def _said(report: Report) -> tuple[list[str], list[str], str]:
    """The lines to be read first, the others, and the kind of the verdict."""
    if report.verdict is not None:
        lines, large = list(report.verdict["lines"]), 1 + len(report.verdict["harm_sentences"])
        return lines[:large], lines[large:], report.verdict["kind"]
    if report.best is None:
        reason = "no trial is complete yet" if report.trials else "no trial has ended yet"
        go_on = f"`{command('run', *named(report))}` goes on with the search"
        return [reason], [go_on], "none"
    weights = ", ".join(f"{task} {w:.2f}" for task, w in report.best.user_attrs["task_weights"].items())
    value = number(report.best.value or 0.0, report.score_scale)
    lines = [
        "this is one seed's score of the trial that came out best, so it flatters it; a difference of a few tenths"
        " of a point is noise",
        f"`{command('confirm', *named(report))}` trains it and its twin of equal weights again with fresh seeds, and"
        " gives a verdict",
    ]
    score = f"trial {report.best.number} is the best of the search: {report.info['score']} score {value}"
    return [f"{score}; weights: {weights}"], lines, "unconfirmed"


def _failures(report: Report) -> str:
    """The trials that failed by their own training, with their reasons."""
    failed = report.of(TrialState.FAIL)
    if not failed:
        return ""
    reasons = {t.number: t.user_attrs.get("reason", "no reason was stored") for t in failed[:MOST_REASONS]}
    rows = [pair(f"trial {number}", reason) for number, reason in reasons.items()]
    more = f"<p>… {len(failed) - MOST_REASONS:,} more</p>" if len(failed) > MOST_REASONS else ""
    title = f"{len(failed):,} failed trials" if len(failed) > 1 else "1 failed trial"
    summary = "<summary>Why they failed</summary>" if report.best is not None else "<summary>Why</summary>"
    opened = "" if report.best is not None else " open"
    return section(title, f"<details{opened}>{summary}{table((), rows)}{more}</details>", name="failed")


# How to reproduce.


def _whole_options(command: str) -> str:
    """A command whose options' names are not broken after a hyphen where the page is narrow."""
    return re.sub(r"(?<=\s)-[\w-]+", lambda found: f"<span>{found[0]}</span>", escaped(command))


def _reproduce(report: Report) -> str:
    steps = "".join(
        f'<p>{escaped(what)}</p><pre tabindex="0">{_whole_options(command)}</pre>'
        for what, command in commands(report)
    )
    covers = ""
    if report.verdict is not None:
        covers = (
            f'<h2>What the intervals cover</h2><p class="caption">{escaped(report.verdict["covers"])}</p>'
        )
    rows = [pair(name, value) for name, value in facts(report).items()]
    digest = f'<p class="digest">definition (SHA-256 of the fingerprint): <code>{report.digest}</code></p>'
    return section("How to reproduce", steps, covers, table((), rows, kind="facts"), digest, name="reproduce")


# Figures.


def _figure(plot: Plot) -> str:
    caption = f'<p class="caption">{escaped(plot.caption)}</p>'
    if plot.folded:
        inner = f"<details><summary>{escaped(plot.title)}</summary>{caption}{drawing(plot)}</details>"
        return section("", inner, name=plot.name)
    return section(plot.title, caption, drawing(plot), name=plot.name)

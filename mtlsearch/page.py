"""The report's page: one HTML file that asks nothing of any other place.

Everything that a user has named is escaped, in the HTML and in the figures' JSON; a Content-Security-Policy lets
no script run but the two of the page, by their digests, and nothing be fetched.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from mtlsearch.alone import delta_m
from mtlsearch.figures_confirmed import mean_of
from mtlsearch.intervals import Estimate, estimate
from mtlsearch.plots import DARK, Plot, number, scale_of
from mtlsearch.report import Report, estimate_of, metric_of
from mtlsearch.reproduce import command, commands, facts, named
from mtlsearch.sentences import TaskMetric, shown
from mtlsearch.show import MANY_TASKS, plain, shown_tasks

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
        _tasks(report),
        *map(_figure, by_name.values()),
        _methods(report, methods),
        _failures(report),
        _reproduce(report),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(report.name)} – mtlsearch</title>",
            f"<style>\n{_part('page.css')}</style>\n</head>\n<body>\n<main>",
            *filter(None, body),
            "</main>",
            f'<script type="application/json" id="dark">{_json(json.dumps(DARK))}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _part(name: str) -> str:
    return files("mtlsearch").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _text(value: object) -> str:
    return html.escape(str(value))


def _json(text: str) -> str:
    """JSON that cannot end the element that it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(title: str, *parts: str, name: str = "", kind: str = "") -> str:
    attributes = (f' id="{name}"' if name else "") + (f' class="{kind}"' if kind else "")
    heading = f"<h2>{_text(title)}</h2>" if title else ""
    return f"<section{attributes}>\n{heading}\n" + "\n".join(filter(None, parts)) + "\n</section>"


# What is said in words.


def _header(report: Report) -> str:
    count = {
        state: len(report.of(state)) for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    ended = f"{len(report.trials):,} trials ({', '.join(f'{n:,} {s.name.lower()}' for s, n in count.items() if n)})"
    told = ended if report.trials else "no trial has ended yet"
    tasks = f"{len(report.tasks)} tasks" if len(report.tasks) > 1 else "1 task"
    return f"<header><p>mtlsearch report</p><h1>{_text(report.name)}</h1><p>{tasks} · {told}</p></header>"


def _verdict(report: Report) -> str:
    """The answer, in the very lines that `run` and `best` print."""
    first, rest, kind = _said(report)
    big = "".join(f'<p class="sentence">{_said_text(line)}</p>' for line in first)
    items = [f"<li>{_said_text(line)}</li>" for line in rest]
    if report.verdict is not None and items:
        items[-1] = items[-1].replace("<li>", '<li class="covers">', 1)
    small = f"<ul>{''.join(items)}</ul>" if items else ""
    if len(items) > MANY_TASKS + 3:
        small = f"<details><summary>Weights, and every task's line</summary>{small}</details>"
    late = f'<p class="notice">{_text(report.outdated)}</p>' if report.outdated else ""
    return _section(
        "", f'<p class="kind">{KINDS[kind]}</p>', big, small, late, name="verdict", kind=f"verdict {kind}"
    )


def _said_text(line: str) -> str:
    """A line in which commands stand between backticks."""
    parts = _text(line).split("`")
    whole = len(parts) % 2 == 1
    return (
        "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
        if whole
        else _text(line)
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


def _tasks(report: Report) -> str:
    """Per task its weight and what it reaches, and the hyperparameters with which it does."""
    if report.answer is None:
        return ""
    head = _columns(report)
    weights = report.answer["task_weights"] if report.verdict is None else report.verdict["weights"]
    rows = {task: f"<tr>{_task_row(report, task)}</tr>" for task in weights}
    foot = ""
    if report.verdict is not None and report.verdict["delta_m"] is not None:
        gain = _estimate(estimate_of(report.verdict["delta_m"]), 1.0, " %")
        empty = "<td></td>" * (len(head) - 2)
        foot = f'<tfoot><tr><th scope="row">all tasks</th>{empty}<td>{gain}</td></tr></tfoot>'
    few = [rows[task] for task in shown_tasks(weights) if task is not None]
    more = ""
    if len(weights) > MANY_TASKS:
        more = f"<details><summary>All {len(weights)} tasks</summary>{_table(head, rows.values())}</details>"
    caption = f'<p class="caption">{_about_table(report)}</p>'
    return _section("Tasks", caption, _table(head, few, foot), more, _values(report), name="tasks")


def _columns(report: Report) -> list[str]:
    if report.verdict is None or report.concluded is None:
        return ["task", "weight", "validation"]
    tuned = ["tuned weight"] if report.concluded["weights"] == "equal" else []
    alone = ["alone, test", "Δm"] if report.verdict["single_metrics"] else []
    return ["task", "weight", *tuned, "validation", "tuned, test", "equal, test", *alone]


def _table(head: Iterable[str], rows: Iterable[str], foot: str = "", kind: str = "") -> str:
    cells = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    heading = f"<thead><tr>{cells}</tr></thead>" if cells else ""
    attribute = f' class="{kind}"' if kind else ""
    # A region that scrolls must be reachable by the keyboard.
    table = f"<table{attribute}>{heading}<tbody>{''.join(rows)}</tbody>{foot}</table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _about_table(report: Report) -> str:
    """What the columns are of."""
    assert report.answer is not None
    if report.verdict is None or report.concluded is None:
        return f"Trial {report.answer['trial']} of the search: one training, on validation. Weights sum to 1."
    concluded = report.concluded
    alone = ", and for each task trained alone" if report.verdict["single_metrics"] else ""
    gain = " Δm is the change of the tuned ones against alone; positive is better." if alone else ""
    return (
        f"Weight and validation are of the training that <code>best</code> and <code>export</code> give, with"
        f" {_text(concluded['weights'])} weights. On test: the mean and interval over {len(concluded['seeds'])} fresh"
        f" seeds of the config of trial {concluded['of']}, for its tuned weights, for equal ones{alone}.{gain}"
    )


def _task_row(report: Report, task: str) -> str:
    assert report.answer is not None
    metric = report.tasks[task]
    found = report.answer["validation"].get(task, {}).get(metric.name, math.nan)
    weight = report.answer["task_weights"][task]
    cells = [f"{weight:.4f}", f"{number(found, scale_of(metric))} <small>{_text(metric.name)}</small>"]
    if report.verdict is not None and report.concluded is not None:
        if report.concluded["weights"] == "equal":
            cells.insert(1, f"{report.verdict['weights'][task]:.4f}")
        scale, unit = (100.0, " %") if metric.fraction else (1.0, "")
        for key in ("metrics", "equal_metrics", "single_metrics"):
            if report.verdict[key]:
                cells.append(_estimate(estimate_of(report.verdict[key][task]), scale, unit))
        if report.verdict["single_metrics"]:
            cells.append(_task_gain(report, task, metric))
    return f'<th scope="row">{_text(task)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells)


def _task_gain(report: Report, task: str, metric: TaskMetric) -> str:
    """One task's share in Δm, formed per seed of those that both have."""
    name, level = metric.name, float((report.verdict or {})["level"])

    def by_seed(trials: Iterable[FrozenTrial]) -> dict[int, float]:
        return {t.user_attrs["seed"]: metric_of(t, task, name, "test") for t in trials}

    shared, alone = by_seed(report.trainings.tuned), by_seed(report.trainings.alone.get(task, ()))
    seeds = [seed for seed in shared if seed in alone]
    if not seeds:
        return "–"
    values, _ = delta_m({task: [shared[s] for s in seeds]}, {task: [alone[s] for s in seeds]}, {task: metric})
    return "–" if values is None else _estimate(estimate(values, level), 1.0, " %")


def _estimate(found: Estimate, scale: float, unit: str) -> str:
    """A mean with its interval, the interval small."""
    mean, bracket, interval = shown(found, scale, unit).partition(" (")
    if not bracket:
        return _text(mean)
    return f'{_text(mean)} <small class="interval">{_text((bracket + interval).strip())}</small>'


def _values(report: Report) -> str:
    assert report.answer is not None
    training = report.answer["training"]
    values = {name: plain(value) for name, value in report.answer["hyperparameters"].items()}
    values["epochs"] = f"{training['epochs_trained']} (best: {training['best_epoch'] + 1})"
    pairs = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in values.items()
    )
    return f'<h2 style="margin:18px 0 8px">Hyperparameters</h2><dl class="values">{pairs}</dl>'


def _methods(report: Report, plot: Plot | None) -> str:
    """The compared methods: what each reaches, and what it cost."""
    if report.comparison is None or plot is None:
        return ""
    methods = sorted(report.comparison["methods"], key=lambda m: -mean_of(m["score"]))
    points = " points" if report.score_scale == 100 else ""
    head = ["method", "score", "minus equal"]
    gains = any(method.get("delta_m") for method in methods)
    head += ["Δm"] * gains + [f"{task} {metric.name}" for task, metric in report.tasks.items()][:MANY_TASKS]
    head += ["trial-epochs", "time"]
    rows = []
    for method in methods:
        cells = [
            _stored(method["score"], report.score_scale),
            _stored(method.get("difference"), report.score_scale, points),
        ]
        cells += [_stored(method.get("delta_m"), 1.0, " %")] * gains
        for task, metric in list(report.tasks.items())[:MANY_TASKS]:
            cells.append(_stored(method["tasks"].get(task), scale_of(metric)))
        cells += [f"{method['trial_epochs']:,}", _duration(method["seconds"])]
        rows.append(
            f'<tr><th scope="row">{_text(method["method"])}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'
        )
    lines = "".join(f"<p>{_text(line)}</p>" for line in report.comparison.get("lines", ()))
    caption = f'<p class="caption">{_text(plot.caption)}</p>'
    return _section(plot.title, caption, lines, _table(head, rows), _drawing(plot), name=plot.name)


def _stored(stored: Mapping[str, Any] | None, scale: float, unit: str | None = None) -> str:
    if stored is None:
        return "–"
    return _estimate(estimate_of(stored), scale, (" %" if scale == 100 else "") if unit is None else unit)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _failures(report: Report) -> str:
    """The trials that failed by their own training, with their reasons."""
    failed = report.of(TrialState.FAIL)
    if not failed:
        return ""
    reasons = {t.number: t.user_attrs.get("reason", "no reason was stored") for t in failed[:MOST_REASONS]}
    rows = [_pair(f"trial {number}", reason) for number, reason in reasons.items()]
    more = f"<p>… {len(failed) - MOST_REASONS:,} more</p>" if len(failed) > MOST_REASONS else ""
    title = f"{len(failed):,} failed trials" if len(failed) > 1 else "1 failed trial"
    summary = "<summary>Why they failed</summary>" if report.best is not None else "<summary>Why</summary>"
    opened = "" if report.best is not None else " open"
    return _section(title, f"<details{opened}>{summary}{_table((), rows)}{more}</details>", name="failed")


def _pair(name: str, value: str) -> str:
    return f'<tr><th scope="row">{_text(name)}</th><td class="text">{_text(value)}</td></tr>'


# How to reproduce.


def _reproduce(report: Report) -> str:
    steps = "".join(
        f'<p>{_text(what)}</p><pre tabindex="0">{_text(command)}</pre>' for what, command in commands(report)
    )
    covers = ""
    if report.verdict is not None:
        covers = f'<h2>What the intervals cover</h2><p class="caption">{_text(report.verdict["covers"])}</p>'
    rows = [_pair(name, value) for name, value in facts(report).items()]
    digest = f'<p class="digest">definition (SHA-256 of the fingerprint): <code>{report.digest}</code></p>'
    return _section(
        "How to reproduce", steps, covers, _table((), rows, kind="facts"), digest, name="reproduce"
    )


# Figures.


def _figure(plot: Plot) -> str:
    caption = f'<p class="caption">{_text(plot.caption)}</p>'
    if plot.folded:
        inner = f"<details><summary>{_text(plot.title)}</summary>{caption}{_drawing(plot)}</details>"
        return _section("", inner, name=plot.name)
    return _section(plot.title, caption, _drawing(plot), name=plot.name)


def _drawing(plot: Plot) -> str:
    if not plot.panels:
        return _plot(plot.figure, plot.title, plot.least_width)
    panels = "".join(f"<div>{_plot(panel, plot.title)}</div>" for panel in plot.panels)
    return f'<div class="panels">{panels}</div>'


def _plot(figure: go.Figure, title: str, least_width: int = 0) -> str:
    """The place of a figure, at its height from the start so that nothing jumps, and its JSON."""
    size = f"height:{int(figure.layout.height)}px" + (f";min-width:{least_width}px" if least_width else "")
    drawn = (
        f'<div class="plot" role="img" aria-label="{_text(title)}" style="{size}"></div>'
        f'<script type="application/json">{_json(figure.to_json())}</script>'
    )
    return f'<div class="scroll" tabindex="0">{drawn}</div>' if least_width else drawn

"""What optuna-dashboard shows of a study beside its own plots: the verdict as a note, and the report's figures.

They are attributes of the study in the store, written where a run or a confirmation ends; reading commands write
nothing. A confirmation's own page says what its trials are, since their scores are not to be ranked.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlsearch.evidence.trainings import find_confirmation
from mtlsearch.importing import importing
from mtlsearch.report.figure_style import Plot, number
from mtlsearch.report.figures import progress, trade_offs
from mtlsearch.report.figures_confirmed import comparison, confirmation
from mtlsearch.report.reading import Report, read_report
from mtlsearch.store.record import Record
from mtlsearch.terminal import notice

SCORES = "not to be ranked: a single-task training is scored on its own task alone; see the note"


def publish(record: Record) -> None:
    """Write the note and the figures of a study, and the note of its confirmation, over those that are there.

    What goes wrong is told in one line and nothing more: the answer is in the store, whatever the dashboard shows.
    """
    try:
        _publish(record)
    except Exception as error:
        notice(f"the dashboard shows no verdict ({type(error).__name__}: {error}); the store has all results")


def _publish(record: Record) -> None:
    with importing():
        from optuna_dashboard import save_note, save_plotly_graph_object

    report = read_report(record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the dashboard's functions are experimental
        save_note(record.study, note(report))
        if report.verdict is not None:
            # The dashboard's first page shows attributes, its notes are on another one.
            record.study.set_user_attr("verdict", report.verdict["sentence"])
        for plot in _shown(report):
            figure = Drawn(plot.for_dashboard())
            save_plotly_graph_object(record.study, figure, graph_object_id=f"mtlsearch-{plot.name}")
        trainings = find_confirmation(record)
        if trainings is not None:
            save_note(trainings.study, confirmation_note(report))
            trainings.study.set_user_attr("scores", SCORES)


@dataclass(frozen=True)
class Drawn:
    """A figure of which the dashboard wants nothing but its JSON; plotly would check every number once more."""

    figure: Mapping[str, Any]

    def to_json(self) -> str:
        return json.dumps(self.figure, separators=(",", ":"))


def _shown(report: Report) -> list[Plot]:
    """The figures that the dashboard does not draw itself."""
    drawn = [*trade_offs(report), *confirmation(report), *comparison(report)]
    if report.complete:
        drawn.append(progress(report))
    return [plot for plot in drawn if not plot.folded]


def note(report: Report) -> str:
    """The study's note, in Markdown."""
    if report.verdict is not None:
        first, *rest = map(_plain, report.verdict["lines"])
        lines = [f"**{first}**", "", *(f"- {line}" for line in rest)]
    elif report.best is None:
        lines = ["No trial is complete yet."]
    else:
        value = number(report.best.value or 0.0, report.score_scale)
        lines = [
            f"**Not confirmed:** trial {report.best.number} is the best of the search, score {value}, one seed."
        ]
    lines += ["", *_table(report)] if report.answer is not None else []
    if report.comparison is not None:
        lines += [
            "",
            "**Compared methods**",
            "",
            *(f"- {_plain(line)}" for line in report.comparison.get("lines", ())),
        ]
    more = "`mtlsearch report` writes the whole report, `mtlsearch best` and `export` give this answer."
    return "\n".join([*lines, "", more])


def _table(report: Report) -> list[str]:
    """The tasks with their weights, and the metrics of the training that is kept."""
    assert report.answer is not None
    splits = [split for split in ("validation", "test") if split in report.answer]
    rows = [f"| task | weight | {' | '.join(splits)} |", f"|---|---:|{'---:|' * len(splits)}"]
    for task, weight in report.answer["task_weights"].items():
        metric = report.tasks[task]
        scale = 100.0 if metric.fraction else 1.0
        cells = [_metric(report.answer[split], task, metric.name, scale) for split in splits]
        rows.append(f"| {_plain(task)} | {weight:.4f} | {' | '.join(cells)} |")
    return rows


def _metric(values: Mapping[str, Any], task: str, name: str, scale: float) -> str:
    found = values.get(task, {}).get(name)
    return "–" if found is None else f"{_plain(name)} {number(found, scale)}"


def confirmation_note(report: Report) -> str:
    """What the trials of a confirmation are, and why the best of them is no answer."""
    verdict = f"**{_plain(report.verdict['sentence'])}**\n\n" if report.verdict is not None else ""
    name = _plain(report.name)
    return (
        f"{verdict}These are trainings of the study {name} again with fresh seeds: its best configs, their twins of"
        " equal weights, single tasks (the attribute `kind`).\n\n**Do not rank them by score.** A single-task training"
        " is scored on its own task alone, so its score compares with no other; and the best of several seeds is luck."
        f" The study {name} has the verdict."
    )


def _plain(text: object) -> str:
    """A user's text in Markdown: nothing in it is markup."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]()<>#|!~&$" else c for c in str(text))
    return " ".join(escaped.split())

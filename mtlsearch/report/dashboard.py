"""Notes that optuna-dashboard shows beside its own plots; `serving` serves it, with the figures beside them.

`publish` writes the verdict as a note of the study in the store. It is called where a run, a confirmation or a
comparison ends. A confirmation's own page says why its trials must not be ranked.
"""

from collections.abc import Mapping
from typing import Any

import optuna

from mtlsearch.evidence.trainings import find_confirmation
from mtlsearch.report.reading import Report, number, read_report
from mtlsearch.store.record import Record
from mtlsearch.store.trials import score_of
from mtlsearch.terminal import notice

SCORES = "not to be ranked: a single-task training is scored on its own task alone; see the note"
MORE = "`mtlsearch report` writes the whole report; `mtlsearch best` and `export` give this answer."
MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]()<>#|!~&$"})
# Where optuna-dashboard keeps a note; importing it to write one takes two seconds.
VERSION, TEXT, LONGEST = "dashboard:note_ver", "dashboard:note_str:", 2045


def publish(record: Record) -> None:
    """Write the note of a study, and that of its confirmation, in place of older ones.

    An error is only reported: the store has the answer, whatever the dashboard shows.
    """
    try:
        _publish(record)
    except Exception as error:
        notice(f"the dashboard shows no verdict ({type(error).__name__}: {error}); the store has all results")


def _publish(record: Record) -> None:
    report = read_report(record)
    save_note(record.study, note(report))
    if report.verdict is not None:
        # The dashboard's first page shows attributes, its notes are on another one.
        record.study.set_user_attr("verdict", report.verdict["sentence"])
    trainings = find_confirmation(record)
    if trainings is not None:
        save_note(trainings.study, confirmation_note(report))
        trainings.study.set_user_attr("scores", SCORES)


def save_note(study: optuna.Study, text: str) -> None:
    """Write a note as `optuna_dashboard.save_note` does: a version, and the text in pieces."""
    storage, study_id = study._storage, study._study_id
    before = storage.get_study_system_attrs(study_id)
    pieces = [text[start : start + LONGEST] for start in range(0, len(text), LONGEST)]
    old = [name for name in before if name.startswith(TEXT)]
    storage.set_study_system_attr(study_id, VERSION, before.get(VERSION, 0) + 1)
    for place, piece in enumerate([*pieces, *[""] * (len(old) - len(pieces))]):
        storage.set_study_system_attr(study_id, f"{TEXT}{place}", piece)


def note(report: Report) -> str:
    """The study's note, in Markdown."""
    if report.verdict is not None:
        first, *rest = map(_plain, report.verdict["lines"])
        lines = [f"**{first}**", "", *(f"- {line}" for line in rest)]
    elif report.best is None:
        lines = ["No trial is complete yet."]
    else:
        value = number(score_of(report.best), report.score_scale)
        best = f"trial {report.best.number} is the best of the search, score {value}, one seed."
        lines = [f"**Not confirmed:** {best}"]
    if report.answer is not None:
        lines += ["", *_table(report, report.answer)]
    if report.searches is not None:
        lines += ["", "**Repeated searches**", "", *(f"- {_plain(line)}" for line in report.searches["lines"])]
    if report.comparison is not None:
        found = report.comparison.get("lines", ())
        lines += ["", "**Compared methods**", "", *(f"- {_plain(line)}" for line in found)]
    return "\n".join([*lines, "", MORE])


def _table(report: Report, answer: Mapping[str, Any]) -> list[str]:
    """The tasks with their weights, and the metrics of the best training."""
    splits = [split for split in ("validation", "test") if split in answer]
    rows = [f"| task | weight | {' | '.join(splits)} |", f"|---|---:|{'---:|' * len(splits)}"]
    weights = answer["task_weights"]
    for task in dict.fromkeys([*weights, *report.tasks]):
        metric = report.tasks.get(task)  # a term has none, an evaluation has no weight
        found = [None if metric is None else answer[split].get(task, {}).get(metric.name) for split in splits]
        cells = [
            "–" if v is None or metric is None else f"{_plain(metric.name)} {number(v, metric.scale)}" for v in found
        ]
        weight = f"{weights[task]:.4f}" if task in weights else "–"
        rows.append(f"| {_plain(task)} | {weight} | {' | '.join(cells)} |")
    return rows


def confirmation_note(report: Report) -> str:
    """The confirmation's note, in Markdown: what its trials are, and why the best of them is no answer."""
    verdict = f"**{_plain(report.verdict['sentence'])}**\n\n" if report.verdict is not None else ""
    name = _plain(report.name)
    return (
        f"{verdict}These trainings repeat the best configs of the study {name} with fresh seeds, their twins of equal"
        " weights, and single tasks (the attribute `kind`).\n\n**Do not rank them by score.** A single-task training"
        " is scored on its own task alone, so its score compares with no other; and the best of several seeds is luck."
        f" The study {name} has the verdict."
    )


def _plain(text: object) -> str:
    """A user's text in Markdown, without markup."""
    return " ".join(str(text).translate(MARKUP).split())

"""Results that commands read from the store and print."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtlsearch.tuning.options.groups import QuestionOptions, StudyOptions

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.store.record import Record

T = TypeVar("T")
MOST_SHOWN = 2000  # answers on the screen

MOST_TOLD = 5  # lines on damaged trials


def best_config(record: "Record", options: QuestionOptions) -> "tuple[Mapping[str, Any], Record, FrozenTrial]":
    """The best config of a record, or the one that is asked for, and the record and trial that hold its parameters.

    The sentences that answer a question are under "question".
    """
    from mtlsearch.evidence.answer import best_answer, outdated
    from mtlsearch.evidence.questions.asking import asked_answer, metrics_of, question
    from mtlsearch.terminal import notice

    asked = question(
        list(metrics_of(record.info)),
        at_least=options.at_least,
        maximize=options.maximize,
        prefer=options.prefer,
        knee=options.knee,
        trial=options.trial,
    )
    if asked is not None:
        return asked_answer(record, asked)
    answer = best_answer(record, options.search)
    told = None if options.search else outdated(record, answer[0])
    if told:
        notice(told)
    return answer


def with_record(options: StudyOptions, work: Callable[["Record"], T], artifacts: Path | None = None) -> T:
    """Do `work` on the record of a study, read-only; a study that was not named is told on stderr."""
    from mtlsearch.store.artifacts import artifacts_folder
    from mtlsearch.store.database.opening import open_storage
    from mtlsearch.store.finding import find_record
    from mtlsearch.terminal import notice

    with open_storage(options.storage, create=False) as storage:
        record = find_record(storage, options.wanted, artifacts_folder(options.storage, artifacts))
        if options.wanted is None:
            notice(f"study {record.name}")
        for line in record.damaged()[:MOST_TOLD]:
            notice(line)
        return work(record)


def write_export(
    text: str, output: Path | None, config: Mapping[str, Any], parameters: Path | None, checkpoint: Path | None
) -> None:
    """Write an exported config and its parameters; after a kill both are of one export, or `output` is gone."""
    from mtlsearch.files import replacing_together, telling

    places = [place for place in (checkpoint, output) if place is not None]
    with replacing_together(*places) as partials:
        if checkpoint is not None and parameters is not None:
            from mtlsearch.store.model_file import read_model, write_model

            with telling(checkpoint):
                write_model(partials[0], read_model(parameters)[0], config)
        if output is not None:
            with telling(output):
                partials[-1].write_text(text, encoding="utf-8")
    if output is None:
        click.echo(text, nl=False)


def print_result(config: Mapping[str, Any], as_json: bool, every: bool = False) -> None:
    """Print a config as JSON or as a table; with `every`, all of very many tasks."""
    if as_json:
        click.echo(json.dumps(config))
    else:
        from mtlsearch.report.terminal_table import show_config

        show_config(config, every=every)


def show_verification(result: Mapping[str, Any]) -> None:
    """Each metric, recorded and now."""
    from rich.console import Console
    from rich.table import Table

    from mtlsearch.wording import visible

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "recorded", "now", "allowed difference", ""):
        table.add_column(column)
    for row in result["metrics"]:
        table.add_row(
            visible(row["task"]),
            visible(row["metric"]),
            f"{row['recorded']:.6f}",
            f"{row['now']:.6f}",
            f"{row['allowed']:.6f}",
            "agrees" if row["agrees"] else "DIFFERS",
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print("agrees" if result["agrees"] else "differs", f"(rule: {result['rule']})")


def show_predictions(predictions: Iterable[Mapping[str, Any]], tasks: Mapping[str, Any]) -> None:
    """A line per answer of a task to an example, in the words of the task's kind; `tasks` are the config's.

    A notice tells where examples are left out: thousands of lines are for a file. One example is always shown.
    """
    from rich.console import Console
    from rich.table import Table

    from mtlsearch.tasks.kinds import kind_named
    from mtlsearch.terminal import notice
    from mtlsearch.wording import visible

    rows: list[tuple[str, ...]] = []
    shown, is_left = 0, False
    for prediction in predictions:
        answers = ((task, kind_named(tasks[task]["kind"]).in_lines(a)) for task, a in prediction["tasks"].items())
        lines = [(prediction["input"], task, *line) for task, found in answers for line in found]
        is_left = bool(rows) and len(rows) + len(lines) > MOST_SHOWN
        if is_left:
            break
        rows.extend(lines)
        shown += 1
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("input", "task", "prediction", "probability"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(visible, row))
    Console(highlight=False, markup=False).print(table)
    if is_left:
        first = "the first input is" if shown == 1 else f"the first {shown} inputs are"
        notice(f"only {first} shown: --format csv -o FILE has them all")

"""Results that commands read from the store and print."""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtlsearch.tuning.options import StudyOptions

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.store.record import Record

T = TypeVar("T")
MOST_SHOWN = 1000  # inputs of a prediction on the screen


def best_config(record: "Record", from_search: bool) -> "tuple[Mapping[str, Any], Record, FrozenTrial]":
    """The best config of a record, and the record and trial that hold its parameters."""
    from mtlsearch.evidence.answer import best_answer, outdated
    from mtlsearch.terminal import notice

    answer = best_answer(record, from_search)
    told = None if from_search else outdated(record, answer[0])
    if told:
        notice(told)
    return answer


def with_record(options: StudyOptions, work: Callable[["Record"], T], artifacts: Path | None = None) -> T:
    """Do `work` on the record of a study, read-only; a study that was not named is told on stderr."""
    from mtlsearch.store.artifacts import artifacts_folder
    from mtlsearch.store.database.opening import open_storage
    from mtlsearch.store.record import find_record

    with open_storage(options.storage, create=False) as storage:
        record = find_record(storage, options.wanted, artifacts_folder(options.storage, artifacts))
        if options.wanted is None:
            from mtlsearch.terminal import notice

            notice(f"study {record.name}")
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

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "recorded", "now", "allowed difference", ""):
        table.add_column(column)
    for row in result["metrics"]:
        table.add_row(
            row["task"],
            row["metric"],
            f"{row['recorded']:.6f}",
            f"{row['now']:.6f}",
            f"{row['allowed']:.6f}",
            "agrees" if row["agrees"] else "DIFFERS",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print("agrees" if result["agrees"] else "differs", f"(rule: {result['rule']})")


def show_predictions(predictions: Iterable[Mapping[str, Any]], tasks: Mapping[str, Any]) -> None:
    """A line per answer of a task to an example, in the words of the task's kind; `tasks` are the config's.

    A notice tells where examples are left out: thousands of lines are for a file.
    """
    from rich.console import Console
    from rich.table import Table

    from mtlsearch.tasks.kinds import kind_named
    from mtlsearch.terminal import notice

    found = list(islice(predictions, MOST_SHOWN + 1))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("input", "task", "prediction", "probability"):
        table.add_column(column, overflow="fold")
    for prediction in found[:MOST_SHOWN]:
        for task, answer in prediction["tasks"].items():
            for line in kind_named(tasks[task]["kind"]).in_lines(answer):
                table.add_row(prediction["input"], task, *line)
    Console(highlight=False, markup=False).print(table)
    if len(found) > MOST_SHOWN:
        notice(f"only the first {MOST_SHOWN} inputs are shown: --format csv -o FILE has them all")

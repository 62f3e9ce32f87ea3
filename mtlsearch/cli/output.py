"""Results that commands read from the store and print."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtlsearch.tuning.options import StudyOptions

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.store.record import Record

T = TypeVar("T")

MOST_TOLD = 5  # lines on damaged trials


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
    from mtlsearch.terminal import notice

    with open_storage(options.storage, create=False) as storage:
        record = find_record(storage, options.wanted, artifacts_folder(options.storage, artifacts))
        if options.wanted is None:
            notice(f"study {record.name}")
        for line in record.damaged()[:MOST_TOLD]:
            notice(line)
        return work(record)


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
    """One line per example and task, in the words of the task's kind; `tasks` are the config's."""
    from rich.console import Console
    from rich.table import Table

    from mtlsearch.tasks.kinds import kind_named
    from mtlsearch.wording import visible

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("input", "task", "prediction", "probability"):
        table.add_column(column, overflow="fold")
    for prediction in predictions:
        for task, found in prediction["tasks"].items():
            cells = (prediction["input"], task, *kind_named(tasks[task]["kind"]).in_words(found))
            table.add_row(*map(visible, cells))
    Console(highlight=False, markup=False).print(table)

"""What the commands read from the store and print."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from mtlsearch.store.record import Record

T = TypeVar("T")


def best_config(record: "Record", from_search: bool) -> "tuple[Mapping[str, Any], Record, FrozenTrial]":
    """The best config of a record, and the record and trial that hold its parameters."""
    from mtlsearch.evidence.answer import best_answer, outdated
    from mtlsearch.tuning.progress import notice

    answer = best_answer(record, from_search)
    told = None if from_search else outdated(record, answer[0])
    if told:
        notice(told)
    return answer


def with_record(
    study: str | None, storage: str, name: str | None, artifacts: Path | None, work: Callable[["Record"], T]
) -> T:
    """Do `work` on the record of a study, read-only; a study that was not named is told on stderr."""
    from mtlsearch.store.artifacts import artifacts_folder
    from mtlsearch.store.database.opening import open_storage
    from mtlsearch.store.record import find_record

    wanted = name or (None if study is None else Path(study).stem if study.endswith(".py") else study)
    with open_storage(storage, create=False) as store:
        record = find_record(store, wanted, artifacts_folder(storage, artifacts))
        if wanted is None:
            from mtlsearch.tuning.progress import notice

            notice(f"study {record.name}")
        return work(record)


def print_result(config: Mapping[str, Any], as_json: bool, every: bool = False) -> None:
    """A config as JSON or as a table, on stdout; of very many tasks `every` one on request."""
    if as_json:
        click.echo(json.dumps(config))
    else:
        from mtlsearch.report.terminal_table import show_config

        show_config(config, every=every)

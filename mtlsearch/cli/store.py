"""The commands that read the store: studies, best, export, trials, dashboard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.cli.options import PATH, artifacts_option, json_option, name_option, storage_option
from mtlsearch.cli.output import best_config, print_result, with_record

if TYPE_CHECKING:
    from mtlsearch.store.record import Record


@click.command()
@json_option
def studies(as_json: bool) -> None:
    """List the shipped studies, with what each needs."""
    from mtlsearch.study.study_file import load_study, shipped_studies
    from mtlsearch.terminal import show_rows
    from mtlsearch.wording import few

    found = {name: load_study(name) for name in shipped_studies()}
    columns = ["study", "tasks", "needs", "description"]
    rows = [(name, s.task_names, s.needs, s.description) for name, s in found.items()]
    if as_json:
        whole = [(name, ", ".join(tasks), *rest) for name, tasks, *rest in rows]
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in whole]))
    else:
        show_rows(columns, [(name, few(tasks), *rest) for name, tasks, *rest in rows])


@click.command()
@click.argument("study", required=False)
@storage_option
@name_option
@artifacts_option
@click.option("--search", "from_search", is_flag=True, help="Optuna's best trial, before confirmation.")
@click.option("--all", "every", is_flag=True, help="Every task, where they are many.")
@json_option
def best(
    study: str | None,
    storage: str,
    name: str | None,
    artifacts: Path | None,
    from_search: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Show the best config of STUDY: task weights, hyperparameters, per-task metrics, and the verdict."""
    config = with_record(study, storage, name, artifacts, lambda record: best_config(record, from_search)[0])
    print_result(config, as_json, every)


@click.command()
@click.argument("study", required=False)
@storage_option
@name_option
@artifacts_option
@click.option("-o", "--output", type=PATH, help="The JSON file. [default: stdout]")
@click.option("--checkpoint", type=PATH, help="Write the trained parameters too (safetensors).")
@click.option("--search", "from_search", is_flag=True, help="Optuna's best trial, before confirmation.")
def export(
    study: str | None,
    storage: str,
    name: str | None,
    artifacts: Path | None,
    output: Path | None,
    checkpoint: Path | None,
    from_search: bool,
) -> None:
    """Export the best config of STUDY as JSON, and its trained parameters."""
    from mtlsearch.files import check_writable, write_text

    check_writable(output, checkpoint)

    def work(record: "Record") -> Mapping[str, Any]:
        config, holder, trial = best_config(record, from_search)
        if checkpoint is not None:
            from mtlsearch.store.model_file import read_model, save_model
            from mtlsearch.store.record import best_artifact

            state, _ = read_model(best_artifact(holder, trial))
            save_model(checkpoint, state, config)
        return config

    text = json.dumps(with_record(study, storage, name, artifacts, work), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)


@click.command()
@click.argument("study", required=False)
@storage_option
@name_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", type=PATH, help="The file. [default: stdout]")
def trials(study: str | None, storage: str, name: str | None, kind: str, output: Path | None) -> None:
    """Every trial of STUDY."""
    from mtlsearch.cli.frames import write_frame
    from mtlsearch.store.trials import trials_frame

    write_frame(with_record(study, storage, name, None, trials_frame), kind, output)


@click.command()
@storage_option
@artifacts_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(storage: str, artifacts: Path | None, host: str, port: int) -> None:
    """Browse the store with optuna-dashboard."""
    from mtlsearch.report.serving import serve

    serve(storage, artifacts, host, port)

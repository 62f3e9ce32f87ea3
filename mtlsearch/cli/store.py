"""The commands that read the store: studies, best, export, trials, dashboard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.cli.options import json_option, takes
from mtlsearch.cli.output import best_config, print_result, with_record, write_export
from mtlsearch.errors import UsageError
from mtlsearch.tuning.options.reading import BestOptions, DashboardOptions, ExportOptions, TrialsOptions

if TYPE_CHECKING:
    from mtlsearch.store.record import Record


@click.command()
@json_option
def studies(as_json: bool) -> None:
    """List the shipped studies, with what each needs."""
    from mtlsearch.study.shipped import shipped_studies
    from mtlsearch.study.study_file import load_study
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
@takes(BestOptions)
@json_option
def best(options: BestOptions, as_json: bool) -> None:
    """Show the best config, its metrics and the verdict.

    Or ask for another trial: one that reaches a metric, is best in a task, or trades the tasks off in a given way.
    """

    def work(record: "Record") -> Mapping[str, Any]:
        from mtlsearch.evidence.importance.mattered import said
        from mtlsearch.evidence.questions.fronts import front_table
        from mtlsearch.study.score import PARETO

        config = best_config(record, options)[0]
        if "question" in config:
            return config
        lines = said(record, record.best_or_none())
        front = front_table(record) if record.info["score"] == PARETO else None
        more = {"front": front} if front else {}
        return {**config, **more, **({"mattered": {"lines": lines}} if lines else {})}

    config = with_record(options, work, options.artifacts_path)
    print_result(config, as_json, options.every)


@click.command()
@click.argument("study", required=False)
@takes(ExportOptions)
def export(options: ExportOptions) -> None:
    """Export the best config as JSON, and its parameters.

    With a question, as `best` takes it, they are those of another trial. With --model it writes the model for use
    without mtlsearch; with --grouping a study file for each group of tasks that `group` recommends.
    """
    if options.grouping:
        export_grouping(options)
        return
    if options.model is not None:
        export_model(options, options.model)
        return
    if options.format is not None:
        raise UsageError("--format adds a program to a model: name its folder by --model")
    from mtlsearch.files import check_writable
    from mtlsearch.terminal import notice

    check_writable(options.output, options.checkpoint)

    def work(record: "Record") -> tuple[Mapping[str, Any], Path | None]:
        config, holder, trial = best_config(record, options)
        return config, None if options.checkpoint is None else holder.parameters(trial)

    found, parameters = with_record(options, work, options.artifacts_path)
    config = dict(found)
    for line in config.pop("question", {}).get("lines", ()):
        notice(line)
    write_export(json.dumps(config, indent=2) + "\n", options.output, config, parameters, options.checkpoint)


def export_model(options: ExportOptions, folder: Path) -> None:
    """Write the best model into a folder, and say what is there."""
    from mtlsearch.collection import without_collection

    if options.output is not None or options.checkpoint is not None:
        raise UsageError("--model writes the config and the parameters too: it goes with neither -o nor --checkpoint")
    with without_collection():
        from mtlsearch.inference.plain.folder import TOLERANCE, check_place, write_folder
        from mtlsearch.store.config_file import config_of
        from mtlsearch.store.model_file import read_model, study_of, trained
        from mtlsearch.terminal import notice
        from mtlsearch.wording import listed
    check_place(folder, options.format)

    def work(record: "Record") -> tuple[Mapping[str, Any], Path]:
        config, holder, trial = best_config(record, options)
        return config, holder.parameters(trial)

    config, parameters = with_record(options, work, options.artifacts_path)
    study = study_of(config, options.definition)
    model = trained(study, config, read_model(parameters)[0], str(parameters))
    files = write_folder(model, study.own(config_of(config, study), seed=0), folder, options.format)
    notice(f"{folder} holds {listed(files)}: outputs are those of predict within {TOLERANCE:.0e}")


def export_grouping(options: ExportOptions) -> None:
    """Write a study file for each recommended group, and say how to run them."""
    from mtlsearch.terminal import notice
    from mtlsearch.tuning.grouping.export import grouping_files, write_grouping

    if options.checkpoint is not None or options.search or options.model is not None:
        raise UsageError("--grouping writes study files: it goes with neither --checkpoint, --model nor --search")
    folder = options.output or Path()
    files = with_record(options, lambda record: grouping_files(record, folder), options.artifacts_path)
    write_grouping(files)
    for path in files:
        click.echo(f"mtlsearch run {path}")
    notice("each search finds the task weights of its group")


@click.command()
@click.argument("study", required=False)
@takes(TrialsOptions)
def trials(options: TrialsOptions) -> None:
    """Show every trial, as a table, CSV, JSON or Parquet.

    With --to it tells them to MLflow or TensorBoard.
    """
    if options.to is not None or options.mlflow is not None or options.tensorboard is not None:
        tell_trials(options)
        return
    from mtlsearch.cli.frames import write_frame
    from mtlsearch.store.trials import trials_frame

    frame = with_record(options, lambda record: trials_frame(record.trials()))
    write_frame(frame, options.format, options.output, options.raw)


def tell_trials(options: TrialsOptions) -> None:
    """Tell the stored trials, and the verdict where there is one, to MLflow or TensorBoard."""
    from mtlsearch.errors import UsageError
    from mtlsearch.evidence.trainings import found_verdict
    from mtlsearch.report.tracking.choosing import DEFAULT_FOLDER, trackers
    from mtlsearch.report.tracking.tracker import tell_all
    from mtlsearch.terminal import notice

    if options.output is not None:
        raise UsageError("--to writes no file: it goes without -o")
    mlflow = options.mlflow if options.mlflow is not None or options.to != "mlflow" else ""
    folder = options.tensorboard or (DEFAULT_FOLDER if options.to == "tensorboard" else None)

    def work(record: "Record") -> int:
        told = 0
        for tracker in trackers(mlflow, folder, record.name):
            told = tell_all(tracker, record.trials(), found_verdict(record))
            tracker.close()
        return told

    notice(f"told {with_record(options, work)} trials")


@click.command()
@takes(DashboardOptions)
def dashboard(options: DashboardOptions) -> None:
    """Browse the store with optuna-dashboard."""
    from mtlsearch.report.serving import serve

    serve(options.storage, options.artifacts_path, options.host, options.port)

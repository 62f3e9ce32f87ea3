"""The commands on one config or model: train, verify, predict."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mtlsearch.cli.options import PATH, json_option, takes
from mtlsearch.cli.output import print_result
from mtlsearch.collection import without_collection
from mtlsearch.errors import UsageError
from mtlsearch.tuning.options.reading import PredictOptions
from mtlsearch.tuning.options.training import TrainOptions, VerifyOptions


@click.command()
@click.argument("what", metavar="CONFIG.json|STUDY")
@takes(TrainOptions)
@json_option
def train(options: TrainOptions, as_json: bool) -> None:
    """Train an exported config, or a study's default one.

    It prints validation and test metrics.
    """
    with without_collection():
        from mtlsearch.errors import ConfigError
        from mtlsearch.files import check_writable
        from mtlsearch.store.model_file import rescue_model, save_model
        from mtlsearch.terminal import notice
        from mtlsearch.tuning.retrain import train_command
        from mtlsearch.wording import described

    check_writable(options.output)

    def on_epoch(result: Any) -> None:
        if not options.quiet:
            notice(f"epoch {result.epoch + 1}: {described(result.validation)}")

    config, state = train_command(options, on_epoch)
    failed = None
    if options.output is not None:
        try:
            save_model(options.output, state, config)
        except ConfigError as error:
            failed = rescue_model(options.output, state, config, error)
    print_result(config, as_json)
    if failed is not None:
        raise failed


@click.command()
@click.argument("config", type=PATH)
@takes(VerifyOptions)
@json_option
def verify(options: VerifyOptions, as_json: bool) -> None:
    """Train a config again and compare the recorded metrics."""
    with without_collection():
        from mtlsearch.cli.output import show_verification
        from mtlsearch.tuning.retrain import verify_command

    result = verify_command(options)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_verification(result)
    if not result["agrees"]:
        sys.exit(1)


@click.command()
@click.argument("model", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@takes(PredictOptions)
@json_option
def predict(options: PredictOptions, model: Path, inputs: tuple[Path, ...], as_json: bool) -> None:
    """Predict every task for inputs from files.

    INPUTS are pictures, .npy arrays, tables, or .txt files of a text a line. With --format csv, json or parquet, each
    row keeps the table's own columns.
    """
    with without_collection():
        from mtlsearch.cli.frames import check_format, sorted_by, write_frame
        from mtlsearch.cli.output import show_predictions
        from mtlsearch.inference.predict import predict_files, predict_frame
        from mtlsearch.store.model_file import load_model

    check_format(options.format, options.output, options.raw)
    if as_json and options.format != "table":
        raise UsageError("--json prints one nested object: use either --json or --format")
    module = load_model(model, options.study_path)
    if options.format != "table":
        write_frame(sorted_by(predict_frame(module, inputs), options.sort), options.format, options.output, options.raw)
    elif options.sort is not None:
        raise UsageError("--sort orders the rows of --format csv, json or parquet: name one of them")
    elif as_json:
        click.echo(json.dumps({"predictions": list(predict_files(module, inputs))}))
    else:
        show_predictions(predict_files(module, inputs), module.tasks)

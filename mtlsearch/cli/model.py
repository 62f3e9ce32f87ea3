"""The commands on one config or model: train, verify, predict."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mtlsearch.cli.options import PATH, json_option, takes
from mtlsearch.cli.output import print_result
from mtlsearch.importing import importing
from mtlsearch.tuning.options import StudyPathOptions, TrainOptions, VerifyOptions


@click.command()
@click.argument("what", metavar="CONFIG.json|STUDY")
@takes(TrainOptions)
@json_option
def train(options: TrainOptions, as_json: bool) -> None:
    """Train an exported config, or a study's default one.

    It prints validation and test metrics.
    """
    with importing():
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
    with importing():
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
@takes(StudyPathOptions)
@json_option
def predict(options: StudyPathOptions, model: Path, inputs: tuple[Path, ...], as_json: bool) -> None:
    """Predict every task for inputs from files.

    INPUTS are pictures, .npy arrays, .csv tables, or .txt files of a text a line.
    """
    with importing():
        from mtlsearch.cli.output import show_predictions
        from mtlsearch.inference.predict import predict_files
        from mtlsearch.store.model_file import read_model, restore, study_of

    state, config = read_model(model)
    module = restore(study_of(config, options.study_path), config, state, str(model))
    predictions = list(predict_files(module, config, inputs))
    if as_json:
        click.echo(json.dumps({"predictions": predictions}))
    else:
        show_predictions(predictions, config["tasks"])

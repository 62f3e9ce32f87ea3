"""The commands on one config or model: train, verify, predict."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mtlsearch.cli.options import PATH, data_option, device_option, json_option, study_option, threads_option
from mtlsearch.cli.output import print_result
from mtlsearch.files import data_directory
from mtlsearch.importing import importing


@click.command()
@click.argument("what", metavar="CONFIG.json|STUDY")
@click.option("-o", "--output", type=PATH, help="Write the trained parameters (safetensors).")
@data_option
@device_option
@click.option("--seed", type=click.IntRange(0), help="[default: the config's, or 0]")
@click.option("--epochs", type=click.IntRange(1), help="[default: the config's, or the study's]")
@threads_option
@study_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def train(
    what: str, output: Path | None, data: Path | None, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Train an exported config, or a study's default config; validation and test metrics."""
    with importing():
        from mtlsearch.files import check_writable
        from mtlsearch.store.model_file import save_model
        from mtlsearch.terminal import notice
        from mtlsearch.tuning.retrain import train_command
        from mtlsearch.wording import described

    check_writable(output)

    def on_epoch(result: Any) -> None:
        if not quiet:
            notice(f"epoch {result.epoch + 1}: {described(result.validation)}")

    config, state = train_command(what, data_directory(data), on_epoch=on_epoch, **values)
    if output is not None:
        save_model(output, state, config)
    print_result(config, as_json)


@click.command()
@click.argument("config", type=PATH)
@data_option
@device_option
@threads_option
@study_option
@json_option
def verify(config: Path, data: Path | None, as_json: bool, **values: Any) -> None:
    """Train an exported config again and hold the result against its recorded metrics."""
    with importing():
        from mtlsearch.cli.output import show_verification
        from mtlsearch.tuning.retrain import verify_command

    result = verify_command(config, data_directory(data), **values)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_verification(result)
    if not result["agrees"]:
        sys.exit(1)


@click.command()
@click.argument("model", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@study_option
@json_option
def predict(model: Path, inputs: tuple[Path, ...], study_path: str | None, as_json: bool) -> None:
    """Every task's prediction for INPUTS: pictures, .npy arrays, .csv tables, .txt files of a text a line."""
    with importing():
        from mtlsearch.cli.output import show_predictions
        from mtlsearch.inference.predict import predict_files
        from mtlsearch.store.model_file import read_model, restore, study_of

    state, config = read_model(model)
    module = restore(study_of(config, study_path), config, state, str(model))
    predictions = list(predict_files(module, config, inputs))
    if as_json:
        click.echo(json.dumps({"predictions": predictions}))
    else:
        show_predictions(predictions)

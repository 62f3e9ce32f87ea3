"""The commands that train: run, confirm."""

from pathlib import Path
from typing import Any

import click

from mtlsearch.cli.interrupt import interruptible
from mtlsearch.cli.options import (
    artifacts_option,
    assignments,
    data_option,
    device_option,
    json_option,
    name_option,
    precision_option,
    seeds_option,
    single_option,
    storage_option,
    study_option,
    threads_option,
    top_option,
    total_trials,
)
from mtlsearch.cli.output import print_result
from mtlsearch.files import data_directory
from mtlsearch.importing import importing


@click.command()
@click.argument("study", required=False)
@click.option(
    "--trials",
    type=int,
    default=100,
    show_default=True,
    callback=total_trials,
    help="The total of the study's trials, earlier runs included.",
)
@storage_option
@name_option
@data_option
@device_option
@click.option(
    "--seed", type=click.IntRange(0), help="Seed of initialisation, batches, noise and sampler. [default: 0]"
)
@click.option("--sampler", default="tpe", show_default=True, help="tpe, random, gp, or an import path.")
@click.option(
    "--pruner",
    default="peers",
    show_default=True,
    help="peers, median, hyperband, halving, none, or an import path.",
)
@click.option("--score", help="mean or min over the tasks. [default: the study's]")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of a trial. [default: the study's]")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), help="Seconds after which nothing new is trained."
)
@click.option(
    "--population",
    type=click.IntRange(1),
    help="Trials in training at once; 1 trains them solo. [default: 16, on CUDA more for many trials]",
)
@threads_option
@precision_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=assignments,
    metavar="NAME=VALUE",
    help="Fix a dimension of the space.",
)
@artifacts_option
@click.option("--no-confirm", is_flag=True, help="Do not train the best configs again after the search.")
@seeds_option
@top_option
@single_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def run(
    as_json: bool,
    quiet: bool,
    no_confirm: bool,
    seeds: int,
    top: int,
    single: bool | None,
    data: Path | None,
    **values: Any,
) -> None:
    """Search STUDY (a shipped name or a file) until it has --trials trials; the same command goes on.

    Then the best configs are trained again with fresh seeds, and a verdict is given on their task weights.
    """
    with importing():
        from mtlsearch.tuning.confirm import Confirming
        from mtlsearch.tuning.run import RunOptions, run_search

    confirming = None if no_confirm else Confirming(seeds, top, single)
    options = RunOptions(data=data_directory(data), confirming=confirming, **values)
    config = interruptible(lambda *told: run_search(options, *told), options.trials, quiet)
    print_result(config, as_json)


@click.command()
@click.argument("study", required=False)
@storage_option
@name_option
@data_option
@device_option
@threads_option
@precision_option
@artifacts_option
@study_option
@seeds_option
@top_option
@single_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def confirm(
    as_json: bool, quiet: bool, seeds: int, top: int, single: bool | None, data: Path | None, **values: Any
) -> None:
    """Train the best configs of STUDY again with fresh seeds, and give a verdict; the same command goes on.

    Each is held against its twin of equal task weights, and against single-task training. A user's study is
    named by the path of its file, or with --study.
    """
    with importing():
        from mtlsearch.tuning.confirm import Confirming
        from mtlsearch.tuning.run import ConfirmOptions, confirm_command

    options = ConfirmOptions(data=data_directory(data), confirming=Confirming(seeds, top, single), **values)
    print_result(interruptible(lambda *told: confirm_command(options, *told), 0, quiet), as_json)

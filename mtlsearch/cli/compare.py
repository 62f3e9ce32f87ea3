"""The command that compares weighting methods: compare."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mtlsearch.cli.interrupt import interruptible
from mtlsearch.cli.options import (
    artifacts_option,
    data_option,
    device_option,
    json_option,
    name_option,
    precision_option,
    storage_option,
    threads_option,
    total_trials,
)
from mtlsearch.files import data_directory
from mtlsearch.importing import importing

DEFAULT_METHODS = "equal,tuned,uncertainty,rlw,dwa,famo,geometric"


def listed(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


@click.command()
@click.argument("study", required=False)
@click.option(
    "--methods",
    default=DEFAULT_METHODS,
    show_default=True,
    callback=listed,
    help="Also: scale-invariant; and with mtlsearch[jd] upgrad, mgda, pcgrad, cagrad, nashmtl, imtlg, aligned-mtl,"
    " dualproj.",
)
@click.option(
    "--trials",
    type=int,
    default=50,
    show_default=True,
    callback=total_trials,
    help="The total of each method's trials, earlier runs included.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Fresh seeds with which each method's best config is trained again.",
)
@storage_option
@name_option
@data_option
@device_option
@threads_option
@precision_option
@click.option(
    "--population",
    type=click.IntRange(1),
    help="Trials in training at once; 1 trains them solo. [default: the study's]",
)
@click.option("--sampler", default="tpe", show_default=True, help="tpe, random, gp, or an import path.")
@click.option(
    "--pruner",
    default="peers",
    show_default=True,
    help="peers, median, hyperband, halving, none, or an import path.",
)
@artifacts_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def compare(as_json: bool, quiet: bool, data: Path | None, **values: Any) -> None:
    """Compare task-weighting methods on STUDY (a shipped name or a file), fairly; the same command goes on.

    Each method searches the other hyperparameters with the same budget, and its best config is trained again
    with the same fresh seeds. Equal weights are always among them: the others are held against those.
    """
    with importing():
        from mtlsearch.tuning.compare import CompareOptions, compare_command

    options = CompareOptions(data=data_directory(data), **values)
    result = interruptible(lambda *told: compare_command(options, *told), options.trials, quiet)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_comparison(result)


def show_comparison(result: Mapping[str, Any]) -> None:
    """The table of methods, then what it says."""
    from rich.console import Console

    from mtlsearch.evidence.comparison import table
    from mtlsearch.study.study import SCORES
    from mtlsearch.terminal import show_rows

    score = result["score"] if result["score"] in SCORES else lambda values: 0.0
    columns, rows = table(result, score)
    hidden = show_rows(columns, rows, fit=True)
    console = Console(highlight=False)
    console.print()
    for line in result["lines"]:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    if hidden:
        more = "1 more column has" if hidden == 1 else f"{hidden} more columns have"
        console.print(f"{more} no room here: --json has all")

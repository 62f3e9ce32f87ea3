"""The options that several commands take, and how what they give is checked."""

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

storage_option = click.option(
    "--storage",
    default="sqlite:///mtlsearch.db",
    envvar="MTLSEARCH_STORAGE",
    show_default=True,
    show_envvar=True,
    help="The store's URL.",
)
name_option = click.option(
    "--name", help="The study's name in the store. [default: the shipped name or the file's stem]"
)
data_option = click.option(
    "--data",
    type=PATH,
    envvar="MTLSEARCH_DATA",
    show_envvar=True,
    help="The data directory. [default: the user's cache]",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
threads_option = click.option("--threads", type=click.IntRange(1), help="CPU threads. [default: the cores]")
study_option = click.option(
    "--study", "study_path", help="The study file of a user's config or model; its code runs."
)
artifacts_option = click.option(
    "--artifacts", type=PATH, help="Where parameters are kept. [default: beside a SQLite store]"
)
seeds_option = click.option(
    "--seeds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Fresh seeds with which each confirmed config is trained again.",
)
top_option = click.option(
    "--top",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many of the best configs are confirmed.",
)
single_option = click.option(
    "--single/--no-single",
    default=None,
    help="Train each task alone too. [default: where there are at most 8 tasks]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of matrix products.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


def total_trials(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value < 1:
        raise click.BadParameter(f"a search needs 1 trial or more, but got {value}")
    return value


def assignments(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=") for value in values]
    for value, (name, equals, text) in zip(values, pairs, strict=True):
        if not (name and equals and text):
            raise click.BadParameter(f"it must be NAME=VALUE, but got {value!r}")
    return tuple((name, text) for name, _, text in pairs)

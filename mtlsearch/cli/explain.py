"""The command that shows why a model answers as it does."""

import json
from pathlib import Path

import click

from mtlsearch.cli.options import PATH, json_option, study_option
from mtlsearch.importing import importing


@click.command()
@click.argument("model", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("explained.html"),
    show_default=True,
    help="The HTML file, or for pictures a .png.",
)
@study_option
@json_option
def explain(
    model: Path, inputs: tuple[Path, ...], output: Path, study_path: str | None, as_json: bool
) -> None:
    """Why MODEL answers as it does to INPUTS (as for predict): integrated gradients per task, and the trunk's use."""
    with importing():
        from mtlsearch.inference.explain import explain_files
        from mtlsearch.inference.writing import as_json as numbers
        from mtlsearch.inference.writing import check_place, show_explanation, write_explanation
        from mtlsearch.store.model_file import read_model, restore, study_of

    check_place(output)
    state, config = read_model(model)
    module = restore(study_of(config, study_path), config, state, str(model))
    explanation = explain_files(module, config, inputs)
    write_explanation(explanation, output)
    if as_json:
        click.echo(json.dumps(numbers(explanation)))
    else:
        show_explanation(explanation)

"""The command that shows why a model answers as it does."""

import json
from pathlib import Path

import click

from mtlsearch.cli.options import PATH, json_option, takes
from mtlsearch.collection import without_collection
from mtlsearch.tuning.options.reading import ExplainOptions


@click.command()
@click.argument("model", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@takes(ExplainOptions)
@json_option
def explain(options: ExplainOptions, model: Path, inputs: tuple[Path, ...], as_json: bool) -> None:
    """Show what of the inputs each task's answer goes by.

    INPUTS are as for predict. Integrated gradients attribute each task's answer to the input, and the trunk's units
    are counted by the tasks that use them.
    """
    with without_collection():
        from mtlsearch.inference.explain import explain_files
        from mtlsearch.inference.writing import as_json as numbers
        from mtlsearch.inference.writing import check_place, show_explanation, write_explanation
        from mtlsearch.store.model_file import read_model, restore, study_of

    check_place(options.output)
    state, config = read_model(model)
    module = restore(study_of(config, options.study_path), config, state, str(model))
    explanation = explain_files(module, config, inputs)
    write_explanation(explanation, options.output)
    if as_json:
        click.echo(json.dumps(numbers(explanation)))
    else:
        show_explanation(explanation)

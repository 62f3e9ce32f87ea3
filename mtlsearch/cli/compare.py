"""The command that compares weighting methods: compare."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.activity import doing, stoppable
from mtlsearch.cli.interrupt import LOADING, interruptible
from mtlsearch.cli.options import json_option, takes
from mtlsearch.collection import without_collection
from mtlsearch.tuning.options.training import CompareOptions

if TYPE_CHECKING:
    from threading import Event

    from mtlsearch.tuning.progress import Progress


@click.command()
@click.argument("study", required=False)
@takes(CompareOptions)
@click.option("--all", "every", is_flag=True, help="Show every task, in a table of its own.")
@json_option
def compare(options: CompareOptions, every: bool, as_json: bool) -> None:
    """Compare task-weighting methods at equal budgets.

    STUDY is a shipped name or a file. Each method searches the other hyperparameters with the same budget, and its
    best config is trained again with the same fresh seeds. Equal weights are always among the methods: the others are
    held against those. The same command goes on where it stopped.
    """

    def work(progress: "Progress", stop: "Event") -> Mapping[str, Any]:
        with stoppable(), doing(LOADING), without_collection():
            from mtlsearch.tuning.compare import compare_command
        return compare_command(options, progress, stop)

    result = interruptible(work, options.trials, options.quiet)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_comparison(result, every)


def show_comparison(result: Mapping[str, Any], every: bool = False) -> None:
    """The table of methods, with `every` one of the tasks, then what they say."""
    from rich.console import Console

    from mtlsearch.evidence.comparison import compared_tasks, table, task_table
    from mtlsearch.study.score import recorded_score
    from mtlsearch.terminal import show_rows
    from mtlsearch.wording import visible

    columns, rows = table(result, recorded_score(result))
    tasks, shown = task_table(result), compared_tasks(result)
    hidden = show_rows(columns, rows, fit=True)
    console = Console(highlight=False)
    if every:
        console.print()
        hidden = show_rows(*tasks, fit=True)
    console.print()
    for line in result["lines"]:
        console.print(visible(line), markup=False, soft_wrap=not console.is_terminal)
    left = len(tasks[1]) - len(shown)
    if left and not every:
        some = f"of {len(tasks[1])} tasks those that the best method changes most, up and down"
        console.print(f"{some}: --all has the others", soft_wrap=not console.is_terminal)
    if hidden:
        more = "1 more column has" if hidden == 1 else f"{hidden} more columns have"
        console.print(f"{more} no room here: {'--json' if every else '--all'} has all")

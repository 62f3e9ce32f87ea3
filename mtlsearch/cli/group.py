"""The command that finds which tasks belong together: group."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.activity import doing, stoppable
from mtlsearch.cli.interrupt import LOADING, interruptible
from mtlsearch.cli.options import json_option, takes
from mtlsearch.collection import without_collection
from mtlsearch.tuning.options.training import GroupOptions

if TYPE_CHECKING:
    from threading import Event

    from mtlsearch.tuning.progress import Progress


@click.command()
@click.argument("study", required=False)
@takes(GroupOptions)
@json_option
def group(options: GroupOptions, as_json: bool) -> None:
    """Find which tasks belong together in one trunk.

    STUDY is a shipped name or a file, of 2 to 12 tasks. Each pair of tasks and each task alone is trained with fresh
    seeds; the best groupings that follow are trained as wholes with other seeds, and scored on test. The same command
    goes on where it stopped, and then shows the stored answer. `export --grouping` writes the studies to run.
    """

    def work(progress: "Progress", stop: "Event") -> Mapping[str, Any]:
        with stoppable(), doing(LOADING), without_collection():
            from mtlsearch.tuning.grouping.command import group_command
        return group_command(options, progress, stop)

    result = interruptible(work, 0, options.quiet)
    if as_json:
        click.echo(json.dumps(result))
    else:
        show_grouping(result)


def show_grouping(result: Mapping[str, Any]) -> None:
    """The lines of the answer, the groupings, and what each task gains from each other one."""
    from rich.console import Console

    from mtlsearch.evidence.grouping.answer import affinity_table, grouping_table
    from mtlsearch.terminal import show_rows
    from mtlsearch.wording import visible

    console = Console(highlight=False)
    for line in result["lines"]:
        console.print(visible(line), markup=False, soft_wrap=not console.is_terminal)
    console.print()
    show_rows(*grouping_table(result))
    console.print()
    show_rows(*affinity_table(result))

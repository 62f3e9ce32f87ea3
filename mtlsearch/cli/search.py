"""The commands that search and confirm: run, confirm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.activity import doing, stoppable
from mtlsearch.cli.interrupt import LOADING, interruptible
from mtlsearch.cli.options import json_option, takes
from mtlsearch.cli.output import print_result
from mtlsearch.collection import without_collection
from mtlsearch.tuning.options.training import ConfirmOptions, RunOptions

if TYPE_CHECKING:
    from threading import Event

    from mtlsearch.tuning.progress import Progress


@click.command()
@click.argument("study", required=False)
@takes(RunOptions)
@json_option
def run(options: RunOptions, as_json: bool) -> None:
    """Search a study until it has its trials.

    STUDY is a shipped name or a file. The same command goes on where it stopped. Then the best configs are trained
    again with fresh seeds, and a verdict is given on their task weights.

    One device needs no option. Several devices of this machine take --devices, a cluster with Ray --ray. On a cluster
    without Ray give the same command in each job, with one PostgreSQL store.
    """

    def work(progress: "Progress", stop: "Event") -> Mapping[str, Any]:
        with stoppable(), doing(LOADING), without_collection():
            from mtlsearch.tuning.run import run_search
        return run_search(options, progress, stop)

    print_result(interruptible(work, options.trials, options.quiet), as_json)


@click.command()
@click.argument("study", required=False)
@takes(ConfirmOptions)
@json_option
def confirm(options: ConfirmOptions, as_json: bool) -> None:
    """Train the best configs again with fresh seeds; a verdict.

    Each is held against its twin of equal task weights, and against single-task training. The same command goes on
    where it stopped. A user's study is named by the path of its file, or with --study.
    """

    def work(progress: "Progress", stop: "Event") -> Mapping[str, Any]:
        with stoppable(), doing(LOADING), without_collection():
            from mtlsearch.tuning.confirm import confirm_command
        return confirm_command(options, progress, stop)

    print_result(interruptible(work, 0, options.quiet), as_json)

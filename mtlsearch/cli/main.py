"""The command line: every command parses, calls the library and prints; heavy imports happen inside it."""

import sys
from functools import partial
from typing import Any

import click

from mtlsearch import __version__
from mtlsearch.cli.client import fetch, status, stop, submit
from mtlsearch.cli.compare import compare
from mtlsearch.cli.ending import forget_stdout, status_of
from mtlsearch.cli.explain import explain
from mtlsearch.cli.group import group
from mtlsearch.cli.init import init
from mtlsearch.cli.model import predict, train, verify
from mtlsearch.cli.report import report
from mtlsearch.cli.search import confirm, run
from mtlsearch.cli.serve import serve
from mtlsearch.cli.store import best, dashboard, export, studies, trials
from mtlsearch.collection import exit_soon

HELP_WIDTH = 110

# The commands as `--help` lists them. A new command goes into the group of its question.
GROUPS = {
    "Search": (run, studies, init),
    "Answer": (best, confirm, compare, group, export),
    "Model": (train, verify, predict, explain),
    "Look": (trials, report, dashboard),
    "Service": (serve, submit, status, stop, fetch),
}


class Commands(click.Group):
    """Lists commands in groups, and ends with the status of `status_of`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, self.commands))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                rows = [(f"{each.name:{longest}}", each.get_short_help_str(100)) for each in commands]
                formatter.write_dl(rows)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        called = partial(super().main, *args, standalone_mode=False, **extra)
        return sys.exit(status_of(called)) if standalone_mode else called()

    def invoke(self, ctx: click.Context) -> Any:
        exit_soon()
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader (head, say) has seen enough.
            forget_stdout()
            sys.exit(1)


@click.group(
    "mtlsearch",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH},
)
@click.version_option(__version__, prog_name="mtlsearch")
def main() -> None:
    """Find the task weights and hyperparameters of a multi-task PyTorch model, with evidence."""


for listed in GROUPS.values():
    for command in listed:
        main.add_command(command)

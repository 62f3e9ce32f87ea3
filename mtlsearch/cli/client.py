"""The commands that talk to a server: submit, status, stop, fetch."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from mtlsearch.cli.interrupt import INTERRUPTED
from mtlsearch.cli.options import json_option, takes
from mtlsearch.service.options import FetchOptions, ServerOptions, StatusOptions, StopOptions, SubmitOptions
from mtlsearch.tuning.options.flags import Options
from mtlsearch.tuning.options.training import RunOptions

if TYPE_CHECKING:
    from mtlsearch.service.remote.client import RemoteSearch, Service

SHOWN = ("id", "state", "study", "trials", "best", "submitted", "verdict or reason")


@click.command()
@click.argument("study")
@takes(RunOptions, SubmitOptions, remote=True)
@json_option
def submit(search: RunOptions, options: SubmitOptions, study: str, as_json: bool) -> None:
    """Submit a search to a server.

    STUDY is a shipped name, or the path of a file below the server's --studies. With --wait it shows the search until
    its end; Ctrl-C ends the showing, not the search.
    """
    given = changed(search)
    submitted = service(options).submit(study, priority=options.priority, key=options.key, **given)
    if not options.wait:
        now = submitted.status()
        click.echo(json.dumps(now) if as_json else f"search {now['id']} of study {now['name']} is {now['state']}")
        return
    follow(submitted, as_json)


@click.command()
@click.argument("search", required=False)
@takes(StatusOptions)
@json_option
def status(options: StatusOptions, search: str | None, as_json: bool) -> None:
    """Show a server's searches, or one of them.

    SEARCH is its id, or the name of its study where that is unique.
    """
    from mtlsearch.errors import UsageError

    server = service(options)
    if search is None:
        if options.wait:
            raise UsageError("--wait follows one search: name it")
        found = server.searches()
        if as_json:
            click.echo(json.dumps(found))
        else:
            show_searches(found)
    elif options.wait:
        follow(server.search(search), as_json)
    else:
        show_search(server.search(search).status(), as_json)


@click.command()
@click.argument("search")
@takes(StopOptions)
@json_option
def stop(options: StopOptions, search: str, as_json: bool) -> None:
    """Stop a search of a server; what it has is kept.

    The first call lets it store what is in training, the second ends it at once.
    """
    show_search(service(options).search(search).stop(), as_json)


@click.command()
@click.argument("search")
@takes(FetchOptions)
def fetch(options: FetchOptions, search: str) -> None:
    """Fetch a search's best config, parameters and report.

    Without an option it prints the best config as JSON.
    """
    from mtlsearch.files import check_writable

    files = {"checkpoint": options.checkpoint, "report": options.report, "trials": options.trials}
    check_writable(options.output, *files.values())
    found = service(options).search(search)
    for what, path in files.items():
        if path is not None:
            found.save(what, path)
    if options.output is not None:
        found.save("export", options.output)
    elif not any(files.values()):
        click.echo(json.dumps(found.best(), indent=2))


def service(options: ServerOptions) -> "Service":
    """The server that a command talks to."""
    from mtlsearch.service.remote.client import connect

    return connect(options.server, options.token_file)


def changed(options: Options) -> dict[str, Any]:
    """The options that differ from their defaults, as a server takes them."""
    from pathlib import Path

    found = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if "flag" in each.metadata and not each.metadata["flag"].local and value != each.default:
            found[each.name] = str(value) if isinstance(value, Path) else value
    return found


def show_searches(found: list[dict[str, Any]]) -> None:
    """A line for each search."""
    from mtlsearch.terminal import notice, show_rows
    from mtlsearch.wording import measured

    if not found:
        notice("the server has no searches yet: mtlsearch submit STUDY")
        return
    rows = [
        (
            each["id"],
            each["state"],
            each["name"],
            f"{each['trials']}/{each['total']}" if each["total"] else str(each["trials"]),
            "" if each["best"] is None else measured(each["best"]),
            each["submitted"],
            each["reason"] or each["verdict"] or "",
        )
        for each in found
    ]
    show_rows(list(SHOWN), rows)


def show_search(now: Mapping[str, Any], as_json: bool) -> None:
    """One search in a few lines; status 1 where it failed."""
    from mtlsearch.wording import measured, visible

    if as_json:
        click.echo(json.dumps(now))
    else:
        of = f" of {now['total']}" if now["total"] else ""
        best = "" if now["best"] is None else f", best score {measured(now['best'])}"
        lines = [f"search {now['id']} of study {now['name']} is {now['state']}: {now['trials']}{of} trials{best}"]
        lines += [now[name] for name in ("line", "verdict", "reason") if now[name]]
        for line in lines:
            click.echo(visible(line))
    if now["state"] == "failed":
        sys.exit(1)


def follow(search: "RemoteSearch", as_json: bool) -> None:
    """Show the live line of a search until its end; an interruption ends the showing alone."""
    from mtlsearch.service.remote.following import shown
    from mtlsearch.terminal import notice

    try:
        last = shown(search)
    except KeyboardInterrupt:
        notice(f"search {search.id} goes on at the server; `mtlsearch status {search.id} --wait` shows it again")
        sys.exit(INTERRUPTED)
    show_search(last, as_json)

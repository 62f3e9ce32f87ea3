"""The command that serves searches to a team: serve."""

import click

from mtlsearch.cli.options import takes
from mtlsearch.service.options import ServeOptions


@click.command()
@takes(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Queue and run searches for a team, with an API and pages.

    Searches that were running when the server ended go on at its next start. Needs `pip install 'mtlsearch[serve]'`.
    """
    from mtlsearch.errors import UsageError

    try:
        from mtlsearch.service.web.serve import serve as serve_until_stopped
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("mtlsearch"):
            raise
        raise UsageError(f"serve needs {error.name}: pip install 'mtlsearch[serve]'") from error
    serve_until_stopped(options)

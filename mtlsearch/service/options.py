"""The options of the server and of the commands that talk to one; see `tuning.options`."""

from pathlib import Path

from mtlsearch.tuning.options.flags import Options, group, option, options
from mtlsearch.tuning.options.groups import AddressOptions, ArtifactOptions, DataOptions, StoreOptions

MOST_PRIORITY = 1000


@group
class TokenOptions(Options):
    """The token of a server."""

    token_file: Path | None = option(
        None,
        "--token-file",
        help="The file that holds the server's token.",
        envvar="MTLSEARCH_TOKEN_FILE",
        metavar="FILE",
    )


@options
class ServeOptions(TokenOptions, AddressOptions, DataOptions, ArtifactOptions, StoreOptions):
    """Options of `mtlsearch serve`."""

    studies: Path | None = option(
        None, "--studies", help="The folder of the study files that may be submitted.", metavar="DIR"
    )
    devices: tuple[str, ...] = option(
        ("auto",), "--devices", help="The devices that searches share, separated by commas.", listed=True
    )
    at_once: int = option(1, "--at-once", help="Searches at once on each device.", low=1, high=64)
    folder: Path | None = option(
        None, "--folder", help="The folder of logs and results.", default="beside a SQLite store", metavar="DIR"
    )
    allow_host: tuple[str, ...] = option(
        (), "--allow-host", help="Other names, separated by commas, by which browsers reach the server.", listed=True
    )
    log_format: str = option("text", "--log-format", help="Format of the log on stderr.", choices=("text", "json"))


@group
class ServerOptions(TokenOptions):
    """The server that a command talks to."""

    server: str = option(
        "http://127.0.0.1:8080", "--server", help="The server's URL.", envvar="MTLSEARCH_SERVER", metavar="URL"
    )


@options
class SubmitOptions(ServerOptions):
    """Options of `mtlsearch submit`, beside those of the search."""

    priority: int = option(0, "--priority", help="Higher ones begin first.", low=-MOST_PRIORITY, high=MOST_PRIORITY)
    key: str | None = option(
        None,
        "--key",
        help="The same submission with the same key is one search.",
        longest=200,
        default="one of its own",
    )
    wait: bool = option(False, "--wait", help="Follow the search to its end.")


@options
class StatusOptions(ServerOptions):
    """Options of `mtlsearch status`."""

    wait: bool = option(False, "--wait", help="Follow the search to its end.")


@options
class StopOptions(ServerOptions):
    """Options of `mtlsearch stop`."""


@options
class FetchOptions(ServerOptions):
    """Options of `mtlsearch fetch`."""

    output: Path | None = option(None, "-o", "--output", help="The JSON file of the best config.", default="stdout")
    checkpoint: Path | None = option(None, "--checkpoint", help="Write the trained parameters too (safetensors).")
    report: Path | None = option(None, "--report", help="Write the report too (HTML).", metavar="FILE")
    trials: Path | None = option(
        None, "--trials", help="Write every trial too (.csv, .json or .parquet).", metavar="FILE"
    )

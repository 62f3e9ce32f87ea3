"""The command that serves optuna-dashboard: it reads the store, and answers only requests that are meant for it."""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from mtlsearch.errors import UsageError
from mtlsearch.store.artifacts import artifact_store, artifacts_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.terminal import notice

if TYPE_CHECKING:
    from mtlsearch.report.dashboard_figures import Application

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(storage_url: str, artifacts: Path | None, host: str, port: int) -> None:
    """Serve the dashboard until it is interrupted. Raises StoreError, and UsageError where it cannot listen."""
    from optuna_dashboard import wsgi

    from mtlsearch.report.dashboard_figures import WithFigures

    with open_storage(storage_url, create=False) as storage:
        folder = artifacts_folder(storage_url, artifacts)
        check_free(host, port)
        if host not in LOOPBACK:
            notice(f"the dashboard on {host} has no password: all who reach it can read the store (not change it)")
        shown = f"[{host}]" if ":" in host else host
        notice(f"http://{shown}:{port}/ shows the store; Ctrl-C ends it")
        dashboard = wsgi(storage, artifact_store(folder) if folder.is_dir() else None)
        application = only_for(host, WithFigures(dashboard, storage, folder))
        kind = Server6 if ":" in host else WSGIServer
        with make_server(host, port, application, kind, Silent) as server, suppress(KeyboardInterrupt):
            server.serve_forever()


class Server6(WSGIServer):
    """wsgiref's server on an IPv6 address."""

    address_family = socket.AF_INET6


class Silent(WSGIRequestHandler):
    """Handles a request without a line on stderr."""

    def log_message(self, *arguments: Any) -> None:
        pass


def check_free(host: str, port: int) -> None:
    """Raise UsageError where nothing can listen on the address."""
    if not host.isprintable() or host != host.strip() or not host:
        raise UsageError(f"--host must be an address or a name of this machine, but got {host!r}")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host}:{port} ({reason}): choose another --host or --port") from error


def only_for(host: str, application: "Application") -> "Application":
    """The application, answering only requests whose Host header names `host`, this machine or an address.

    A page of another site can let its own name lead to this machine (DNS rebinding). The browser then sends that name,
    and is refused. Addresses cannot be so used.
    """

    def checked(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if is_named(host, str(environment.get("HTTP_HOST", ""))):
            return application(environment, start)
        start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"This dashboard answers only to the address that `mtlsearch dashboard` printed.\n"]

    return checked


def is_named(host: str, header: str) -> bool:
    """Whether a Host header names `host`, localhost or an IP address."""
    name = header.rpartition("]")[0].removeprefix("[") if header.startswith("[") else header.partition(":")[0]
    if name.lower() in (host.lower(), "localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""optuna-dashboard on the store, on loopback unless another address is named."""

import socket
from pathlib import Path

from mtlsearch.errors import UsageError
from mtlsearch.store.artifacts import artifact_store, artifacts_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.terminal import notice

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(storage_url: str, artifacts: Path | None, host: str, port: int) -> None:
    """Serve the dashboard until it is interrupted. Raises StoreError, or UsageError where the port is taken."""
    from optuna_dashboard import run_server

    with open_storage(storage_url, create=False) as storage:
        folder = artifacts_folder(storage_url, artifacts)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise UsageError(
                    f"cannot listen on {host}:{port} ({error.strerror}): choose another --port"
                ) from error
        if host not in LOOPBACK:
            notice(
                f"the dashboard on {host} has no password: whoever reaches that address can read and change the store"
            )
        notice(f"http://{host}:{port}/ shows the store; Ctrl-C ends it")
        store = artifact_store(folder) if folder.is_dir() else None
        run_server(storage, host=host, port=port, artifact_store=store)

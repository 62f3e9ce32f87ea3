"""The folder of the best trials' parameters: where it is, whether it can be written, and Optuna's store in it."""

import os
from pathlib import Path

import optuna

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import parse_url


def artifacts_folder(storage_url: str, chosen: Path | None) -> Path:
    """Where the best parameters are kept: `chosen`, else beside a SQLite store. Raises StoreError for no URL."""
    if chosen is not None:
        return chosen
    url = parse_url(storage_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).with_suffix(".artifacts")
    return Path("mtlsearch.artifacts")


def check_folder(folder: Path) -> None:
    """Raise StoreError where `folder` is neither there nor can be made, before anything is."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise StoreError(f"the artifact folder {folder} must be writable: choose another with --artifacts")


def artifact_store(folder: Path) -> optuna.artifacts.FileSystemArtifactStore:
    """The artifact store in `folder`, which is made where it is missing. Raises StoreError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the artifact folder {folder} must be writable: {error.strerror}") from error
    return optuna.artifacts.FileSystemArtifactStore(folder)

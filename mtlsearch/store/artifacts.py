"""Artifacts of a study: the files of the best trials' parameters, and the folder that Optuna keeps them in."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import AGAIN, parse_url

if TYPE_CHECKING:
    from mtlsearch.store.record import Record


def artifacts_folder(storage_url: str, chosen: Path | None) -> Path:
    """The artifact folder: `chosen`, else beside a SQLite store. Raises StoreError for a wrong URL."""
    if chosen is not None:
        return chosen
    url = parse_url(storage_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return Path(url.database).with_suffix(".artifacts")
    return Path("mtlsearch.artifacts")


def check_folder(folder: Path) -> None:
    """Raise StoreError where `folder` neither exists nor can be made; nothing is made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise StoreError(f"the artifact folder {folder} must be writable: choose another with --artifacts")


def artifact_store(folder: Path) -> FileSystemArtifactStore:
    """The artifact store in `folder`, which is made where it is missing. Raises StoreError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the artifact folder {folder} must be writable: {error.strerror}") from error
    return FileSystemArtifactStore(folder)


def save_artifact(folder: Path, name: str, trial: optuna.Trial, write: Callable[[Path], None]) -> None:
    """Keep the file that `write` makes as an artifact of the trial under the name `name`. Raises StoreError."""
    store = artifact_store(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary) / name
            write(path)
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)
    except OSError as error:
        raise StoreError(
            f"the artifact folder {folder} cannot be written ({error.strerror}): correct that, {AGAIN}"
        ) from error


def best_artifact(record: "Record", trial: FrozenTrial) -> Path:
    """The file of a trial's saved parameters. Raises StoreError where there is none."""
    for meta in get_all_artifact_meta(trial, storage=record.storage):
        path = record.artifacts / meta.artifact_id
        if meta.filename.endswith(".safetensors") and path.is_file() and path.parent == record.artifacts:
            return path
    raise StoreError(
        f"trial {trial.number} of study {record.name!r} has no parameters in {record.artifacts}:"
        " name their folder with --artifacts, or train it again with `mtlsearch train`"
    )

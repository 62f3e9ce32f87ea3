"""Artifacts of a study: the files of the best trials' parameters, and the folder that Optuna keeps them in."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mtlsearch.errors import StoreError
from mtlsearch.processes import unfinished
from mtlsearch.store.database.errors import AGAIN, parse_url

UNFINISHED = "tmp"  # begins the name of a folder in which parameters are being written


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


class WholeFiles(FileSystemArtifactStore):
    """Keeps a file of the artifact folder's own file system by moving it: an artifact is whole, or not there."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        # Optuna would copy it. It hands on the open file, which `save_artifact` has put into that folder.
        Path(content_body.name).replace(self._get_filepath(artifact_id))


def file_name(study: str, number: int, whole: bool = False) -> str:
    """The name of the file with a trial's parameters, or with those of its config trained on `whole` train."""
    short = study.replace("/", "-").encode()[:100].decode(errors="ignore")  # of bytes a file's name has 255
    return f"{short}-trial-{number}{'-whole' if whole else ''}.safetensors"


def save_artifact(folder: Path, name: str, owner: optuna.Trial | optuna.Study, write: Callable[[Path], None]) -> None:
    """Keep the file that `write` makes as an artifact of a trial or study under a `name`. Raises StoreError."""
    artifact_store(folder)
    try:
        with unfinished(folder, UNFINISHED) as temporary:
            path = temporary / name
            write(path)
            upload_artifact(artifact_store=WholeFiles(folder), file_path=str(path), study_or_trial=owner)
    except OSError as error:
        raise StoreError(
            f"the artifact folder {folder} cannot be written ({error.strerror}): correct that, {AGAIN}"
        ) from error


def kept_files(
    storage: BaseStorage, folder: Path, owner: FrozenTrial | optuna.Study, fits: Callable[[str], bool]
) -> Iterator[Path]:
    """The files in the artifact folder that belong to a trial or a study, and whose name `fits`."""
    for meta in get_all_artifact_meta(owner, storage=storage):
        path = folder / meta.artifact_id
        if fits(meta.filename) and path.is_file() and path.parent == folder:
            yield path

"""Artifacts of a study: the files of the best trials' parameters, and the folder that Optuna keeps them in."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import AGAIN, parse_url
from mtlsearch.store.ownership import is_alive, machine_of, this_process

UNFINISHED = "tmp"  # begins the name of a folder in which parameters are being written
STALE_S = 86_400.0  # the age at which such a folder is given up where its process cannot be looked for


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
        with unfinished(folder) as temporary:
            path = temporary / name
            write(path)
            upload_artifact(artifact_store=WholeFiles(folder), file_path=str(path), study_or_trial=owner)
    except OSError as error:
        raise StoreError(
            f"the artifact folder {folder} cannot be written ({error.strerror}): correct that, {AGAIN}"
        ) from error


@contextlib.contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A folder below `folder` for what is being written; it is gone afterwards, or cleared after this process's death.

    Its name tells the process: host and boot, process id, start.
    """
    owner = this_process()
    prefix = f"{UNFINISHED}-{machine_of(owner)}-{owner['pid']}-{owner['started']}-"
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as name:
        yield Path(name)


def clear_unfinished(folder: Path) -> None:
    """Remove what dead processes left `unfinished` in a folder; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name.startswith(UNFINISHED) and path.is_dir() and not path.is_symlink() and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_dead(unfinished: Path) -> bool:
    """Whether the process that made the folder has ended; by the folder's age where nobody here can know."""
    _, *made_by = unfinished.name.split("-")
    if len(made_by) == 4 and made_by[0] == machine_of(this_process()):
        return not is_alive({**this_process(), "pid": made_by[1], "started": int(made_by[2])})
    return time.time() - unfinished.stat().st_mtime > STALE_S


def kept_files(
    storage: BaseStorage, folder: Path, owner: FrozenTrial | optuna.Study, fits: Callable[[str], bool]
) -> Iterator[Path]:
    """The files in the artifact folder that belong to a trial or a study, and whose name `fits`."""
    for meta in get_all_artifact_meta(owner, storage=storage):
        path = folder / meta.artifact_id
        if fits(meta.filename) and path.is_file() and path.parent == folder:
            yield path

"""Artifacts of a study: the files of the best trials' parameters, and the folder that Optuna keeps them in."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial

from mtlsearch.errors import StoreError
from mtlsearch.store.database.errors import AGAIN, parse_url
from mtlsearch.store.ownership import is_alive, machine_of, this_process

if TYPE_CHECKING:
    from mtlsearch.store.record import Record

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
        with tempfile.TemporaryDirectory(dir=folder, prefix=_own_prefix()) as temporary:
            path = Path(temporary) / name
            write(path)
            upload_artifact(artifact_store=WholeFiles(folder), file_path=str(path), study_or_trial=owner)
    except OSError as error:
        raise StoreError(
            f"the artifact folder {folder} cannot be written ({error.strerror}): correct that, {AGAIN}"
        ) from error


def _own_prefix() -> str:
    """The beginning of the names of this process's unfinished folders: host and boot, process id, start."""
    owner = this_process()
    return f"{UNFINISHED}-{machine_of(owner)}-{owner['pid']}-{owner['started']}-"


def clear_unfinished(folder: Path) -> None:
    """Remove what dead processes left unfinished in the artifact folder; what cannot be removed stays."""
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


def best_artifact(record: "Record", trial: FrozenTrial) -> Path:
    """The file of the parameters of an answer, which is a trial's config. Raises StoreError where there is none.

    In a study with folds they are those of its config trained on train and validation together.
    """
    if "folds" not in record.info["fingerprint"]:
        return trial_artifact(record, trial)
    path = whole_artifact(record, trial)
    if path is None:
        raise StoreError(
            f"trial {trial.number} of study {record.name!r} has no parameters in {record.artifacts}: they are trained"
            " on all of train when its search or confirmation has ended; give the same command again"
        )
    return path


def whole_artifact(record: "Record", trial: FrozenTrial) -> Path | None:
    """The file of the parameters of a trial's config trained on train and validation together; None without one."""
    name = file_name(record.name, trial.number, whole=True)
    return next(_files(record, record.study, lambda given: given == name), None)


def trial_artifact(record: "Record", trial: FrozenTrial) -> Path:
    """The file of a trial's own saved parameters. Raises StoreError where there is none."""
    found = next(_files(record, trial, lambda given: given.endswith(".safetensors")), None)
    if found is not None:
        return found
    raise StoreError(
        f"trial {trial.number} of study {record.name!r} has no parameters in {record.artifacts}: name their folder"
        " with --artifacts, or train it again: `mtlsearch export -o best.json` without --checkpoint, then"
        " `mtlsearch train best.json -o best.safetensors`"
    )


def _files(record: "Record", owner: FrozenTrial | optuna.Study, fits: Callable[[str], bool]) -> Iterator[Path]:
    """The files in the artifact folder that belong to a trial or a study, and whose name `fits`."""
    for meta in get_all_artifact_meta(owner, storage=record.storage):
        path = record.artifacts / meta.artifact_id
        if fits(meta.filename) and path.is_file() and path.parent == record.artifacts:
            yield path

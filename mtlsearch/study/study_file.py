"""Study files: shipped ones by name, a user's by path. Loading one runs its code."""

import hashlib
import runpy
import sys
from dataclasses import replace
from pathlib import Path

from mtlsearch.activity import doing, stoppable
from mtlsearch.errors import MtlsearchError, StudyError, kind_and_line
from mtlsearch.files import check_path
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.study.study import Study


def load_study(name: str) -> Study:
    """The shipped study of this name, or the study in the file at this path. Raises StudyError."""
    path = shipped_studies().get(name, Path(name))
    check_path(path)
    if not path.is_file():
        shipped = ", ".join(shipped_studies())
        if path.suffix == ".py" or "/" in name:
            raise StudyError(f"no study file {name}: name an existing one, or a shipped study ({shipped})")
        raise StudyError(f"no study {name!r}: the shipped ones are {shipped}, or name a file")
    if path not in shipped_studies().values():
        _let_import_beside(path)
    try:
        with stoppable(), doing(f"reading the study file {path.name}"):
            values = runpy.run_path(str(path))
    except (MtlsearchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit, which would end the command silently
        raise StudyError(f"study file {path} fails to import: {kind_and_line(error)}") from error
    study = values.get("study")
    if not isinstance(study, Study):
        got = "nothing of that name" if study is None else f"a {type(study).__name__}"
        raise StudyError(f"study file {path} must define `study = Study(...)`, but got {got}")
    return replace(study, source=name if path == shipped_studies().get(name) else str(path.resolve()))


def _let_import_beside(path: Path) -> None:
    """Let a study file import the modules in its folder, as a script may; those of Python and packages come first."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)


def source_sha256(source: str) -> str:
    """The SHA-256 of the file that defines a study."""
    return hashlib.sha256(shipped_studies().get(source, Path(source)).read_bytes()).hexdigest()

"""The files of states in training: one for each run, from which the next run of the study goes on.

A file lies in the folder `in-training` of the artifact folder. Its metadata name the study and the owners of its
trials: the process that wrote it, and those before it that it went on from. To take a file over is to copy it and
delete it: of runs at once one alone deletes it, and goes on from the copy.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlsearch.errors import StoreError
from mtlsearch.processes import Owner, is_alive, is_here, same, unfinished
from mtlsearch.store.artifacts import UNFINISHED
from mtlsearch.store.database.damage import Anything, Shape, Text, fault
from mtlsearch.store.json_text import read_json

FOLDER, SUFFIX, METADATA_KEY = "in-training", ".state.safetensors", "mtlsearch-state"
TOLD: Shape = {"study": Text, "owners": list, "facts": [Anything]}


@dataclass(frozen=True)
class StateFile:
    """A file of states: the `owners` of its trials, the last of whom wrote it, and the `facts` beside the tensors."""

    path: Path
    owners: Sequence[Owner]
    facts: Mapping[str, Any]

    def belongs_to(self, owner: object) -> bool:
        return any(same(owner, own) for own in self.owners)

    def tensors(self) -> dict[str, Any]:
        """The tensors by name, on the CPU. Raises StoreError for a damaged file."""
        import safetensors
        from safetensors.torch import load_file

        try:
            return load_file(self.path)
        except (safetensors.SafetensorError, OSError) as error:
            raise StoreError(f"the state in training {self.path} is damaged ({error}): delete it") from error

    def remove(self) -> bool:
        """Delete the file; False where another process was faster. Raises StoreError where it cannot be deleted."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreError(f"{self.path} cannot be deleted: {error.strerror or error}") from error
        return True


def path_of(artifacts: Path, study: str, owner: Owner) -> Path:
    """The file of the states that `owner` has in training for a study."""
    named = json.dumps([study, owner], sort_keys=True)
    return artifacts / FOLDER / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}{SUFFIX}"


def write_states(
    artifacts: Path, study: str, owners: Sequence[Owner], tensors: Mapping[str, Any], facts: Mapping[str, Any]
) -> StateFile:
    """Write the states of the last of `owners`, whole or not at all. Raises StoreError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = path_of(artifacts, study, owners[-1])
    told = {"study": study, "owners": list(owners), "facts": dict(facts)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path.parent, UNFINISHED) as folder:
            whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
            save_file(whole, folder / path.name, {METADATA_KEY: json.dumps(told)})
            (folder / path.name).replace(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    return StateFile(path, owners, facts)


def found_states(artifacts: Path, study: str) -> list[StateFile]:
    """The files of a study's states, the oldest first; a file that is not whole is none."""
    found = []
    for path in (artifacts / FOLDER).glob(f"*{SUFFIX}"):
        told = _told(path)
        if told is not None and told["study"] == study:
            found.append((path.stat().st_mtime_ns if path.exists() else 0, path, told))
    return [StateFile(path, told["owners"], told["facts"]) for _, path, told in sorted(found, key=lambda f: f[:2])]


def _told(path: Path) -> dict[str, Any] | None:
    """The metadata in a file of states, None where it is gone, or damaged: then nothing can go on from it."""
    # The header of a safetensors file: its length in eight bytes, then JSON. Reading it here needs no torch.
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        told = read_json(header["__metadata__"][METADATA_KEY])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return None
    return dict(told) if _is_whole(told) else None


def _is_whole(told: Any) -> bool:
    """Whether the metadata of a file of states are those of `write_states`; its facts are for their writer to check."""
    if fault(told, TOLD, "it") is not None or not told["owners"]:
        return False
    return all(fault(owner, [Anything], "it") is None for owner in told["owners"])


def clear_states(artifacts: Path, study: str, running: Sequence[object]) -> None:
    """Remove the files from which nothing can go on: none of their owners is in `running`, and the last is dead."""
    for file in found_states(artifacts, study):
        last = file.owners[-1]
        if any(map(file.belongs_to, running)) or (is_here(last) and is_alive(last)):
            continue
        file.remove()

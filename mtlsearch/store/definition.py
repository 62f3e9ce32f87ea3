"""The check that a study in a store has the definition at hand: its format, its fingerprint and its seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtlsearch.errors import StoreError
from mtlsearch.wording import shortened

STUDY_FORMAT = "mtlsearch/study/1"


def check_same(name: str, found: Mapping[str, Any], info: Mapping[str, Any], seed: int | None) -> None:
    """Raise StoreError where the study `found` in the store differs from the definition at hand, `info`."""
    if found.get("format") != STUDY_FORMAT:
        raise StoreError(f"study {name!r} was written by another version of mtlsearch: name another with --name")
    scaled = _scaled_before(found["fingerprint"], info["fingerprint"])
    if scaled:
        raise StoreError(
            f"study {name!r} was begun by a version that divided all inputs of uint8 by 255, those of {scaled} too,"
            ' which now are taken as they are: give this one a name of its own with --name, or say inputs="pictures"'
            " in Data to go on as before"
        )
    differing = _differences(found["fingerprint"], info["fingerprint"])
    if differing:
        raise StoreError(
            f"study {name!r} is in the store with another definition ({'; '.join(differing)}):"
            " give this one a name of its own with --name"
        )
    if seed is not None and seed != found["seed"]:
        raise StoreError(
            f"study {name!r} was begun with --seed {found['seed']}, but got --seed {seed}: leave it out, or give"
            " this search a name of its own with --name"
        )


def _scaled_before(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The sources whose inputs are recorded as what they are only now, each by its first task."""
    same = {key: value for key, value in wanted.items() if key != "inputs"} == found
    return ", ".join(wanted.get("inputs", {})) if same else ""


def _differences(found: Any, wanted: Any, path: str = "") -> Sequence[str]:
    """The differences between two fingerprints, each named by its path."""
    if not (isinstance(found, Mapping) and isinstance(wanted, Mapping)):
        return [] if found == wanted else [f"{path}: {shortened(found, 60)}, now {shortened(wanted, 60)}"]
    return [
        line
        for name in dict.fromkeys([*found, *wanted])
        for line in _differences(found.get(name), wanted.get(name), f"{path} {name}".strip())
    ]

"""Study files for the groups that `group` recommends, one a group: `mtlsearch run FILE` searches each.

A file loads the study's own file or name, keeps the group's tasks by `Study.only`, and begins its search with the
hyperparameters that the groups were trained with.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import json_to_distribution

from mtlsearch.errors import StoreError, UsageError
from mtlsearch.files import replacing, telling
from mtlsearch.store.record import Record
from mtlsearch.study.score import CALLABLE, recorded_score
from mtlsearch.study.space import fixed_value

BLANK = re.compile(r"\W+")


def stored_grouping(record: Record) -> Mapping[str, Any]:
    """The stored answer of `group`. Raises StoreError where there is none."""
    found = record.study.user_attrs.get("grouping")
    if not isinstance(found, Mapping) or "recommended" not in found:
        raise StoreError(f"study {record.name!r} has no grouping yet: `mtlsearch group` finds one")
    return found


def grouping_files(record: Record, folder: Path) -> dict[Path, str]:
    """The study file of each recommended group, by its path in `folder`. Raises StoreError."""
    found = stored_grouping(record)
    files: dict[Path, str] = {}
    for group in found["recommended"]:
        words = (BLANK.sub("_", "_".join([record.name, *group])).strip("_") or "group")[:100]
        path = folder / f"{words}.py"
        number = 2
        while path in files:
            path, number = folder / f"{words}_{number}.py", number + 1
        files[path] = study_text(record, group, found["hyperparameters"], folder)
    return files


def write_grouping(files: Mapping[Path, str]) -> None:
    """Write the files. Raises UsageError where one of them is there with another content."""
    for path, text in files.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise UsageError(f"{path} is there already, and is another file: name a new folder with -o, or remove it")
    for path, text in files.items():
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial:
                partial.write_text(text, encoding="utf-8")


def study_text(record: Record, group: Sequence[str], hyperparameters: Mapping[str, Any], folder: Path) -> str:
    """The study file of one group, which lies in `folder`."""
    info = record.info
    source = str(info["source"])
    imports = ["from dataclasses import replace"]
    named = repr(source)
    if source.endswith(".py"):
        imports.append("from pathlib import Path")
        beside = os.path.relpath(source, folder.resolve())
        named = f"str(Path(__file__).resolve().parent / {beside!r})"
    budget = {key: info["budget"][key] for key in ("epochs", "patience", "batch_size", "split_seed")}
    changes: dict[str, Any] = {**budget, "folds": info["fingerprint"].get("folds")}
    score = recorded_score(info)
    if score.kind != CALLABLE:
        changes["score"] = score.of
    fixed = [
        f"whole = whole.fixed({name!r}, {str(value)!r})"
        for name, value in _fixed(info).items()
        if name in info["default"]
    ]
    told = f"{' with '.join(group)}: the study of a group of tasks that `mtlsearch group` found in {record.name}."
    return "\n".join(
        [
            json.dumps(told, ensure_ascii=False) if '"' in told or "\\" in told else f'"""{told}"""',
            "",
            *imports,
            "",
            "from mtlsearch import load_study",
            "",
            f"whole = load_study({named})",
            *fixed,
            f"whole = replace(whole, {', '.join(f'{name}={value!r}' for name, value in changes.items())})",
            "study = replace(",
            f"    whole.only({', '.join(map(repr, group))}),",
            f"    default={dict(hyperparameters)!r},",
            ")",
            "",
        ]
    )


def _fixed(info: Mapping[str, Any]) -> dict[str, Any]:
    """The dimensions that the search had at one value."""
    space = info["fingerprint"]["space"].items()
    found = {name: json_to_distribution(json.dumps(dimension)) for name, dimension in space}
    return {name: fixed_value(each) for name, each in found.items() if each.single()}

"""The digests of data: the SHA-256 of each task's inputs and labels, kept in the user's cache where they take long."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.errors import ConfigError
from mtlsearch.files import data_directory, replacing

if TYPE_CHECKING:
    from mtlsearch.data.data import Data

WORTH_KEEPING = 1 << 29  # bytes that would be hashed again, which take a second or two


def sha256_by_task(data: "Data", columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Each task's SHA-256 of every part's inputs and of the labels in its `columns`, with their shapes and types.

    Samples of inputs on disk stand for all of them. A digest takes the parts in turn, each with its inputs and then the
    task's labels: so the inputs behind the first labels are hashed for each task anew, 17 s with 557 tasks. Where that
    takes long, the digests are kept in the user's cache, by a digest that reads each byte once.
    """
    again = (len(columns) - 1) * sum(_bytes(part.inputs) for part in data.parts[1:])
    if again < WORTH_KEEPING:
        return _digests(data, columns)
    whole = hashlib.sha256(json.dumps({task: list(names) for task, names in columns.items()}).encode())
    for part in data.parts:
        _update(whole, part.inputs)
        for name in dict.fromkeys(name for names in columns.values() for name in names):
            _update(whole, data.column(part, name))
    path = data_directory(None) / "digests" / f"{whole.hexdigest()}.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        found = _digests(data, columns)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(found), encoding="utf-8")
    except (OSError, ConfigError):
        pass  # without a cache they are computed again the next time
    return found


def _digests(data: "Data", columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The reference: all parts of each task in turn, but the inputs of the first once for all tasks."""
    first = hashlib.sha256()
    _update(first, data.parts[0].inputs)
    found = {}
    for task, names in columns.items():
        digest = first.copy()
        for number, part in enumerate(data.parts):
            if number:
                _update(digest, part.inputs)
            for name in names:
                _update(digest, data.column(part, name))
        found[task] = digest.hexdigest()
    return found


def _update(digest: Any, array: Tensor | OnDisk) -> None:
    if not isinstance(array, Tensor):
        digest.update(b"".join(array.sample()))
        return
    digest.update(f"{array.dtype} {tuple(array.shape)}".encode())
    digest.update(array.contiguous().flatten().view(torch.uint8).numpy().data)


def _bytes(array: Tensor | OnDisk) -> int:
    return array.numel() * array.element_size() if isinstance(array, Tensor) else 0

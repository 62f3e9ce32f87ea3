"""The examples of a map-style `torch.utils.data.Dataset` as arrays in memory, through a collate function.

A `DataLoader` would ask for every example anew in each epoch; a search reads each once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mtlsearch.activity import advance, doing
from mtlsearch.errors import DataError

Collate = Callable[[list[Any]], Any]
CHUNK = 256  # examples that are collated at once
UNNAMED = ""  # the column of labels that are one array
PAIR = "(inputs, labels), labels an array or {task: array}"


def is_dataset(given: object) -> bool:
    """Whether `given` is a Dataset, or gives examples by number as one does, and not (inputs, labels) or an array."""
    if isinstance(given, Dataset):
        return True
    arrays = isinstance(given, tuple | list | Mapping | str | Tensor | np.ndarray) or hasattr(given, "to_numpy")
    return not arrays and hasattr(given, "__getitem__") and hasattr(given, "__len__")


def read_dataset(where: str, dataset: Any, collate: Collate | None) -> tuple[Tensor, Tensor | dict[str, Tensor]]:
    """The inputs [N, ...] of every example, in order, and its labels [N, ...], one array or by column.

    `collate` makes (inputs, labels) of a list of examples, as a DataLoader's `collate_fn` does; None stacks examples
    of the form (input, label) or (input, {task: label}). Raises DataError where chunks cannot be put together.
    """
    if isinstance(dataset, IterableDataset):
        raise DataError(
            f"{where} must give its examples by number, but got a stream: write it once by mtlsearch.cached"
        )
    chunks = []
    with doing(f"reading {len(dataset):,} {where} examples", total=len(dataset)):
        for batch in DataLoader(dataset, batch_size=CHUNK, collate_fn=collate):
            chunks.append(_chunk(where, batch, named=collate is not None))
            advance(len(chunks[-1][0]))
    if not chunks:
        raise DataError(f"{where} must hold examples, but it is empty")
    columns = list(chunks[0][1])
    for _, labels in chunks:
        if list(labels) != columns:
            raise DataError(f"{where}: every example must have the labels {', '.join(columns)}, but some have others")
    inputs = _joined(f"{where} inputs", [x for x, _ in chunks])
    joined = {name: _joined(_named(where, name), [labels[name] for _, labels in chunks]) for name in columns}
    return inputs, joined[UNNAMED] if columns == [UNNAMED] else joined


def _chunk(where: str, batch: object, *, named: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """A collated batch as inputs and labels by column."""
    whose = (
        "collate must give"
        if named
        else "examples must be (input, label) or (input, {task: label}); else collate= makes"
    )
    if not isinstance(batch, Sequence) or len(batch) != 2:
        got = f"{len(batch)} values" if isinstance(batch, Sequence) else f"a {type(batch).__name__}"
        raise DataError(f"{where}: {whose} {PAIR}, but got {got}")
    inputs, labels = batch
    columns = labels if isinstance(labels, Mapping) else {UNNAMED: labels}
    found = {str(name): _tensor(_named(where, str(name)), column) for name, column in columns.items()}
    return _tensor(f"{where} inputs", inputs), found


def _named(where: str, column: str) -> str:
    return f"{where} labels" if column == UNNAMED else f"{where} labels {column!r}"


def _tensor(what: str, array: object) -> Tensor:
    try:
        return torch.as_tensor(array).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what} must be numbers of one shape, but got a {type(array).__name__}") from error


def _joined(what: str, chunks: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(chunk.shape[1:]) for chunk in chunks}
    if len(shapes) > 1:
        found = " and ".join(map(str, sorted(shapes)[:2]))
        raise DataError(f"{what} must have one shape, but got {found}: pad all examples to one length")
    return torch.cat(list(chunks))

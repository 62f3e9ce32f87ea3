"""The examples of one part of the data: inputs, labels by column and groups, taken by rows or joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlsearch.data.examples.on_disk import OnDisk, joined_inputs
from mtlsearch.errors import DataError


@dataclass(frozen=True)
class Part:
    """The examples of one split: `inputs` [N, ...], `labels` [N, ...] by column, and their `groups` [N] if known.

    `raw` are the inputs as they were, where the others are features of them that augmentation changes.
    """

    inputs: Tensor | OnDisk
    labels: Mapping[str, Tensor]
    groups: Tensor | None = None  # on the CPU
    raw: Tensor | OnDisk | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, index: Tensor, read: Tensor | None = None) -> "Part":
        """The examples at `index` [n]; `read` [n, ...] are their inputs where those are read already."""
        inputs = self.inputs.index_select(0, index) if read is None else read
        return Part(inputs, {name: y.index_select(0, index) for name, y in self.labels.items()})

    def taken(self, index: Tensor) -> "Part":
        """The part of the examples at `index` [n]; inputs on disk stay there, unread."""
        groups = None if self.groups is None else self.groups[index.cpu()]
        labels = {name: y.index_select(0, index) for name, y in self.labels.items()}
        raw = None if self.raw is None else _taken(self.raw, index)
        return Part(_taken(self.inputs, index), labels, groups, raw)

    def between(self, start: int, end: int) -> "Part":
        """The examples from `start` to `end`, which share the memory of these."""
        if not isinstance(self.inputs, Tensor) or self.raw is not None:
            device = next(iter(self.labels.values())).device
            return self.taken(torch.arange(start, end, device=device))
        groups = None if self.groups is None else self.groups[start:end]
        return Part(self.inputs[start:end], {name: y[start:end] for name, y in self.labels.items()}, groups)

    def to(self, device: torch.device) -> "Part":
        labels = {name: y.to(device) for name, y in self.labels.items()}
        return Part(self.inputs.to(device), labels, self.groups, None if self.raw is None else self.raw.to(device))

    @property
    def augmented_from(self) -> Tensor | OnDisk:
        """What augmentation changes: the raw inputs."""
        return self.inputs if self.raw is None else self.raw


def _taken(inputs: Tensor | OnDisk, index: Tensor) -> Tensor | OnDisk:
    return inputs.index_select(0, index) if isinstance(inputs, Tensor) else inputs.taken(index.cpu())


def joined(parts: Sequence[Part]) -> Part:
    """The examples of several parts, one after the other; inputs on disk stay there.

    Raises DataError where the groups of some are not known: a group could lie on both sides of a new division.
    """
    raw = [part.raw for part in parts if part.raw is not None]
    groups = [part.groups for part in parts if part.groups is not None]
    if 0 < len(groups) < len(parts):
        raise DataError(
            "examples of several parts are divided anew, which needs the groups of all of them: give them by part,"
            ' Data(groups={"train": …, "validation": …, "test": …})'
        )
    return Part(
        _joined([part.inputs for part in parts]),
        {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
        torch.cat(groups) if groups else None,
        _joined(raw) if raw else None,
    )


def _joined(inputs: Sequence[Tensor | OnDisk]) -> Tensor | OnDisk:
    resident = [x for x in inputs if isinstance(x, Tensor)]
    return torch.cat(resident) if len(resident) == len(inputs) else joined_inputs(inputs)

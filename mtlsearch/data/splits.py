"""The data of one source in training, validation and test, and the division that draws the validation part."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mtlsearch.collection import without_collection
from mtlsearch.data.augment import Augment
from mtlsearch.data.data import Data
from mtlsearch.data.examples.dealing import dealt
from mtlsearch.data.examples.division import drawn, marks_of
from mtlsearch.data.examples.kinds import InputKind
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError


class BatchFeatures(Protocol):
    """Gives the features of a batch of inputs; `key` tells them, and the training inputs, from all others."""

    @property
    def key(self) -> str: ...

    def __call__(self, inputs: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class InputFormat:
    """The inputs of a source as it gave them: the `shape` of one, their `dtype` and `kind`."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: InputKind | None


@dataclass(frozen=True)
class Splits:
    """The data of one source, divided, with labels by task name, prepared for the loss."""

    tasks: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    sha256: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment | None = None
    kind: InputKind | None = None  # of the inputs; None where the type alone says it
    over_all: bool = False  # whether the parts were drawn over all tasks
    drawn: frozenset[str] = frozenset()  # the parts that are not the user's own: validation, test
    rows: Tensor | None = None  # of `train`, those that train; None for all
    given: InputFormat | None = None  # the inputs before they became features; None where they did not
    features: BatchFeatures | None = None  # of a batch of the inputs as they were given

    @property
    def examples(self) -> int:
        """The number of examples that train."""
        return len(self.train) if self.rows is None else len(self.rows)

    @property
    def inputs_given(self) -> InputFormat:
        """The inputs as the source gave them, and as a trained model takes them."""
        inputs = self.train.inputs
        return self.given or InputFormat(tuple(inputs.shape[1:]), inputs.dtype, self.kind)

    def to(self, device: torch.device) -> "Splits":
        train, validation, test = (part.to(device) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)


def divide(
    data: Data, strata: Tensor | None, split_seed: int, marks: np.ndarray[Any, Any] | None = None
) -> tuple[Part, Part]:
    """The training and the validation part, drawn by `split_seed`.

    Each has its share of the labels in `marks` [N, L] where they are given, else of the classes in `strata` [N] where
    that is possible. Groups stay whole.
    """
    if isinstance(data.validation, Part):
        return data.train, data.validation
    with without_collection():
        from sklearn.model_selection import train_test_split

    size, rows = data.validation, len(data.train)
    held = size if isinstance(size, int) else round(size * rows)
    if not 0 < held < rows:
        raise DataError(f"validation must hold out 1 to {rows - 1} of the {rows} training examples, but got {size}")
    if data.train.groups is not None:
        if marks is None and strata is not None:
            marks = marks_of(strata.numpy())
        parts = dealt(rows, [rows - held, held], split_seed, marks, data.train.groups.numpy())
        rest, held_out = (data.train.taken(torch.from_numpy(part)) for part in parts)
        return rest, held_out
    if marks is not None:
        is_held = np.zeros(rows, bool)
        is_held[drawn(marks, held, split_seed)] = True
        indices = np.flatnonzero(~is_held), np.flatnonzero(is_held)
        rest, held_out = (data.train.taken(torch.from_numpy(part)) for part in indices)
        return rest, held_out
    if strata is not None and not _divisible(strata, held):
        strata = None
    labels = None if strata is None else strata.numpy()
    train, validation = train_test_split(np.arange(rows), test_size=held, random_state=split_seed, stratify=labels)
    # Sorted rows make every later gather read the memory in order.
    rest, held_out = (data.train.taken(torch.from_numpy(np.sort(part))) for part in (train, validation))
    return rest, held_out


def _divisible(strata: Tensor, held: int) -> bool:
    """Whether every class can be on both sides, which stratifying needs."""
    counts = torch.unique(strata, return_counts=True)[1]
    return int(counts.min()) >= 2 and len(counts) <= min(held, len(strata) - held)

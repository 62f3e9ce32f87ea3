"""The kinds of task: what is predicted, its loss per example, its metric, and how its labels are prepared.

Shapes: B examples of a batch, C outputs of the task. A missing label (NaN, or −1 for classes) counts in
neither loss nor metric.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from mtlsearch.data.parts import Data, Source
from mtlsearch.tasks.metrics import (
    Metric,
)


@dataclass(frozen=True)
class Target:
    """What the training data say of a task: its output `size`, class names, and the standardisation [C].

    `pos_weight` [C] is what balances yes against no in each label.
    """

    size: int
    classes: tuple[str, ...] = ()
    mean: Tensor = field(default_factory=lambda: torch.zeros(1))
    std: Tensor = field(default_factory=lambda: torch.ones(1))
    pos_weight: Tensor = field(default_factory=lambda: torch.ones(1))


@dataclass(frozen=True)
class Task(ABC):
    """One thing to predict: a `name`, and the source of its `data`."""

    name: str
    data: Source

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()

    @property
    def options(self) -> dict[str, Any]:
        """What the task was given beside its data, for the fingerprint; a function by its name."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "data")}
        return {name: _plain(value) for name, value in given.items()}

    @abstractmethod
    def target(self, data: Data) -> Target:
        """What the training labels of `data` say of this task. Raises DataError where they cannot be learned."""

    @abstractmethod
    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        """Labels as the loss takes them."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of the labelled examples of a batch, 0 where none is labelled."""

    @abstractmethod
    def metric(self, target: Target) -> Metric:
        """The metric that scores this task."""

    def output_shape(self, target: Target) -> tuple[int, ...]:
        """The shape of one example's output."""
        return (target.size,)


def masked_mean(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean of `losses` where `valid`; selected by `where`, since 0 · NaN is NaN."""
    return torch.where(valid, losses, 0).sum() / valid.sum().clamp(min=1)


def _plain(value: Any) -> Any:
    """`value` as it comes back from JSON."""
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return list(value) if isinstance(value, tuple) else value


def labelled(labels: Tensor) -> Tensor:
    """Rows with a label [B]: not all NaN, or not all −1."""
    missing = labels.isnan() if labels.is_floating_point() else labels == -1
    return ~missing.flatten(1).all(1) if labels.ndim > 1 else ~missing

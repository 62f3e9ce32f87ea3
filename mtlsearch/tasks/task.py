"""The kinds of task: what is predicted, its loss per example, its metric, and how its labels are prepared.

Shapes: B examples of a batch, C outputs of the task. A missing label (NaN, or −1 for classes) counts in
neither loss nor metric.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data, Source
from mtlsearch.errors import DataError, StudyError
from mtlsearch.kernels.launch import use_kernels
from mtlsearch.tasks.metrics import (
    Metric,
    WholeMetric,
    accuracy,
    macro_f1,
    mae,
    multilabel_macro_auroc,
    multilabel_macro_f1,
    r2,
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


@dataclass(frozen=True)
class Classification(Task):
    """One of C classes; cross-entropy; labels are whole numbers [B] from 0 to C−1."""

    metric_name: Literal["accuracy", "macro_f1"] = "accuracy"
    label_smoothing: float = 0.0

    def target(self, data: Data) -> Target:
        labels, names = data.column(data.train, self.name), data.class_names(self.name)
        if labels.ndim != 1:
            raise DataError(
                f"task {self.name!r}: labels must have the shape [N], but got {tuple(labels.shape)}"
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(f"task {self.name!r}: class labels must be whole numbers, but got {labels.dtype}")
        labels = labels.long()
        present = len(set(labels[labels >= 0].tolist()))
        if present < 2:
            raise DataError(
                f"task {self.name!r} needs two classes or more in its training data, but got {present}"
            )
        size = len(names) or int(labels.max()) + 1
        return Target(size, names or tuple(str(i) for i in range(size)))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = labels.long()
        outside = labels[(labels < -1) | (labels >= target.size)]
        if len(outside):
            raise DataError(
                f"task {self.name!r}: labels must lie in 0 … {target.size - 1} (or be −1 where missing),"
                f" but got {int(outside[0])}"
            )
        return labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if use_kernels() and not self.label_smoothing:
            from mtlsearch.kernels.loss import cross_entropy, fits

            if fits(outputs):
                return cross_entropy(outputs, labels)
        valid = labels >= 0
        losses = F.cross_entropy(
            outputs, torch.where(valid, labels, 0), reduction="none", label_smoothing=self.label_smoothing
        )
        return masked_mean(losses, valid)

    def metric(self, target: Target) -> Metric:
        return accuracy() if self.metric_name == "accuracy" else macro_f1(target.size)


@dataclass(frozen=True)
class MultiLabel(Task):
    """C yes-or-no labels [B, C] of 0, 1 or NaN; binary cross-entropy, with `pos_weight` [C] where given.

    `pos_weight="balanced"` is the training data's number of noes to a yes in each label. The loss sees a batch alone,
    so a prepared yes then carries that weight as its label; what is above 0 is a yes.
    """

    metric_name: Literal["macro_auroc", "macro_f1"] = "macro_auroc"
    pos_weight: tuple[float, ...] | Literal["balanced"] | None = None

    def target(self, data: Data) -> Target:
        labels, names = data.column(data.train, self.name), data.class_names(self.name)
        if labels.ndim != 2:
            raise DataError(
                f"task {self.name!r}: labels must have the shape [N, C], but got {tuple(labels.shape)}"
            )
        size = labels.shape[1]
        if names and len(names) != size:
            raise DataError(f"task {self.name!r}: {size} labels need as many names, but got {len(names)}")
        weight = self.pos_weight
        if isinstance(weight, str) and weight != "balanced":
            raise StudyError(
                f"task {self.name!r}: pos_weight must be numbers or balanced, but got {weight!r}"
            )
        if weight is not None and weight != "balanced" and len(weight) != size:
            raise StudyError(
                f"task {self.name!r}: pos_weight must have {size} entries, but got {len(weight)}"
            )
        return Target(size, names or tuple(str(i) for i in range(size)), pos_weight=_balance(labels))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = labels.float()
        outside = labels[~(labels.isnan() | (labels == 0) | (labels == 1))]
        if len(outside):
            raise DataError(f"task {self.name!r}: labels must be 0, 1 or NaN, but got {float(outside[0])}")
        if labels.shape[1:] != (target.size,):
            raise DataError(
                f"task {self.name!r}: labels must have {target.size} columns, but got the shape {tuple(labels.shape)}"
            )
        return (
            torch.where(labels == 1, target.pos_weight, labels) if self.pos_weight == "balanced" else labels
        )

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        losses = F.binary_cross_entropy_with_logits(
            outputs,
            (labels > 0).to(outputs.dtype),
            reduction="none",
            pos_weight=self._weight(outputs, labels),
        )
        return masked_mean(losses, valid)

    def _weight(self, outputs: Tensor, labels: Tensor) -> Tensor | None:
        """The weight of a yes, [C] or for each entry [B, C]."""
        if self.pos_weight is None:
            return None
        if self.pos_weight == "balanced":
            return torch.where(labels > 0, labels, 1).to(outputs.dtype)
        # Filled on the device: a copy from the host cannot be captured in a CUDA graph.
        return torch.stack([outputs.new_full((), float(weight)) for weight in self.pos_weight])

    def metric(self, target: Target) -> Metric:
        return multilabel_macro_auroc() if self.metric_name == "macro_auroc" else multilabel_macro_f1()


@dataclass(frozen=True)
class Regression(Task):
    """C real targets [B] or [B, C], standardised by the training data; MSE or Huber loss."""

    loss_name: Literal["mse", "huber"] = "mse"
    metric_name: Literal["r2", "mae"] = "r2"

    def target(self, data: Data) -> Target:
        labels = _columns(data.column(data.train, self.name)).double()
        valid = ~labels.isnan()
        count = valid.sum(0)
        mean = torch.where(valid, labels, 0).sum(0) / count
        std = (torch.where(valid, labels - mean, 0).square().sum(0) / count).sqrt()
        # Not std > 0, which rounding makes true for a constant.
        spread = torch.where(valid, labels, -torch.inf).amax(0) > torch.where(valid, labels, torch.inf).amin(
            0
        )
        if not bool(spread.all()):
            raise DataError(
                f"task {self.name!r}: a regression target needs two values or more in its training data"
            )
        return Target(labels.shape[1], mean=mean.float(), std=std.float())

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = _columns(labels)
        if bool(labels.isinf().any()):
            raise DataError(
                f"task {self.name!r}: labels must be finite, or NaN where missing, but got infinity"
            )
        return (labels - target.mean) / target.std

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        # Outputs of bf16 are widened; narrowing the labels would round the targets.
        dtype = torch.promote_types(outputs.dtype, labels.dtype)
        known = torch.where(valid, labels, 0).to(dtype)
        loss = F.mse_loss if self.loss_name == "mse" else F.huber_loss
        return masked_mean(loss(outputs.to(dtype), known, reduction="none"), valid)

    def metric(self, target: Target) -> Metric:
        return r2() if self.metric_name == "r2" else mae(target.std)


@dataclass(frozen=True)
class CustomTask(Task):
    """A task with a loss and a metric of one's own.

    `loss_fn(outputs, labels)` gives one loss per example [B]; `metric_fn(outputs, labels)` one number over the
    labelled examples of a split; `size` is the number of outputs, or the shape of one example's output.
    """

    size: int | tuple[int, ...]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    metric_fn: Callable[[Tensor, Tensor], Tensor | float]
    metric_name: str = "metric"
    higher_is_better: bool = True

    def target(self, data: Data) -> Target:
        return Target(self.size if isinstance(self.size, int) else self.size[0])

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return labels.float() if labels.is_floating_point() else labels.long()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        # The gradient of a loss of NaN is NaN even where it is not selected, so missing labels become 0 first.
        missing = labels.isnan() if labels.is_floating_point() else labels == -1
        return masked_mean(self.loss_fn(outputs, torch.where(missing, 0, labels)), labelled(labels))

    def metric(self, target: Target) -> Metric:
        def compute(outputs: Tensor, labels: Tensor) -> Tensor | float:
            rows = labelled(labels)
            return self.metric_fn(outputs[rows], labels[rows])

        return WholeMetric(self.metric_name, compute, self.higher_is_better)

    def output_shape(self, target: Target) -> tuple[int, ...]:
        return (self.size,) if isinstance(self.size, int) else self.size


def _balance(labels: Tensor) -> Tensor:
    """The number of noes to a yes in each column [C]; 1 where a column has not both."""
    yes, no = (labels == 1).sum(0), (labels == 0).sum(0)
    return torch.where((yes > 0) & (no > 0), no / yes.clamp(min=1), 1).float()


def masked_mean(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean of `losses` where `valid`; selected by `where`, since 0 · NaN is NaN."""
    return torch.where(valid, losses, 0).sum() / valid.sum().clamp(min=1)


def _plain(value: Any) -> Any:
    """`value` as it comes back from JSON."""
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return list(value) if isinstance(value, tuple) else value


def _columns(labels: Tensor) -> Tensor:
    labels = labels.float()
    return labels.unsqueeze(1) if labels.ndim == 1 else labels


def labelled(labels: Tensor) -> Tensor:
    """Rows with a label [B]: not all NaN, or not all −1."""
    missing = labels.isnan() if labels.is_floating_point() else labels == -1
    return ~missing.flatten(1).all(1) if labels.ndim > 1 else ~missing

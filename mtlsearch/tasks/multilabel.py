"""Several yes-or-no labels of one example."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError, StudyError
from mtlsearch.tasks.metrics import Metric, multilabel_macro_auroc, multilabel_macro_f1
from mtlsearch.tasks.task import Target, Task, masked_mean


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


def _balance(labels: Tensor) -> Tensor:
    """The number of noes to a yes in each column [C]; 1 where a column has not both."""
    yes, no = (labels == 1).sum(0), (labels == 0).sum(0)
    return torch.where((yes > 0) & (no > 0), no / yes.clamp(min=1), 1).float()

"""Classification: one of C classes."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError
from mtlsearch.kernels.launch import use_kernels
from mtlsearch.tasks.metrics import Metric, accuracy, macro_f1
from mtlsearch.tasks.task import Target, Task, masked_mean


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

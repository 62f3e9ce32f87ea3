"""A task with a loss and a metric of your own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.tasks.metrics import Metric, WholeMetric
from mtlsearch.tasks.task import Target, Task, labelled, masked_mean


@dataclass(frozen=True)
class CustomTask(Task):
    """A task with a loss and a metric of your own.

    `loss_fn(outputs, labels)` gives one loss per example [B]; `metric_fn(outputs, labels)` one number for the
    labelled examples of a split; `size` is the number of outputs, or the shape of one example's output.
    """

    size: int | tuple[int, ...]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    metric_fn: Callable[[Tensor, Tensor], Tensor | float]
    metric_name: str = "metric"
    higher_is_better: bool = True

    def target(self, data: Data) -> Target:
        shape = (self.size,) if isinstance(self.size, int) else self.size
        return Target(shape[0], shape=shape)

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return labels.float() if labels.is_floating_point() else labels.long()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        # A loss of NaN has a gradient of NaN even where it is not selected, so missing labels become 0 first.
        missing = labels.isnan() if labels.is_floating_point() else labels == -1
        return masked_mean(self.loss_fn(outputs, torch.where(missing, 0, labels)), labelled(labels))

    def metric(self, target: Target) -> Metric:
        def compute(outputs: Tensor, labels: Tensor) -> Tensor | float:
            rows = labelled(labels)
            return self.metric_fn(outputs[rows], labels[rows])

        return WholeMetric(self.metric_name, compute, self.higher_is_better)

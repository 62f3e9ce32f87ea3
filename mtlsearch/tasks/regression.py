"""Regression: real values, standardised by the training data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.tasks.columns import Together, counted_of_columns, mae_of_columns, masked_means
from mtlsearch.tasks.metrics import Metric, mae, r2
from mtlsearch.tasks.task import Description, Target, Task, masked_mean


@dataclass(frozen=True)
class Regression(Task):
    """C real values [B] or [B, C], standardised by the training data; MSE or Huber loss."""

    natural_unit: ClassVar[float | None] = 1.0

    loss_name: Literal["mse", "huber"] = "mse"
    metric_name: Literal["r2", "mae"] = "r2"

    def target(self, data: Data) -> Target:
        labels = _columns(data.column(data.train, self.name)).double()
        valid = ~labels.isnan()
        count = valid.sum(0)
        mean = torch.where(valid, labels, 0).sum(0) / count
        std = (torch.where(valid, labels - mean, 0).square().sum(0) / count).sqrt()
        highest = torch.where(valid, labels, -torch.inf).amax(0)
        lowest = torch.where(valid, labels, torch.inf).amin(0)
        # Not std > 0, which rounding makes true for a constant.
        if not bool((highest > lowest).all()):
            raise self.error("the training data must hold two different values or more of each target")
        return Target(labels.shape[1], mean=mean.float(), std=std.float())

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = _columns(labels)
        if bool(labels.isinf().any()):
            raise self.error("labels must be finite, or NaN where missing, but got infinity")
        return (labels - target.mean) / target.std

    def unscorable(self, labels: Tensor, target: Target) -> str | None:
        """R² needs two values of each target, any error one."""
        valid = ~labels.isnan()
        highest = torch.where(valid, labels, -torch.inf).amax(0)
        lowest = torch.where(valid, labels, torch.inf).amin(0)
        enough = highest > lowest if self.metric_name == "r2" else valid.any(0)
        if bool(enough.all()):
            return None
        count, due = int(valid.sum(0)[~enough][0]), "two different values" if self.metric_name == "r2" else "a value"
        return f"{self.metric_name} needs {due} of each target, but one has {count} labels of one value"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return masked_mean(*self._losses(outputs, labels))

    def _losses(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each value, and whether it counts."""
        valid = ~labels.isnan()
        # Outputs of bf16 are widened: narrower labels would round the values to learn.
        dtype = torch.promote_types(outputs.dtype, labels.dtype)
        known = torch.where(valid, labels, 0).to(dtype)
        loss = F.mse_loss if self.loss_name == "mse" else F.huber_loss
        return loss(outputs.to(dtype), known, reduction="none"), valid

    @classmethod
    def together(cls, tasks: Sequence[Self], targets: Sequence[Target], device: torch.device) -> Together:
        first = tasks[0]
        scale = torch.stack([target.std for target in targets])
        metric = counted_of_columns(r2()) if first.metric_name == "r2" else mae_of_columns(scale)
        return Together(lambda outputs, labels: masked_means(*first._losses(outputs, labels)), metric)

    def metric(self, target: Target) -> Metric:
        return r2() if self.metric_name == "r2" else mae(target.std)

    @classmethod
    def in_unit(cls, outputs: Tensor, about: Description) -> Tensor:
        return outputs * outputs.new_tensor(about["std"]) + outputs.new_tensor(about["mean"])


def _columns(labels: Tensor) -> Tensor:
    labels = labels.float()
    return labels.unsqueeze(1) if labels.ndim == 1 else labels

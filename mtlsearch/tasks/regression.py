"""Regression: real targets, standardised by the training data."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError
from mtlsearch.tasks.metrics import Metric, mae, r2
from mtlsearch.tasks.task import Target, Task, masked_mean


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


def _columns(labels: Tensor) -> Tensor:
    labels = labels.float()
    return labels.unsqueeze(1) if labels.ndim == 1 else labels

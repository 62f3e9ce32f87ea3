"""Tasks as columns: one loss and one metric for all tasks of one kind and options on one source.

A column is one task, with the result that it has by itself: the same loss up to rounding, and the same metric.
Hundreds of small operators become a few large ones.

Shapes: N examples, B of a batch, K tasks, C outputs of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap

from mtlsearch.tasks.metrics import (
    CountedMetric,
    Metric,
    WholeMetric,
    aurocs,
    average_precisions,
    log_odds,
    mae,
)

Losses = Callable[[Tensor, Tensor], Tensor]  # from outputs [B, K, C] and labels [B, K, ...] to the K means
Measure = Callable[[Tensor, Tensor], Tensor]  # of yes-or-no labels [N, C]: `aurocs`, `average_precisions`
AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}  # numbers that are sorted: they stay in a CPU's cache, or fill a GPU
OF_CLASSES: dict[str, Measure] = {"auroc": aurocs, "average_precision": average_precisions}


@dataclass(frozen=True)
class Together:
    """The `loss` and the `metric` of K tasks: both take outputs [N, K, C] and labels [N, K, ...], and give [K]."""

    loss: Losses
    metric: Metric


def masked_means(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean of each task's losses [B, K, ...] where `valid`, 0 where none is; `masked_mean` of each column."""
    rest = tuple(dim for dim in range(losses.ndim) if dim != 1)
    return torch.where(valid, losses, 0).sum(rest) / valid.sum(rest).clamp(min=1)


def counted_of_columns(metric: CountedMetric) -> CountedMetric:
    """The `metric` of each column; its sums are [K, ...]."""
    return replace(metric, count=vmap(metric.count, in_dims=(1, 1)))


def mae_of_columns(scale: Tensor) -> CountedMetric:
    """The mean absolute error of each column in its labels' unit; `scale` [K, C] undoes the standardisation."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        def one(scale: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
            return mae(scale).count(outputs, labels)

        each: Callable[..., Tensor] = vmap(one, in_dims=(0, 1, 1))
        return each(scale.to(labels.device), outputs, labels)

    return replace(mae(scale), count=count)


def of_classes(name: str, classes: int) -> WholeMetric:
    """`auroc` or `average_precision` of each column of class labels [N, K], −1 where missing; see `metrics.auroc`."""
    measure = OF_CLASSES[name]

    def some(outputs: Tensor, labels: Tensor) -> Tensor:
        known, count = labels >= 0, labels.shape[1]
        ids = torch.arange(1 if classes == 2 else 0, classes, device=labels.device)
        odds = log_odds(outputs.double().flatten(0, 1))[:, ids].view(len(labels), -1)
        answers = torch.where(known.unsqueeze(-1), (labels.unsqueeze(-1) == ids).double(), torch.nan)
        found = measure(odds, answers.flatten(1)).view(count, -1)
        return _unbroken(found, (outputs.isnan().any(-1) & known).any(0))

    return WholeMetric(name, partial(_few_at_once, some))


def macro_auroc_of_columns() -> WholeMetric:
    """`multilabel_macro_auroc` of each column of labels [N, K, C]."""

    def some(outputs: Tensor, labels: Tensor) -> Tensor:
        found = aurocs(outputs.flatten(1), labels.flatten(1)).view(labels.shape[1:])
        return _unbroken(found, (outputs.isnan() & ~labels.isnan()).any(-1).any(0))

    return WholeMetric("macro_auroc", partial(_few_at_once, some))


def _few_at_once(some: Losses, outputs: Tensor, labels: Tensor) -> Tensor:
    """`some` of outputs [N, K, C] and labels, on so few columns at once that what it computes takes little memory."""
    size = max(1, AT_ONCE[outputs.device.type] // outputs[:, 0].numel())
    parts = zip(torch.split(outputs, size, 1), torch.split(labels, size, 1), strict=True)
    return torch.cat([some(*part) for part in parts])


def _unbroken(found: Tensor, broken: Tensor) -> Tensor:
    """The mean [K] of values [K, C] that there are, NaN for a column whose outputs are `broken`: they have no order."""
    return torch.where(broken, torch.nan, found.nanmean(-1))


def own_class(kind: type, name: str = "together") -> bool:
    """Whether a class itself defines method `name`: a subclass may have another loss, which columns do not know."""
    return name in vars(kind)


def stacked(labels: Sequence[Tensor]) -> Tensor:
    """The labels [N, ...] of K tasks as columns [N, K, ...]."""
    return torch.stack(list(labels), 1)

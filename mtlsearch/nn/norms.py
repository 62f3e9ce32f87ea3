"""Normalisations over live units alone, and one whose kind is a value.

Legend: B examples, H hidden units (live and padded).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.kernels.launch import NORMS
from mtlsearch.nn.masking import masked


class LayerNorm(nn.Module):
    """Layer normalisation over live units alone; `nn.LayerNorm` would include padding."""

    live: Tensor

    def __init__(self, hidden: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("live", torch.ones(hidden, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        return live_layer_norm(x, self.live, self.weight, self.bias, self.eps)


def live_layer_norm(x: Tensor, live: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer normalisation of `x` [B, H] over the units that are `live` [H]."""
    count = live.sum()
    mean = masked(x, live).sum(-1, keepdim=True) / count
    centred = masked(x - mean, live)
    variance = centred.square().sum(-1, keepdim=True) / count
    return centred * torch.rsqrt(variance + eps) * weight + bias


class AnyNorm(nn.Module):
    """None, batch or layer normalisation by the value of the buffer `kind`, so that one lane can hold all three.

    It computes all and selects one. Its tensors have the same names as those of the separate layers.
    """

    kind: Tensor
    live: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("kind", torch.tensor(0), persistent=False)
        self.register_buffer("live", torch.ones(hidden, dtype=torch.bool))
        self.register_buffer("running_mean", torch.zeros(hidden))
        self.register_buffer("running_var", torch.ones(hidden))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        batch = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)
        layer = live_layer_norm(x, self.live, self.weight, self.bias)
        ways = {"none": x, "batch": batch, "layer": layer}
        none, *normed = (masked(ways[norm], self.kind == index) for index, norm in enumerate(NORMS))
        return sum(normed, none)


def normalisation(norm: str, hidden: int) -> nn.Module:
    """The layer that `norm` names."""
    if norm == "any":
        return AnyNorm(hidden)
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm1d(hidden)
    if norm == "layer":
        return LayerNorm(hidden)
    raise StudyError(f"norm must be none, batch or layer, but got {norm!r}")

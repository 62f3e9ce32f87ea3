"""Normalisations over live units alone, and one whose kind is a value.

Legend: B examples, H hidden units (live and padded).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.kernels.launch import NORMS
from mtlsearch.nn.batched.masking import masked
from mtlsearch.nn.batched.replacing import Make, with_replaced


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


class PaddedLayerNorm(nn.LayerNorm):
    """Takes the place of `nn.LayerNorm` where its units may be padded: it adds nothing to the state dict."""

    live: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> nn.Module:
        """`layer` itself, from now on of this class."""
        layer.__class__ = cls
        assert isinstance(layer, cls)
        live = torch.ones(layer.normalized_shape, dtype=torch.bool)
        layer.register_buffer("live", live, persistent=False)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.elementwise_affine else x.new_ones(())
        bias = self.bias if self.elementwise_affine and self.bias is not None else x.new_zeros(())
        return live_layer_norm(x, self.live, weight, bias, self.eps)


def with_live_norms(module: nn.Module) -> nn.Module:
    """`module` with every `nn.LayerNorm` over one dimension replaced by one that leaves padded units out."""

    def make(layer: nn.Module) -> Make | None:
        fits = type(layer) is nn.LayerNorm and len(layer.normalized_shape) == 1
        return PaddedLayerNorm.of if fits else None

    return with_replaced(module, make)


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

"""Linear and hidden layers whose padded units stay exactly zero."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.kernels.launch import use_kernels
from mtlsearch.kernels.shared_product import shared_product
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.batched.masking import masked
from mtlsearch.nn.norms import AnyNorm, normalisation


class Linear(nn.Linear):
    """`nn.Linear`, but in bf16 a population takes one product for all its members (`shared_product`)."""

    def forward(self, x: Tensor) -> Tensor:
        return shared_linear(x, self.weight, self.bias)


def shared_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x·Wᵀ + b of x [B, I] and W [O, I]."""
    if use_kernels() and bias is not None:
        from mtlsearch.kernels import linear as linear_kernel

        if linear_kernel.fits(x):
            return linear_kernel.linear(x, weight, bias)
    if x.ndim != 2 or not torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        product = shared_product(x, weight)
    return product if bias is None else product + bias


class MaybeBiased(nn.Linear):
    """A linear layer that adds its bias where the buffer `biased` is set; elsewhere the bias has a gradient of 0."""

    biased: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("biased", torch.tensor(True), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return shared_linear(x, self.weight, torch.where(self.biased, self.bias, 0))


class HiddenLayer(nn.Module):
    """Linear, normalisation, ReLU, dropout; padded units give exactly 0."""

    live: Tensor

    def __init__(self, in_features: int, hidden: int, dropout: float, norm: str) -> None:
        super().__init__()
        # Before batch normalisation a bias has no effect: its gradient is rounding noise, which Adam would amplify.
        self.linear = (MaybeBiased if norm == "any" else Linear)(in_features, hidden, bias=norm != "batch")
        self.norm = normalisation(norm, hidden)
        self.dropout = Dropout(dropout)
        self.register_buffer("live", torch.ones(hidden, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if use_kernels() and isinstance(self.norm, AnyNorm):
            return self._by_kernels(x, self.norm)
        return self._activated(self.linear(x))

    def _activated(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(x))
        dropped: Tensor = self.dropout(masked(x, self.live))
        return dropped

    def _by_kernels(self, x: Tensor, norm: AnyNorm) -> Tensor:
        from mtlsearch.kernels import hidden_layer as layer_kernel
        from mtlsearch.kernels import linear as linear_kernel

        if linear_kernel.fits(x):
            assert isinstance(self.linear, MaybeBiased)
            x = linear_kernel.linear(x, self.linear.weight, self.linear.bias, self.linear.biased, self.live)
        else:
            x = self.linear(x)
        if not self.training or not layer_kernel.fits(x):
            return self._activated(x)
        norm.num_batches_tracked.add_(1)
        drop, running = self.dropout, (norm.running_mean, norm.running_var)
        return layer_kernel.activated(x, norm.weight, norm.bias, self.live, norm.kind, drop.rate, drop.key, *running)

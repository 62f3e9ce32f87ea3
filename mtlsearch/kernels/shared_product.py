"""A linear layer's product in bf16: one matrix product where the members of a population share their inputs.

For each example the outputs then lie member by member, units contiguous, in the order in which the next operators read
them. A batched product would copy the inputs for every member first. A product of the weights with the transposed
inputs gives transposed outputs, and operators between such layers took half of a step (benchmarks/RESULTS.md).

Legend: M members, B examples, I inputs, H units.
"""

from typing import Any

import torch
from torch import Tensor

from mtlsearch.kernels.launch import members_first

Dims = tuple[int | None, ...]


def in_bf16(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices, or of batches of them, in bf16; the result has the dtype of `b`."""
    return torch.matmul(a.bfloat16(), b.bfloat16()).to(b.dtype)


class _WeightGradient(torch.autograd.Function):
    """gᵀ·x of the outputs' gradient g [B, H] and x [B, I]."""

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        return in_bf16(g.mT, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Dims, g: Tensor, x: Tensor) -> tuple[Tensor, int]:
        if in_dims[0] is not None and in_dims[1] is None:
            side_by_side = g.movedim(in_dims[0], 1)  # [B, M, H]
            product = in_bf16(side_by_side.flatten(1).mT, x)
            return product.view(*side_by_side.shape[1:], -1), 0
        return in_bf16(members_first(g, in_dims[0]).mT, members_first(x, in_dims[1])), 0


class _Product(torch.autograd.Function):
    """x·Wᵀ of x [B, I] and W [H, I]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return in_bf16(x, weight.mT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Dims, x: Tensor, weight: Tensor) -> tuple[Tensor, int]:
        if in_dims[0] is None and in_dims[1] is not None:
            stacked = weight.movedim(in_dims[1], 0)  # [M, H, I]
            product = in_bf16(x, stacked.flatten(0, 1).mT)
            return product.view(-1, *stacked.shape[:2]), 1
        return in_bf16(members_first(x, in_dims[0]), members_first(weight, in_dims[1]).mT), 0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        dx = in_bf16(g, weight) if ctx.needs_input_grad[0] else None
        return dx, _WeightGradient.apply(g, x)


def shared_product(x: Tensor, weight: Tensor) -> Tensor:
    """x·Wᵀ in bf16 of x [B, I] and W [H, I]."""
    product: Tensor = _Product.apply(x, weight)
    return product

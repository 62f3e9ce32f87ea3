"""Selecting by a mask, faster than `torch.where` on a CPU.

A product with a mask is no selection, since 0 · NaN is NaN. `torch.where` selects, but its CPU kernel handles one
number at a time: 300 µs for [16, 64, 128] floats. `threshold_backward` makes the same selection with vector
instructions: 21 µs. It has a derivative, a batching rule and a forward derivative.
"""

import torch
from torch import Tensor


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """`x` where the bools `mask`, of a shape that broadcasts to that of `x`, are set; 0 elsewhere."""
    selected: Tensor = torch.ops.aten.threshold_backward(x, mask.to(x.dtype), 0)
    return selected

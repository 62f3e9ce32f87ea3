"""Triton kernels of losses: the mean cross-entropy over labelled examples, and the record of losses not finite.

PyTorch takes thirty operators for the first.

Legend: M members, B examples, C classes.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mtlsearch.kernels.launch import launch, stacked

MOST = 16384  # numbers that a program holds at once
BLOCK = 256  # losses that `note` reads at once


@triton.jit  # type: ignore[untyped-decorator]
def _cross_entropy(  # type: ignore[no-untyped-def]  # Triton takes every annotation for one of its own
    outputs_at, labels_at, loss_at, gradient_at, rows, classes, labels_stride, all_rows: tl.constexpr,
    all_classes: tl.constexpr,
):  # fmt: skip
    member = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, all_rows)[:, None], tl.arange(0, all_classes)[None, :]
    inside = (row < rows) & (column < classes)
    at = member * rows * classes + row * classes + column
    x = tl.where(column < classes, tl.load(outputs_at + at, inside, other=0.0), float("-inf"))
    label = tl.load(labels_at + member * labels_stride + row, row < rows, other=-1)
    count = tl.maximum(tl.sum((label >= 0).to(tl.int32)), 1).to(x.dtype)
    x = x - tl.max(x, 1)[:, None]
    power = tl.exp(x)
    total = tl.sum(power, 1)[:, None]
    is_label = (column == label) & inside
    losses = tl.where(label >= 0, tl.log(total) - tl.sum(tl.where(is_label, x, 0.0), 1)[:, None], 0.0)
    tl.store(loss_at + member, tl.sum(losses) / count)
    gradient = tl.where(label >= 0, (power / total - is_label.to(x.dtype)) / count, 0.0)
    tl.store(gradient_at + at, gradient, inside)


def fits(outputs: Tensor) -> bool:
    """Whether the kernel can take outputs [B, C] like these."""
    return (
        outputs.ndim == 2
        and triton.next_power_of_2(len(outputs)) * triton.next_power_of_2(outputs.shape[1]) <= MOST
        and outputs.dtype in (torch.float32, torch.float64)
    )


def _run(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss [M] and its gradient [M, B, C] of outputs [M, B, C]; labels [M, B], or [B] where members share them."""
    members, rows, classes = outputs.shape
    outputs, labels = outputs.contiguous(), labels.contiguous()
    loss, gradient = outputs.new_empty(members), torch.empty_like(outputs)
    launch(
        _cross_entropy, (members,), outputs, labels, loss, gradient, rows, classes, rows if labels.ndim == 2 else 0,
        all_rows=triton.next_power_of_2(rows), all_classes=triton.next_power_of_2(classes),
    )  # fmt: skip
    return loss, gradient


class _CrossEntropy(torch.autograd.Function):
    """The kernel as a function for `vmap` and `grad`."""

    @staticmethod
    def forward(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = _run(outputs.unsqueeze(0), labels)
        return loss.squeeze(0), gradient.squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> Any:
        outputs, labels = given
        if in_dims[1] is not None:
            (labels,) = stacked(info.batch_size, in_dims[1:], given[1:])
        (outputs,) = stacked(info.batch_size, in_dims[:1], given[:1])
        return _run(outputs, labels), (0, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return grads[0] * gradient, None


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy [] of outputs [B, C] over the examples whose label [B] is not negative."""
    loss: Tensor = _CrossEntropy.apply(outputs, labels)[0]
    return loss


@triton.jit(do_not_specialize=["numbers"])  # type: ignore[untyped-decorator]
def _note(losses_at, bad_at, tick_at, numbers, block: tl.constexpr):  # type: ignore[no-untyped-def]
    tick = tl.load(tick_at)
    for start in range(0, numbers, block):
        place = start + tl.arange(0, block)
        inside = place < numbers
        loss = tl.load(losses_at + place, inside, other=0.0)
        bad = tl.load(bad_at + place, inside, other=0)
        tl.store(bad_at + place, tl.where(loss - loss == 0, bad, tl.minimum(bad, tick)), inside)
    tl.store(tick_at, tick + 1)


def note(losses: Tensor, bad: Tensor, tick: Tensor) -> None:
    """Lower `bad` [M, T] to the step `tick` [] where the loss [M, T] is not finite, and add 1 to `tick`."""
    launch(_note, (1,), losses.contiguous(), bad, tick, losses.numel(), block=BLOCK)

"""The steps of a recurrent layer as one operator: for autograd, for `vmap`, and for a compiler.

A compiler takes it whole: unrolled, a layer of 32 steps would be a thousand operators.
Legend: that of `cells`; M members.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mtlsearch.nn.batched import cells as cell_steps

Dim = int | None


@torch.library.custom_op("mtlsearch::recurrence", mutates_args=())
def _forward(
    kind: str, x: Tensor, w: Tensor, b: Tensor, h: Tensor, c: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return cell_steps.forward_steps(kind, x, w, b, h, c, valid)


@_forward.register_fake
def _(
    kind: str, x: Tensor, w: Tensor, b: Tensor, h: Tensor, c: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return cell_steps.empty_steps(kind, x, h)


@torch.library.custom_op("mtlsearch::recurrence_backward", mutates_args=())
def _backward(
    kind: str,
    hidden: Tensor,
    cells: Tensor,
    kept: Tensor,
    w: Tensor,
    valid: Tensor | None,
    grad: Tensor,
    last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return cell_steps.backward_steps(kind, hidden, cells, kept, w, valid, grad, last)


@_backward.register_fake
def _(
    kind: str,
    hidden: Tensor,
    cells: Tensor,
    kept: Tensor,
    w: Tensor,
    valid: Tensor | None,
    grad: Tensor,
    last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    groups, after, many, _ = hidden.shape
    dx = w.new_empty(groups, after - 1, many, w.shape[-2])
    return dx, w.new_empty(w.shape), w.new_empty(w.shape[:-1]), last.new_empty(last.shape), last.new_empty(last.shape)


class Recurrence(torch.autograd.Function):
    """`forward_steps`, with a derivative. Of the cells, only the last one may be used."""

    @staticmethod
    def forward(
        kind: str, x: Tensor, w: Tensor, b: Tensor, h: Tensor, c: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _forward(kind, x, w, b, h, c, valid)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        kind, _, w, _, _, _, valid = inputs
        hidden, cells, kept = output
        ctx.kind = kind
        ctx.mark_non_differentiable(kept)
        ctx.save_for_backward(hidden, cells, kept, w, valid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, of_cells: Tensor, of_kept: Tensor) -> tuple[Tensor | None, ...]:
        hidden, cells, kept, w, valid = ctx.saved_tensors
        last = of_cells[:, -1] if ctx.kind == "LSTM" else torch.zeros_like(hidden[:, -1])
        found = RecurrenceBackward.apply(ctx.kind, hidden, cells, kept, w, valid, grad, last)
        return None, *found, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Dim, ...], kind: str, *tensors: Tensor | None) -> Any:
        return _batched(Recurrence, info, in_dims, kind, tensors)


class RecurrenceBackward(torch.autograd.Function):
    """`backward_steps`, which have no derivative."""

    @staticmethod
    def forward(kind: str, *tensors: Any) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _backward(kind, *tensors)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("a recurrent layer has no derivative of a derivative here")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Dim, ...], kind: str, *tensors: Tensor | None) -> Any:
        return _batched(RecurrenceBackward, info, in_dims, kind, tensors)


def _batched(
    function: type[torch.autograd.Function],
    info: Any,
    in_dims: tuple[Dim, ...],
    kind: str,
    tensors: tuple[Tensor | None, ...],
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """`function` with all members as groups: their tensors [M, G, ...] as [M G, ...], and back."""
    members = info.batch_size

    def grouped(tensor: Tensor | None, dim: Dim) -> Tensor | None:
        if tensor is None:
            return None
        first = tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return first.flatten(0, 1)

    found = function.apply(kind, *(grouped(*each) for each in zip(tensors, in_dims[1:], strict=True)))
    return tuple(torch.unflatten(each, 0, (members, -1)) for each in found), (0,) * len(found)

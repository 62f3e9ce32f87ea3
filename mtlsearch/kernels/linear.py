"""A linear layer of all members as one Triton kernel forward and one backward, which skip padded units.

A tile whose units are all dead costs no arithmetic: members of every width share a lane, each at its own cost.

Legend: M members, B examples (rows), I inputs, H units.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mtlsearch.kernels import launch as kernels
from mtlsearch.kernels.launch import launch, members_first, stacked

TF32_SINCE = (8, 0)  # compute capability
FEWEST = 16  # the shortest side of a tile
# The longest sides of a tile. Sums run over inputs forward and over rows backward, one tile after the other.
FORWARD_ROWS, FORWARD_UNITS, FORWARD_INPUTS = 128, 64, 32
BACKWARD_ROWS, BACKWARD_UNITS, BACKWARD_INPUTS = 32, 64, 128


@triton.jit  # type: ignore[untyped-decorator]
def _product(a, b, total, precision: tl.constexpr):  # type: ignore[no-untyped-def]
    """`total` and the product of two tiles."""
    if precision == "bf16":
        total = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    else:
        total = tl.dot(a, b, total, input_precision=precision, out_dtype=total.dtype)
    return total


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _linear_forward(  # type: ignore[no-untyped-def]  # Triton takes every annotation for one of its own
    x_at, weight_at, bias_at, biased_at, live_at, y_at, rows, inputs, units, x_stride, masked: tl.constexpr,
    precision: tl.constexpr, block_rows: tl.constexpr, block_units: tl.constexpr, block_inputs: tl.constexpr,
):  # fmt: skip
    member = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    unit = tl.program_id(1) * block_units + tl.arange(0, block_units)
    live, is_biased = unit < units, True
    if masked:
        live = tl.load(live_at + member * units + unit, live, other=0) != 0
        is_biased = tl.load(biased_at + member) != 0
    total = tl.zeros((block_rows, block_units), x_at.dtype.element_ty)
    if tl.max(live.to(tl.int32), 0) > 0:
        x_row = x_at + member * x_stride + row[:, None] * inputs
        weight_row = weight_at + (member * units + unit[None, :]) * inputs
        for start in range(0, inputs, block_inputs):
            place = start + tl.arange(0, block_inputs)
            x = tl.load(x_row + place[None, :], (row < rows)[:, None] & (place < inputs)[None, :], other=0.0)
            weight = tl.load(weight_row + place[:, None], live[None, :] & (place < inputs)[:, None], other=0.0)
            total = _product(x, weight, total, precision)
        if is_biased:
            total += tl.load(bias_at + member * units + unit, live, other=0.0)[None, :]
    at = y_at + member * rows * units + row[:, None] * units + unit[None, :]
    tl.store(at, tl.where(live[None, :], total, 0.0), (row < rows)[:, None] & (unit < units)[None, :])


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _linear_backward(  # type: ignore[no-untyped-def]
    g_at, x_at, biased_at, live_at, dweight_at, dbias_at, rows, inputs, units, x_stride, row_stride, input_stride,
    masked: tl.constexpr, precision: tl.constexpr, block_rows: tl.constexpr, block_units: tl.constexpr,
    block_inputs: tl.constexpr,
):  # fmt: skip
    member = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * block_inputs + tl.arange(0, block_inputs)
    unit = tl.program_id(1) * block_units + tl.arange(0, block_units)
    live, is_biased = unit < units, True
    if masked:
        live = tl.load(live_at + member * units + unit, live, other=0) != 0
        is_biased = tl.load(biased_at + member) != 0
    dtype = x_at.dtype.element_ty
    total, bias = tl.zeros((block_units, block_inputs), dtype), tl.zeros((block_units,), dtype)
    if tl.max(live.to(tl.int32), 0) > 0:
        x_column = x_at + member * x_stride + place[None, :] * input_stride
        g_column = g_at + member * rows * units + unit[None, :]
        for start in range(0, rows, block_rows):
            row = start + tl.arange(0, block_rows)
            g = tl.load(g_column + row[:, None] * units, (row < rows)[:, None] & live[None, :], other=0.0)
            inside = (row < rows)[:, None] & (place < inputs)[None, :]
            x = tl.load(x_column + row[:, None] * row_stride, inside, other=0.0)
            total = _product(tl.trans(g), x, total, precision)
            bias += tl.sum(g, 0)
    at = dweight_at + (member * units + unit[:, None]) * inputs + place[None, :]
    tl.store(at, total, (unit < units)[:, None] & (place < inputs)[None, :])
    if tl.program_id(0) == 0:
        tl.store(dbias_at + member * units + unit, tl.where(is_biased, bias, 0.0), unit < units)


def fits(x: Tensor) -> bool:
    """Whether the kernels can take inputs [B, I] like `x`."""
    return x.ndim == 2 and x.dtype in kernels.LINEAR_DTYPES


def _precision(x: Tensor) -> str:
    """The precision of products; fp32 is taken as three of tf32, which lose no more than fp32 (CUTLASS's 3xTF32)."""
    if torch.is_autocast_enabled(x.device.type):
        return "bf16"
    if x.device.type == "cuda" and torch.cuda.get_device_capability(x.device) < TF32_SINCE:
        return "ieee"
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _by_member(x: Tensor) -> tuple[Tensor, int]:
    """Inputs with contiguous examples, and the stride to the next member's: 0 where members share them."""
    if x.stride()[-2:] != (x.shape[-1], 1):
        x = x.contiguous()
    return x, 0 if x.ndim == 2 else x.stride(0)


def _side(size: int, most: int) -> int:
    """A tile's side: the power of 2 that holds `size`, between FEWEST and `most`."""
    whole: int = triton.next_power_of_2(size)
    return max(FEWEST, min(most, whole))


def _run_forward(
    precision: str, x: Tensor, weight: Tensor, bias: Tensor, biased: Tensor | None, live: Tensor | None
) -> Tensor:
    """Outputs [M, B, H] of x [M, B, I], or [B, I] where members share it."""
    members, units, inputs = weight.shape
    rows, (x, x_stride) = x.shape[-2], _by_member(x)
    y = x.new_empty(members, rows, units)
    sides = {"block_rows": _side(rows, FORWARD_ROWS), "block_units": _side(units, FORWARD_UNITS)}
    launch(
        _linear_forward,
        (triton.cdiv(rows, sides["block_rows"]), triton.cdiv(units, sides["block_units"]), members),
        x, weight, bias, bias if biased is None else biased, bias if live is None else live, y, rows, inputs, units,
        x_stride, masked=live is not None, precision=precision, block_inputs=FORWARD_INPUTS,
        **sides,
    )  # fmt: skip
    return y


def _run_backward(
    precision: str, g: Tensor, x: Tensor, biased: Tensor | None, live: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gradients of weight [M, H, I] and bias [M, H] by those of the outputs [M, B, H]."""
    members, rows, units = g.shape
    inputs = x.shape[-1]
    if x.ndim == 2:  # shared inputs are transposed once, so that products read them in order
        x = x.mT.contiguous().mT
    x_stride, row_stride, input_stride = (0, *x.stride()) if x.ndim == 2 else x.stride()
    dweight, dbias = g.new_empty(members, units, inputs), g.new_empty(members, units)
    sides = {"block_units": _side(units, BACKWARD_UNITS), "block_inputs": _side(inputs, BACKWARD_INPUTS)}
    launch(
        _linear_backward,
        (triton.cdiv(inputs, sides["block_inputs"]), triton.cdiv(units, sides["block_units"]), members),
        g.contiguous(), x, dbias if biased is None else biased, dbias if live is None else live, dweight, dbias, rows,
        inputs, units, x_stride, row_stride, input_stride, masked=live is not None, precision=precision,
        block_rows=BACKWARD_ROWS, **sides,
    )  # fmt: skip
    return dweight, dbias


def _batched(info: Any, in_dims: tuple[int | None, ...], x_at: int, given: Sequence[Any]) -> list[Any]:
    """Tensors with the members first, contiguous, as from `stacked`; None stays None.

    The inputs, at place `x_at`, are neither copied nor repeated: members may share them, and strides are read.
    """
    found: list[Any] = []
    for number, (dim, tensor) in enumerate(zip(in_dims, given, strict=True)):
        if tensor is None or number == x_at:
            found.append(members_first(tensor, dim))
        else:
            found += stacked(info.batch_size, (dim,), (tensor,))
    return found


def _one(tensors: Sequence[Any]) -> Iterator[Any]:
    """One member's tensors, with a dimension of members in front."""
    return (None if tensor is None else tensor.unsqueeze(0) for tensor in tensors)


class _Gradient(torch.autograd.Function):
    """The backward kernel as a function for `vmap`."""

    @staticmethod
    def forward(precision: str, *given: Any) -> tuple[Tensor, ...]:
        return tuple(out.squeeze(0) for out in _run_backward(precision, *_one(given)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], precision: str, *given: Any) -> Any:
        return _run_backward(precision, *_batched(info, in_dims[1:], 1, given)), (0, 0)


class _Linear(torch.autograd.Function):
    """The forward kernel as a function for `vmap` and `grad`."""

    @staticmethod
    def forward(precision: str, *given: Any) -> Tensor:
        return _run_forward(precision, *_one(given)).squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.precision, x, weight, _, biased, live = inputs
        ctx.save_for_backward(x, weight, biased, live)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], precision: str, *given: Any) -> Any:
        return _run_forward(precision, *_batched(info, in_dims[1:], 0, given)), 0

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, biased, live = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[1]:
            kind = torch.bfloat16 if ctx.precision == "bf16" else g.dtype
            dx = torch.matmul(g.to(kind), weight.to(kind)).to(g.dtype)
        return None, dx, *_Gradient.apply(ctx.precision, g, x, biased, live), None, None


def linear(x: Tensor, weight: Tensor, bias: Tensor, biased: Tensor | None = None, live: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b of one member's x [B, I] and W [H, I].

    With `biased` [] and `live` [H], b is added only where `biased` is set, and outputs of units not `live` are 0.
    """
    y: Tensor = _Linear.apply(_precision(x), x, weight, bias, biased, live)
    return y

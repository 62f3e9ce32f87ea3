"""A hidden layer after its product, as one Triton kernel forward and one backward, where PyTorch takes ninety.

It is one of three normalisations by value (`norms.AnyNorm`), ReLU, the mask of live units, and dropout. A program takes
columns, with all examples, for batch normalisation and none; it takes rows, with all units, for layer normalisation.

Legend: M members, B examples (rows), H hidden units (columns), N the larger of B and H.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mtlsearch.kernels import noise
from mtlsearch.kernels.launch import NORMS, launch, stacked

TILE = 2048  # numbers that a program holds at once: all examples of few units, or part of the units of few examples
FEW_COLUMNS, PART_COLUMNS = 16, 512
MOST_ROWS = 1024
# Their alignment depends on the number of members: specialising on it would compile again for no gain.
PER_MEMBER = ["kind_at", "rate_at", "key_at"]
EPS, MOMENTUM = 1e-5, 0.1  # torch's
NONE, BATCH, LAYER = (tl.constexpr(NORMS.index(name)) for name in ("none", "batch", "layer"))
MASK, STRIDE = tl.constexpr(noise.MASK), tl.constexpr(noise.STRIDE)
BASE = tl.constexpr(noise.STRIDE * noise.STRIDE & noise.MASK)
FIRST, SECOND, RANGE = (tl.constexpr(n) for n in (noise.FIRST, noise.SECOND, float(1 << noise.BITS)))


@triton.jit
def _tile(x_at, live_at, row, column, member, rows, columns):  # type: ignore[no-untyped-def]
    """The places of a tile's numbers, which of them exist, which units are live, and the live units' numbers."""
    inside = (row < rows) & (column < columns)
    live = tl.load(live_at + member * columns + column, column < columns, other=0) != 0
    at = member * rows * columns + row * columns + column
    return at, inside, live, tl.load(x_at + at, inside & live, other=0.0)


@triton.jit
def _per(start, member, place, count):  # type: ignore[no-untyped-def]
    """A member's numbers [count] at `place`."""
    return tl.load(start + member * count + place, place < count, other=0.0)


@triton.jit
def _drop(x, row, column, rate, key):  # type: ignore[no-untyped-def]
    """`Dropout`, by the hash of `noise`."""
    drawn = (key + row * STRIDE + column + BASE) & MASK
    drawn = ((drawn ^ (drawn >> 16)) * FIRST) & MASK
    drawn = ((drawn ^ (drawn >> 15)) * SECOND) & MASK
    kept = (drawn ^ (drawn >> 16)) >= (rate.to(tl.float64) * RANGE).to(tl.int32)
    return tl.where(kept, x / (1 - rate), 0.0)


@triton.jit
def _activate(x, live, row, column, rate, key):  # type: ignore[no-untyped-def]
    # Not maximum, which would hide NaN.
    return _drop(tl.where(live, tl.where(x <= 0, 0.0, x), 0.0), row, column, rate, key)


@triton.jit
def _activate_back(g, x, live, row, column, rate, key):  # type: ignore[no-untyped-def]
    return tl.where(live & ((x <= 0) == 0), _drop(g, row, column, rate, key), 0.0)


@triton.jit(do_not_specialize_on_alignment=PER_MEMBER)  # type: ignore[untyped-decorator]
def _layer_forward(  # type: ignore[no-untyped-def]
    x_at, y_at, mean_at, scale_at, weight_at, bias_at, live_at, kind_at, rate_at, key_at, running_mean_at,
    running_var_at, rows, columns, most, eps: tl.constexpr, momentum: tl.constexpr, all_rows: tl.constexpr,
    few_columns: tl.constexpr, few_rows: tl.constexpr, part_columns: tl.constexpr,
):  # fmt: skip
    tile, member = tl.program_id(0), tl.program_id(1).to(tl.int64)
    kind, key, rate = tl.load(kind_at + member), tl.load(key_at + member), tl.load(rate_at + member)
    # A bare number would have single precision.
    dtype = x_at.dtype.element_ty
    small, part, examples = tl.full((1, 1), eps, dtype), tl.full((1, 1), momentum, dtype), rows.to(dtype)
    if kind == LAYER:
        row = tile * few_rows + tl.arange(0, few_rows)[:, None]
        part_column = tl.arange(0, part_columns)[None, :]
        count, total = tl.zeros((1, 1), dtype), tl.zeros((few_rows, 1), dtype)
        for start in range(0, columns, part_columns):
            column = start + part_column
            at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
            count += tl.sum(live.to(dtype), 1)[:, None]
            total += tl.sum(tl.where(live, x, 0.0), 1)[:, None]
        mean, squares = total / count, tl.zeros((few_rows, 1), dtype)
        for start in range(0, columns, part_columns):
            column = start + part_column
            at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
            centred = tl.where(live, x - mean, 0.0)
            squares += tl.sum(centred * centred, 1)[:, None]
        scale = 1 / tl.sqrt(squares / count + small)
        tl.store(mean_at + member * most + row, mean, row < rows)
        tl.store(scale_at + member * most + row, scale, row < rows)
        for start in range(0, columns, part_columns):
            column = start + part_column
            at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
            weight, bias = _per(weight_at, member, column, columns), _per(bias_at, member, column, columns)
            normed = tl.where(live, x - mean, 0.0) * scale * weight + bias
            tl.store(y_at + at, _activate(normed, live, row, column, rate, key), inside)
    if kind != LAYER:  # not else: Triton requires tiles of one shape in both branches
        row, column = tl.arange(0, all_rows)[:, None], tile * few_columns + tl.arange(0, few_columns)[None, :]
        at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
        if kind == BATCH:
            mean = tl.sum(x, 0)[None, :] / examples
            centred = tl.where(inside, x - mean, 0.0)
            var = tl.sum(centred * centred, 0)[None, :] / examples
            scale = 1 / tl.sqrt(var + small)
            weight, bias = _per(weight_at, member, column, columns), _per(bias_at, member, column, columns)
            x = centred * scale * weight + bias
            tl.store(mean_at + member * most + column, mean, column < columns)
            tl.store(scale_at + member * most + column, scale, column < columns)
            units = member * columns + column
            before = _per(running_mean_at, member, column, columns)
            tl.store(running_mean_at + units, before + part * (mean - before), column < columns)
            before, var = _per(running_var_at, member, column, columns), var * (examples / (examples - 1))
            tl.store(running_var_at + units, before + part * (var - before), column < columns)
        tl.store(y_at + at, _activate(x, live, row, column, rate, key), inside)


@triton.jit
def _normed_back(g, x, live, mean, scale, weight, bias, row, column, rate, key):  # type: ignore[no-untyped-def]
    """The normalised numbers before weight and bias, and the gradient of the numbers after them."""
    unit = tl.where(live, x - mean, 0.0) * scale
    return unit, _activate_back(g, unit * weight + bias, live, row, column, rate, key)


@triton.jit(do_not_specialize_on_alignment=PER_MEMBER)  # type: ignore[untyped-decorator]
def _layer_backward(  # type: ignore[no-untyped-def]
    g_at, x_at, mean_at, scale_at, weight_at, bias_at, live_at, kind_at, rate_at, key_at, dx_at, dweight_at,
    dbias_at, rows, columns, most, all_rows: tl.constexpr, few_columns: tl.constexpr, few_rows: tl.constexpr,
    part_columns: tl.constexpr,
):  # fmt: skip
    tile, member = tl.program_id(0), tl.program_id(1).to(tl.int64)
    kind, key, rate = tl.load(kind_at + member), tl.load(key_at + member), tl.load(rate_at + member)
    dtype = x_at.dtype.element_ty
    examples = rows.to(dtype)
    statistics = member * most
    if kind == LAYER:
        row = tile * few_rows + tl.arange(0, few_rows)[:, None]
        part_column = tl.arange(0, part_columns)[None, :]
        mean = tl.load(mean_at + statistics + row, row < rows, other=0.0)
        scale = tl.load(scale_at + statistics + row, row < rows, other=0.0)
        count = tl.zeros((1, 1), dtype)
        along, across = tl.zeros((few_rows, 1), dtype), tl.zeros((few_rows, 1), dtype)
        for start in range(0, columns, part_columns):
            column = start + part_column
            at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
            weight, bias = _per(weight_at, member, column, columns), _per(bias_at, member, column, columns)
            g = tl.load(g_at + at, inside & live, other=0.0)
            unit, g = _normed_back(g, x, live, mean, scale, weight, bias, row, column, rate, key)
            g *= weight
            count += tl.sum(live.to(dtype), 1)[:, None]
            along += tl.sum(g, 1)[:, None]
            across += tl.sum(g * unit, 1)[:, None]
        for start in range(0, columns, part_columns):
            column = start + part_column
            at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
            weight, bias = _per(weight_at, member, column, columns), _per(bias_at, member, column, columns)
            g = tl.load(g_at + at, inside & live, other=0.0)
            unit, g = _normed_back(g, x, live, mean, scale, weight, bias, row, column, rate, key)
            g *= weight
            dx = scale * (g - along / count - unit * across / count)
            tl.store(dx_at + at, tl.where(live, dx, 0.0), inside)
    # The gradients of weight and bias are sums over examples: they take columns, for every kind.
    if tile * few_columns < columns:
        row, column = tl.arange(0, all_rows)[:, None], tile * few_columns + tl.arange(0, few_columns)[None, :]
        at, inside, live, x = _tile(x_at, live_at, row, column, member, rows, columns)
        weight, bias = _per(weight_at, member, column, columns), _per(bias_at, member, column, columns)
        g, units = tl.load(g_at + at, inside & live, other=0.0), member * columns + column
        if kind == NONE:
            tl.store(dx_at + at, _activate_back(g, x, live, row, column, rate, key), inside)
            tl.store(dweight_at + units, tl.zeros_like(weight), column < columns)
            tl.store(dbias_at + units, tl.zeros_like(bias), column < columns)
        else:
            # Layer normalisation has a mean and a scale per example, batch normalisation per unit.
            of = tl.where(kind == LAYER, row, column)
            mean = tl.load(mean_at + statistics + of, inside, other=0.0)
            scale = tl.load(scale_at + statistics + of, inside, other=0.0)
            unit, g = _normed_back(g, x, live & inside, mean, scale, weight, bias, row, column, rate, key)
            dweight, dbias = tl.sum(g * unit, 0)[None, :], tl.sum(g, 0)[None, :]
            tl.store(dweight_at + units, dweight, column < columns)
            tl.store(dbias_at + units, dbias, column < columns)
            if kind == BATCH:
                dx = weight * scale * (g - dbias / examples - unit * dweight / examples)
                tl.store(dx_at + at, dx, inside)


def fits(x: Tensor) -> bool:
    """Whether the kernels can take inputs [B, H] like `x`."""
    return x.ndim == 2 and 1 < len(x) <= MOST_ROWS and x.dtype in (torch.float32, torch.float64)


def _programs(x: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid for inputs [M, B, H], and the sides of its tiles; those do not depend on H, or each H would compile."""
    members, rows, columns = x.shape
    all_rows = triton.next_power_of_2(rows)
    few_columns, few_rows = min(FEW_COLUMNS, TILE // all_rows), TILE // PART_COLUMNS
    tiles = max(triton.cdiv(columns, few_columns), triton.cdiv(rows, few_rows))
    sides = {
        "all_rows": all_rows,
        "few_columns": few_columns,
        "few_rows": few_rows,
        "part_columns": PART_COLUMNS,
    }
    return (tiles, members), sides


def _run_forward(x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [M, B, H], and the mean and scale [M, N] of each member's examples or units."""
    weight, bias, live, kind, rate, key, running_mean, running_var = rest
    members, rows, columns = x.shape
    most = max(rows, columns)
    x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    mean, scale = x.new_empty(members, most), x.new_empty(members, most)
    grid, sides = _programs(x)
    launch(
        _layer_forward, grid, x, y, mean, scale, weight, bias, live, kind, rate, key, running_mean, running_var, rows,
        columns, most, eps=EPS, momentum=MOMENTUM, **sides,
    )  # fmt: skip
    return y, mean, scale


def _run_backward(g: Tensor, x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x [M, B, H], weight and bias [M, H]."""
    mean, scale, weight, bias, live, kind, rate, key = rest
    x = x.contiguous()
    dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
    grid, sides = _programs(x)
    launch(
        _layer_backward, grid, g.contiguous(), x, mean, scale, weight, bias, live, kind, rate, key, dx, dweight, dbias,
        *x.shape[1:], mean.shape[1], **sides,
    )  # fmt: skip
    return dx, dweight, dbias


class _Gradient(torch.autograd.Function):
    """The backward kernel as a function for `vmap`."""

    @staticmethod
    def forward(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(out.squeeze(0) for out in _run_backward(*(tensor.unsqueeze(0) for tensor in given)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> Any:
        return _run_backward(*stacked(info.batch_size, in_dims, given)), (0, 0, 0)


class _Activated(torch.autograd.Function):
    """The forward kernel as a function for `vmap` and `grad`; it changes the running statistics in place."""

    @staticmethod
    def forward(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(out.squeeze(0) for out in _run_forward(*(tensor.unsqueeze(0) for tensor in given)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        x, *rest, _, _ = inputs
        _, mean, scale = output
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mean, scale, *rest)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> Any:
        return _run_forward(*stacked(info.batch_size, in_dims, given)), (0, 0, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        dx, dweight, dbias = _Gradient.apply(grads[0], *ctx.saved_tensors)
        return dx, dweight, dbias, *[None] * 6


def activated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    live: Tensor,
    kind: Tensor,
    rate: Tensor,
    key: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
) -> Tensor:
    """`AnyNorm`, ReLU, the mask and `Dropout` of one member's x [B, H] in training.

    The running statistics [H] change where `kind` is batch normalisation.
    """
    y: Tensor = _Activated.apply(x, weight, bias, live, kind, rate, key, running_mean, running_var)[0]
    return y

"""`optim.update` as one Triton kernel a parameter: one pass over memory, where PyTorch's operators take about thirty.

Compiled once in a second or two, whatever the shapes are; needs CUDA, a C compiler, and Python's headers.

Legend: M members, P a parameter's shape, N the numbers in P.
"""

from functools import cache
from subprocess import CalledProcessError

import torch
import triton
import triton.language as tl
from torch import Tensor

from mtlsearch.optim import EPS, IDLE, Coefficients, Stacked

BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _update(  # type: ignore[no-untyped-def]  # Triton takes every annotation for one of its own
    p_at,
    g_at,
    first_at,
    second_at,
    l2_at,
    keep_first_at,
    add_first_at,
    keep_second_at,
    is_adam_at,
    is_rmsprop_at,
    length_at,
    unbias_at,
    shrink_at,
    clip_at,
    numbers,
    eps: tl.constexpr,
    clips: tl.constexpr,
    block: tl.constexpr,
):
    member = tl.program_id(1)
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < numbers
    at = member.to(tl.int64) * numbers + place
    p = tl.load(p_at + at, inside)
    kind = p.dtype
    l2 = tl.load(l2_at + member).to(kind)
    keep_first = tl.load(keep_first_at + member).to(kind)
    add_first = tl.load(add_first_at + member).to(kind)
    keep_second = tl.load(keep_second_at + member).to(kind)
    length = tl.load(length_at + member).to(kind)
    unbias = tl.load(unbias_at + member).to(kind)
    shrink = tl.load(shrink_at + member).to(kind)
    is_adam = tl.load(is_adam_at + member) > 0
    is_rmsprop = tl.load(is_rmsprop_at + member) > 0
    g = tl.load(g_at + at, inside)
    if clips:
        g = g * tl.load(clip_at + member).to(kind)
    g = g + l2 * p
    v = keep_second * tl.load(second_at + at, inside) + (1 - keep_second) * g * g
    v = tl.where(is_adam | is_rmsprop, v, 0.0)
    divisor = tl.where(is_adam | is_rmsprop, 1 / (tl.sqrt(v) * unbias + eps), 1.0)
    m = keep_first * tl.load(first_at + at, inside) + add_first * tl.where(is_rmsprop, g * divisor, g)
    p = p * shrink - length * tl.where(is_adam, m * divisor, m)
    tl.store(p_at + at, p.to(kind), inside)
    tl.store(first_at + at, m.to(kind), inside)
    tl.store(second_at + at, v.to(kind), inside)


def update(
    params: Stacked,
    grads: Stacked,
    first: Stacked,
    second: Stacked,
    c: Coefficients,
    scale: Coefficients,
    clip: Tensor | None = None,
) -> None:
    """What `optim.update` does, on CUDA. Parameters [M, P] and moments are contiguous."""
    for name, p in params.items():
        numbers = p[0].numel()
        _update[(triton.cdiv(numbers, BLOCK), len(p))](
            p,
            grads[name].contiguous(),
            first[name],
            second[name],
            c["l2"],
            c["keep_first"],
            c["add_first"],
            c["keep_second"],
            c["is_adam"],
            c["is_rmsprop"],
            scale["length"],
            scale["unbias"],
            scale["shrink"],
            p if clip is None else clip,
            numbers,
            eps=EPS,
            clips=clip is not None,
            block=BLOCK,
        )


@cache
def works(device: torch.device) -> bool:
    """Whether Triton can build the kernel for `device` here: one number is moved with it."""
    params, grads, first, second = ({"one": torch.zeros(1, 1, device=device)} for _ in range(4))
    names = (*IDLE.coefficients(1), "length", "unbias", "shrink")
    zero = {name: torch.zeros(1, dtype=torch.float64, device=device) for name in names}
    try:
        update(params, grads, first, second, zero, zero)
    except (RuntimeError, OSError, CalledProcessError):  # no C compiler, no folder for its cache, no Python.h
        return False
    return True

"""`optim.update` as one Triton kernel: one pass over memory, where PyTorch takes about thirty operators a parameter.

It is compiled once for all shapes, in a second or two.

Legend: M members, P a parameter's shape, N the numbers in P.
"""

import triton
import triton.language as tl
from torch import Tensor

from mtlsearch.kernels.launch import launch
from mtlsearch.training.optim import EPS, IDLE, SCALES, Coefficients, Stacked

BLOCK = 1024
AT_ONCE = 16  # parameters of one launch
# Their alignment depends on the number of members: specialising on it would compile again for no gain.
PER_MEMBER = [f"{name}_at" for name in (*IDLE.coefficients(1), "length", "unbias", "shrink", "clip", "extents")]


@triton.jit(do_not_specialize_on_alignment=PER_MEMBER)  # type: ignore[untyped-decorator]
def _update(  # type: ignore[no-untyped-def]  # Triton takes every annotation for one of its own
    params_at, grads_at, firsts_at, seconds_at, numbers, l2_at, keep_first_at, add_first_at, keep_second_at, is_adam_at,
    is_rmsprop_at, length_at, unbias_at, shrink_at, clip_at, extents_at, parameters, start, eps: tl.constexpr,
    clips: tl.constexpr, skips: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    tile, member = tl.program_id(0), tl.program_id(1)
    kind = params_at[0].dtype.element_ty
    l2 = tl.load(l2_at + member).to(kind)
    keep_first = tl.load(keep_first_at + member).to(kind)
    add_first = tl.load(add_first_at + member).to(kind)
    keep_second = tl.load(keep_second_at + member).to(kind)
    length = tl.load(length_at + member).to(kind)
    unbias = tl.load(unbias_at + member).to(kind)
    shrink = tl.load(shrink_at + member).to(kind)
    is_adam = tl.load(is_adam_at + member) > 0
    is_rmsprop = tl.load(is_rmsprop_at + member) > 0
    for number in tl.static_range(len(numbers)):
        count = numbers[number]
        blocks = (count + block - 1) // block
        # The tiles of one parameter follow those of the one before.
        is_own = (tile >= 0) & (tile < blocks)
        if skips:
            extent = tl.load(extents_at + member * parameters + start + number, is_own, other=0)
            is_own = is_own & (tile * block < extent)
        if is_own:
            place = tile * block + tl.arange(0, block)
            inside = place < count
            at = member.to(tl.int64) * count + place
            p = tl.load(params_at[number] + at, inside)
            g = tl.load(grads_at[number] + at, inside)
            if clips:
                g = g * tl.load(clip_at + member).to(kind)
            g = g + l2 * p
            v = keep_second * tl.load(seconds_at[number] + at, inside) + (1 - keep_second) * g * g
            v = tl.where(is_adam | is_rmsprop, v, 0.0)
            divisor = tl.where(is_adam | is_rmsprop, 1 / (tl.sqrt(v) * unbias + eps), 1.0)
            pushed = tl.where(is_rmsprop, g * divisor, g)
            m = keep_first * tl.load(firsts_at[number] + at, inside) + add_first * pushed
            p = p * shrink - length * tl.where(is_adam, m * divisor, m)
            tl.store(params_at[number] + at, p.to(kind), inside)
            tl.store(firsts_at[number] + at, m.to(kind), inside)
            tl.store(seconds_at[number] + at, v.to(kind), inside)
        tile -= blocks


def update(
    params: Stacked,
    grads: Stacked,
    first: Stacked,
    second: Stacked,
    c: Coefficients,
    scale: Coefficients,
    clip: Tensor | None = None,
    extents: Tensor | None = None,
) -> None:
    """Do what `optim.update` does, on CUDA. Parameters [M, P] and moments must be contiguous.

    `extents` [M, parameters] count each parameter's leading numbers beyond which all is padding, which stays 0.
    """
    every = list(params)
    for start in range(0, len(every), AT_ONCE):
        names = every[start : start + AT_ONCE]
        moved = tuple(params[name] for name in names)
        numbers = tuple(p[0].numel() for p in moved)
        tiles = sum(triton.cdiv(count, BLOCK) for count in numbers)
        launch(
            _update, (tiles, len(moved[0])), moved, tuple(grads[name].contiguous() for name in names),
            tuple(first[name] for name in names), tuple(second[name] for name in names), numbers,
            c["l2"], c["keep_first"], c["add_first"], c["keep_second"], c["is_adam"], c["is_rmsprop"],
            *(scale[name] for name in SCALES), moved[0] if clip is None else clip,
            moved[0] if extents is None else extents, len(every), start,
            eps=EPS, clips=clip is not None, skips=extents is not None, block=BLOCK,
        )  # fmt: skip

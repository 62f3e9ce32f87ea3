"""Noise as a pure function of a key and of each place's indices: a hash, not a generator with a state.

It is the same on every device, needs no sync, and a place's number does not depend on the shape around it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

BITS = 31
_MASK = (1 << BITS) - 1
_STRIDE = 0x3C6EF372
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def mix(x: Tensor) -> Tensor:
    """A hash of whole numbers in [0, 2³¹): multiply and xor-shift, in 64 bits so that nothing overflows.

    Source: C. Wellons, "Prospecting for hash functions" (lowbias32), on 31 bits.
    """
    x = ((x ^ (x >> 16)) * _FIRST) & _MASK
    x = ((x ^ (x >> 15)) * _SECOND) & _MASK
    return x ^ (x >> 16)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """One more round of the hash: noise `x` that all members share, made each one's own by `turn` [], both int32.

    In 32 bits, whose low 31 do not care for overflow.
    """
    x = (x + turn) & _MASK
    x = ((x ^ (x >> 16)) * _FIRST) & _MASK
    return x ^ (x >> 15)


def plain_noise(key: Tensor, shape: Sequence[int]) -> Tensor:
    """`noise` written plainly: the reference."""
    hashed = key
    for size in shape:
        index = torch.arange(size, device=key.device)
        hashed = mix((hashed.unsqueeze(-1) + index * _STRIDE + 1) & _MASK)
    return hashed.int()


def noise(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Whole numbers (int32), uniform in [0, 2³¹), of `shape`: a function of `key` [] and of each place's indices.

    An operator of its own, so that a compiler does not inline it into what each member of a population computes:
    that would hash anew for every member, 16 to 21 % of a step.
    """
    made: Tensor = torch.ops.mtlsearch.noise(key, list(shape))
    return made


def _noise(key: Tensor, shape: list[int]) -> Tensor:
    """`plain_noise` in place and in 32 bits, whose low 31 do not care for overflow."""
    hashed = key.int()
    for size in shape:
        index = torch.arange(size, device=key.device, dtype=torch.int32).mul_(_STRIDE).add_(1)
        hashed = (hashed.unsqueeze(-1) + index).bitwise_and_(_MASK)
        hashed.bitwise_xor_(hashed >> 16).mul_(_FIRST).bitwise_and_(_MASK)
        hashed.bitwise_xor_(hashed >> 15).mul_(_SECOND - (1 << 32)).bitwise_and_(_MASK)
        hashed.bitwise_xor_(hashed >> 16)
    return hashed


# Registered at the lowest level: torch.library.custom_op costs three times as much a call.
_library: Any = torch.library.Library("mtlsearch", "DEF")  # type: ignore[no-untyped-call]
_library.define("noise(Tensor key, int[] shape) -> Tensor")
_library.impl("noise", _noise, "CompositeExplicitAutograd")
torch.library.register_fake("mtlsearch::noise", lambda key, shape: key.new_empty(shape, dtype=torch.int32))

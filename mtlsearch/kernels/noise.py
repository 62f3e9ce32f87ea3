"""Noise as a pure function of a key and a place's indices: a hash, not a generator with a state.

It is the same on every device, needs no sync, and a place's number does not depend on the tensor's shape.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BITS = 31
MASK = (1 << BITS) - 1
# At most 24 bits: torch 2.14 compiles a whole number that multiplies a batched tensor as a float32.
STRIDE, FIRST, SECOND = 0x9E3779, 0xEB352D, 0x6CA68B


def mix(x: Tensor) -> Tensor:
    """A hash of whole numbers onto [0, 2³¹): multiply and xor-shift.

    In int32, which the compiler computes eight at a time: overflow changes only bits above the 31 that are kept.
    Source: C. Wellons, "Prospecting for hash functions" (lowbias32), on 31 bits and with shorter factors.
    """
    x = x & MASK
    x = ((x ^ (x >> 16)) * FIRST) & MASK
    x = ((x ^ (x >> 15)) * SECOND) & MASK
    return x ^ (x >> 16)


def noise(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Whole numbers (int32) of `shape`, uniform in [0, 2³¹): a function of `key` [] and of each place's indices."""
    # The base is added at the end: at the start, the compiler would multiply it out beyond the 32 bits that CUDA has.
    place, base = torch.zeros((), device=key.device, dtype=torch.int32), 1
    for size in shape:
        index = torch.arange(size, device=key.device, dtype=torch.int32)
        if place.ndim > 1:  # for the same reason: three factors multiplied out have 70 bits
            place = place & MASK
        place, base = place.unsqueeze(-1) * STRIDE + index, base * STRIDE & MASK
    place = place + base
    # One hash a place, since every kernel that reads the noise computes it.
    return mix(key.int() + place)

"""Seeds and noise keys as pure functions of a study's seed."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from mtlsearch.kernels.noise import mix


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2³¹) that is a function of `parts`, the same on every machine."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def epoch_keys(seed: int, epochs: Sequence[int]) -> Tensor:
    """The keys [M], int32 on the CPU, from which the noise of the steps follows in a trial's own 0-based epoch."""
    return torch.tensor([derived_seed(seed, "noise", epoch) for epoch in epochs], dtype=torch.int32)


def layer_keys(key: Tensor, step: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The dropout key [] of each layer, by the name of its buffer, at a 0-based `step` [] of the epoch of `key` []."""
    stepped = mix(key + step.int() * 0x45F491)
    return {name: mix(stepped + layer + 1) for layer, name in enumerate(layers)}

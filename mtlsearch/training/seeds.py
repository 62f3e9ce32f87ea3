"""Seeds and noise keys as pure functions of a study's seed.

Noise depends on the trial's own epoch and the step, so that a trial can be repeated alone.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from mtlsearch.kernels.noise import mix


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2³¹), a function of `parts` that is the same on every machine."""
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def epoch_keys(seed: int, epochs: Sequence[int]) -> Tensor:
    """The keys [M], int32 on the CPU, that seed the noise of each trial's own 0-based epoch."""
    return torch.tensor([derived_seed(seed, "noise", epoch) for epoch in epochs], dtype=torch.int32)


def layer_keys(key: Tensor, step: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The dropout key [] of each layer, by its buffer's name, at the 0-based `step` [] of the epoch with `key` []."""
    stepped = mix(key + step.int() * 0x45F491)
    return {name: mix(stepped + layer + 1) for layer, name in enumerate(layers)}

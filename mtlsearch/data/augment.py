"""Augmented training inputs: each example of a batch changed at random, on the device, before the step.

It is done once a batch for all members of a population, which share it as they share the batch, and it is a pure
function of seed, epoch and step: a trial can be repeated alone. Validation and test are never augmented.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mtlsearch.errors import DataError, kind_and_line

# One example [...] on the device to one of the same shape, by torch's own random numbers: torchvision's v2 transforms.
Augment = Callable[[Tensor], Tensor]


def augmented(augment: Augment, inputs: Tensor, seed: int) -> Tensor:
    """Each of `inputs` [B, ...] by itself, drawing from torch's random numbers as `seed` sets them."""
    with torch.no_grad(), seeded(seed, inputs.device):
        return torch.stack([augment(example) for example in inputs])


def check_augment(augment: Augment, inputs: Tensor) -> None:
    """Raise DataError unless `augment` gives examples of the same shape as `inputs` [B, ...]."""
    try:
        found = augmented(augment, inputs, seed=0)
    except Exception as error:
        raise DataError(
            f"augment fails on an input {tuple(inputs.shape[1:])}: {kind_and_line(error)}"
        ) from error
    if found.shape != inputs.shape:
        raise DataError(
            f"augment must keep the shape of an input, {tuple(inputs.shape[1:])}, but gave {tuple(found.shape[1:])}"
        )


def described(augment: Augment) -> str:
    """What tells one augmentation from another: a function's name, else what the object says of itself."""
    text = getattr(augment, "__qualname__", None) or repr(augment)
    return " ".join(re.sub(r" at 0x[0-9a-f]+", "", text).split())


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own random numbers follow from `seed` inside, and go on as before after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield

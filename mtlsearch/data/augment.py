"""Augmentation: a random change of each training example, on the device, before the step.

The members of a population share an augmented batch as they share the batch. It is a pure function of seed, epoch and
step, so that a trial can be repeated alone. Validation and test examples are never augmented.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mtlsearch.errors import DataError, kind_and_line

# Changes one example [...] on the device by torch's global random numbers, and keeps its shape.
Augment = Callable[[Tensor], Tensor]


def augmented(augment: Augment, inputs: Tensor, seed: int) -> Tensor:
    """Each of `inputs` [B, ...] augmented by itself, with torch's random numbers drawn from `seed`."""
    with torch.no_grad(), seeded(seed, inputs.device):
        return torch.stack([augment(example) for example in inputs])


def check_augment(augment: Augment, inputs: Tensor) -> None:
    """Raise DataError unless `augment` keeps the shape of each of `inputs` [B, ...]."""
    due = tuple(inputs.shape[1:])
    try:
        got = tuple(augmented(augment, inputs, seed=0).shape[1:])
    except Exception as error:
        raise DataError(f"augment fails on an input {due}: {kind_and_line(error)}") from error
    if got != due:
        raise DataError(f"augment must keep the shape of an input, {due}, but gave {got}")


def described(augment: Augment) -> str:
    """A text that tells one augmentation from another: the name of a function, else the object's repr."""
    text = getattr(augment, "__qualname__", None) or repr(augment)
    return " ".join(re.sub(r" at 0x[0-9a-f]+", "", text).split())


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's random numbers follow from `seed`; afterwards they continue as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield

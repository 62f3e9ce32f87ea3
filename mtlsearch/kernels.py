"""Whether layers and losses run as CUDA kernels of our own; what asks for it sees to it that Triton can build them.

A step that PyTorch does not compile is some two hundred small operators on CUDA, and launching them takes longer than
what they compute. The plain operators are the reference; nothing uses a kernel where it is not asked to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_asked = ContextVar("kernels", default=False)


@contextmanager
def kernels() -> Iterator[None]:
    """Let what has a kernel use it."""
    before = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(before)


def use_kernels() -> bool:
    """Whether kernels are asked for; never while PyTorch compiles, which fuses by itself."""
    # In this order: torch 2.11 cannot trace a context variable.
    return not torch.compiler.is_compiling() and _asked.get()


def stacked(members: int, in_dims: tuple[int | None, ...], given: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors of `vmap` with the members first, and close together; one that they share is repeated."""
    return [
        (tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).contiguous()
        for dim, tensor in zip(in_dims, given, strict=True)
    ]

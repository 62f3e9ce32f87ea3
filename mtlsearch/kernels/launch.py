"""Whether layers and losses run as CUDA kernels of our own; how they are built and launched.

What asks for them sees to it that Triton can build them (`works`).

A step that PyTorch does not compile is some two hundred small operators on CUDA, and launching them takes longer than
what they compute. The plain operators are the reference; nothing uses a kernel where it is not asked to.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

LINEAR_DTYPES = (torch.float32,)  # of a linear layer's kernels: Triton cannot translate a product in double
_asked = ContextVar("kernels", default=False)
_built: ContextVar[list[Any] | None] = ContextVar("built", default=None)


@contextmanager
def kernels(asked: bool = True) -> Iterator[None]:
    """Let what has a kernel use it."""
    before = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(before)


def use_kernels() -> bool:
    """Whether kernels are asked for; never while PyTorch compiles, which fuses by itself."""
    # In this order: torch 2.11 cannot trace a context variable.
    return not torch.compiler.is_compiling() and _asked.get()


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Launch kernels on `device` in this thread, which may be a new one."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        yield


@contextmanager
def building(device: torch.device) -> Iterator[None]:
    """Build every kernel that would be launched on `device` here, side by side, and launch none; at the end all are.

    What a C compiler builds to launch each is built then, too.
    """
    import triton

    built: list[Any] = []
    before = _built.set(built)

    def launcher(kernel: Any) -> None:
        with on(device):
            done = kernel.result() if hasattr(kernel, "result") else kernel
            if done is not None:  # where no interpreter runs it
                _ = done.run

    try:
        with ThreadPoolExecutor() as threads, on(device):
            with triton.AsyncCompileMode(threads):
                yield
            list(threads.map(launcher, built))
    finally:
        _built.reset(before)


def launch(kernel: Any, grid: tuple[int, ...], *given: Any, **constants: Any) -> None:
    """Run a Triton kernel; while kernels are being built, see to it that it is built, and run nothing."""
    if (built := _built.get()) is None:
        kernel[grid](*given, **constants)
    else:
        built.append(kernel.warmup(*given, grid=grid, **constants))


def stacked(members: int, in_dims: tuple[int | None, ...], given: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors of `vmap` with the members first, and close together; one that they share is repeated."""
    return [
        (tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).contiguous()
        for dim, tensor in zip(in_dims, given, strict=True)
    ]


NORMS = ("none", "batch", "layer")

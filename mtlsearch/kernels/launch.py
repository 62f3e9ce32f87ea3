"""Switch for layers and losses to run as CUDA kernels of our own, and how those are built and launched.

On CUDA a step that PyTorch does not compile is about two hundred small operators, which take longer to launch than to
run. The plain operators are the reference: kernels run only where a caller asks for them, which must make sure that
Triton can build them (`works`).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

NORMS = ("none", "batch", "layer")  # by the value of `AnyNorm.kind`
LINEAR_DTYPES = (torch.float32,)  # of linear layers' kernels; Triton cannot compile a product in double
_asked = ContextVar("kernels", default=False)
_built: ContextVar[list[Any] | None] = ContextVar("built", default=None)


@contextmanager
def kernels(asked: bool = True) -> Iterator[None]:
    """Run what has a kernel by its kernel."""
    before = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(before)


def use_kernels() -> bool:
    """Whether kernels are asked for; never while PyTorch compiles, since it fuses operators itself."""
    # In this order: torch 2.11 cannot trace a context variable.
    return not torch.compiler.is_compiling() and _asked.get()


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Launch kernels on `device` in this thread, which may be a new one."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        yield


@contextmanager
def building(device: torch.device) -> Iterator[None]:
    """Build every kernel that is launched on `device` inside the context, side by side, instead of running it.

    At its end all kernels are built, with the launchers that a C compiler builds.
    """
    import triton

    built: list[Any] = []
    before = _built.set(built)

    def launcher(kernel: Any) -> None:
        with on(device):
            done = kernel.result() if hasattr(kernel, "result") else kernel
            if done is not None:  # Triton's interpreter builds nothing
                _ = done.run

    try:
        with ThreadPoolExecutor() as threads, on(device):
            with triton.AsyncCompileMode(threads):
                yield
            list(threads.map(launcher, built))
    finally:
        _built.reset(before)


def launch(kernel: Any, grid: tuple[int, ...], *given: Any, **constants: Any) -> None:
    """Run a Triton kernel, or only build it inside `building`."""
    if (built := _built.get()) is None:
        kernel[grid](*given, **constants)
    else:
        built.append(kernel.warmup(*given, grid=grid, **constants))


def members_first(tensor: Tensor, dim: int | None) -> Tensor:
    """A tensor of `vmap` with the members first, where it has them."""
    return tensor if dim is None else tensor.movedim(dim, 0)


def stacked(members: int, in_dims: tuple[int | None, ...], given: tuple[Tensor, ...]) -> list[Tensor]:
    """Tensors of `vmap` with the members first, contiguous; a tensor that members share is repeated."""
    return [
        (tensor.expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).contiguous()
        for dim, tensor in zip(in_dims, given, strict=True)
    ]

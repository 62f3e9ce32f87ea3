"""Padding a module to a wider hidden size, and cutting it back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What initialises a tensor in place.
DRAWS = {draw for name, draw in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")}


@runtime_checkable
class Widenable(Protocol):
    """A module of `hidden` units whose layers can be padded to more."""

    hidden: int

    def widened(self, hidden: int, norm: str | None = None) -> nn.Module:
        """A fresh module of the same architecture with `hidden` units; its parameters are overwritten.

        With `norm` "any" its normalisation is a value instead (`AnyNorm`), else it stays as it is.
        """
        ...


class Undrawn(TorchFunctionMode):
    """Initialises no parameter, where all are overwritten: to draw them takes most of the time that padding does."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        tensor = args[0] if args else given.get("tensor")
        if func in DRAWS and isinstance(tensor, nn.Parameter):
            return tensor
        return func(*args, **given)


def pad(module: nn.Module, hidden: int, norm: str | None = None) -> nn.Module:
    """`module` at `hidden` units: its tensors in the leading corner, zero (for masks: dead) around them.

    With `norm` "any" modules that differ in their normalisation alone get the same architecture.
    """
    assert isinstance(module, Widenable)
    small = module.state_dict()
    like = next(tensor for tensor in small.values() if tensor.is_floating_point())
    with Undrawn():
        wide = module.widened(hidden, norm).to(like.device, like.dtype)
    with torch.no_grad():
        for name, tensor in wide.state_dict().items():
            tensor.zero_()
            if name in small:
                corner(tensor, small[name]).copy_(small[name])
            elif name.endswith(".norm.live"):
                corner(tensor, small[name.replace(".norm.live", ".live")]).fill_(True)
    return wide


def corner(tensor: Tensor, like: Tensor) -> Tensor:
    """The leading corner of `tensor` that has the shape of `like`: what `pad` filled."""
    return tensor[tuple(slice(size) for size in like.shape)]


def extent(shape: torch.Size, padded: torch.Size) -> int:
    """How many leading numbers of a tensor of shape `padded` hold its `corner` of `shape`."""
    last = 0
    for size, whole in zip(shape, padded, strict=True):
        last = last * whole + size - 1
    return last + 1

"""Padding a module to a wider hidden size, and cutting it back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# torch's functions that initialise a tensor in place.
DRAWS = {draw for name, draw in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")}


@runtime_checkable
class Widenable(Protocol):
    """A module of `hidden` units that can be padded to more, so that members of several widths share a lane.

    Padded parameters start at zero, and a padded unit must stay exactly 0: behind a linear layer and ReLU it does; a
    normalisation has to leave padded units out, as `LayerNorm` does by its mask.

    The attribute `width_dimension` names the dimension of the space that sets `hidden`, and `norm_dimension` the one
    that chooses the normalisation; a module without them names "hidden" and "norm":

        class Net(nn.Module):
            width_dimension = "width"

            def __init__(self, width: int) -> None:
                super().__init__()
                self.hidden = width
                self.body = nn.Linear(64, width)
                self.head = nn.Linear(width, 10)

            def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
                return {task: self.head(self.body(x).relu()) for task, x in inputs.items()}

            def widened(self, hidden: int, norm: str | None = None) -> "Net":
                return Net(hidden)

    A shipped trunk takes other names on the instance: `trunk.width_dimension = "width"`.
    """

    hidden: int

    def widened(self, hidden: int, norm: str | None = None) -> nn.Module:
        """A fresh module of the same architecture with `hidden` units; its parameters are overwritten.

        With `norm` "any" its normalisation becomes a value (`AnyNorm`), else it stays as it is.
        """


def width_dimension(module: nn.Module) -> str:
    """The dimension of the space that sets the hidden units of `module`."""
    return str(getattr(module, "width_dimension", "hidden"))


def norm_dimension(module: nn.Module) -> str:
    """The dimension of the space that chooses the normalisation of `module`."""
    return str(getattr(module, "norm_dimension", "norm"))


class Undrawn(TorchFunctionMode):
    """Skips the initialisation of parameters that are overwritten: it takes most of the time of padding."""

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
    """`module` at `hidden` units: its tensors in the leading corners, zero (in masks: dead) around them.

    With `norm` "any", modules that differ in their normalisation alone get the same architecture.
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
    """The leading corner of `tensor` in the shape of `like`, which `pad` filled."""
    return tensor[tuple(slice(size) for size in like.shape)]


def extent(shape: torch.Size, padded: torch.Size) -> int:
    """The count of leading numbers that hold the `corner` of `shape` in a tensor of shape `padded`."""
    last = 0
    for size, whole in zip(shape, padded, strict=True):
        last = last * whole + size - 1
    return last + 1

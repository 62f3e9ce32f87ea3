"""Padding a module to a wider size, and cutting it back."""

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mtlsearch.errors import StudyError
from mtlsearch.nn.batched.noisy import copy_drops
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.norms import with_live_norms

# torch's functions that initialise a tensor in place.
DRAWS = {draw for name, draw in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")}

Blocks = Mapping[str, Sequence[int]]  # of a tensor, by its name: in how many blocks each dimension is padded


@runtime_checkable
class Widenable(Protocol):
    """A module that can be padded to a larger width, so that members of several widths share a lane.

    The attribute `width_dimension` names the dimension of the space that sets its width, "hidden" without it. The width
    itself is the attribute of that name, or `hidden`:

        class Net(nn.Module):
            width_dimension = "channels"

            def __init__(self, channels: int) -> None:
                super().__init__()
                self.channels = channels
                self.body = nn.Linear(64, channels)
                self.head = nn.Linear(channels, 10)

            def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
                return {task: self.head(self.body(x).relu()) for task, x in inputs.items()}

            def widened(self, channels: int) -> "Net":
                return Net(channels)

    Padded parameters start at zero, and a padded unit must stay exactly 0: behind a linear layer, a convolution or a
    recurrent layer and ReLU, GELU or tanh it does. `nn.LayerNorm` leaves padded units out. A sigmoid of 0 is not 0, and
    `nn.GroupNorm` counts padded units: neither may follow.

    A tensor is padded at the end of each dimension. Where a dimension concatenates several parts, the layer that holds
    it says so in `blocks`, as in `blocks = {"output.weight": (1, 2)}` for a linear layer of twice the width. Recurrent
    layers and attention know theirs; attention pads the units of each head, so the width must be a multiple of its
    heads.

    Where `widened` takes a second argument, `norm`, the attribute `norm_dimension` names the dimension that chooses the
    normalisation, "norm" without it. A shipped trunk takes other names on the instance:
    `trunk.width_dimension = "width"`.
    """

    def widened(self, width: int, /) -> nn.Module:
        """A fresh module of the same architecture with this width; its parameters are overwritten.

        With a second argument, `norm`, of "any" its normalisation becomes a value (`AnyNorm`), with None it stays.
        """


def width_dimension(module: nn.Module) -> str:
    """The dimension of the space that sets the width of `module`."""
    return str(getattr(module, "width_dimension", "hidden"))


def norm_dimension(module: nn.Module) -> str | None:
    """The dimension of the space that chooses the normalisation of `module`, None where it has no such choice."""
    takes_norm = isinstance(module, Widenable) and len(signature(module.widened).parameters) > 1
    return str(getattr(module, "norm_dimension", "norm")) if takes_norm else None


def width_of(module: nn.Module) -> int:
    """The width of a module, padding included; 0 where it does not name one."""
    for name in (width_dimension(module), "hidden"):
        width = getattr(module, name, None)
        if isinstance(width, int):
            return width
    return 0


def checked_width(module: nn.Module) -> int:
    """The width of a module that can be padded. Raises StudyError where it does not say it."""
    if width := width_of(module):
        return width
    kind, name = type(module).__name__, width_dimension(module)
    raise StudyError(f"{kind} has a method `widened`, so it must keep its width as an attribute: self.{name} = {name}")


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


def widened(module: nn.Module, width: int, norm: str | None = None) -> nn.Module:
    """A fresh module like `module` of another width, as a study builds it."""
    assert isinstance(module, Widenable)
    with Undrawn():
        wide = module.widened(width) if norm_dimension(module) is None else module.widened(width, norm)  # type: ignore[call-arg]
    return with_live_norms(batchable(wide))


def pad(module: nn.Module, width: int, norm: str | None = None) -> nn.Module:
    """`module` at another width: its tensors in the leading corners of blocks, zero (in masks: dead) around them.

    With `norm` "any", modules that differ in their normalisation alone get the same architecture.
    """
    small = _tensors(module)
    like = next(tensor for tensor in small.values() if tensor.is_floating_point())
    wide = widened(module, width, norm).to(like.device, like.dtype)
    copy_drops(module, wide)
    blocks, kept = blocks_of(wide), wide.state_dict().keys()
    with torch.no_grad():
        for name, tensor in _tensors(wide).items():
            if name not in small and name not in kept:
                continue  # it belongs to the wide module alone, which has set it
            tensor.zero_()
            if name in small:
                own = blocks.get(name)
                corner(tensor, small[name].shape, own).copy_(in_blocks(small[name], own))
            elif name.endswith(".norm.live"):
                like = small[name.replace(".norm.live", ".live")]
                corner(tensor, like.shape).fill_(True)
    return wide


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def blocks_of(module: nn.Module) -> dict[str, Sequence[int]]:
    """In how many blocks each dimension of a module's tensors is padded, where it is not one.

    What an outer layer says counts more than what an inner one says.
    """
    found: dict[str, Sequence[int]] = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        own = getattr(layer, "blocks", None)
        if isinstance(own, Mapping):
            found = {f"{path}.{name}" if path else name: each for name, each in own.items()} | found
    return found


def corner(tensor: Tensor, shape: Sequence[int], blocks: Sequence[int] | None = None) -> Tensor:
    """The leading corner of each block of `tensor`, where one of `shape` is when padded; a view, `in_blocks`."""
    if blocks is None:
        return tensor[tuple(slice(size) for size in shape)]
    for dim, (many, size) in reversed(list(enumerate(zip(blocks, shape, strict=True)))):
        tensor = torch.unflatten(tensor, dim, (many, -1)).narrow(dim + 1, 0, size // many)
    return tensor


def in_blocks(tensor: Tensor, blocks: Sequence[int] | None) -> Tensor:
    """`tensor` with each dimension split into its blocks, unless there are none."""
    if blocks is not None:
        for dim, many in reversed(list(enumerate(blocks))):
            tensor = torch.unflatten(tensor, dim, (many, -1))
    return tensor


def cut(tensor: Tensor, shape: Sequence[int], blocks: Sequence[int] | None = None) -> Tensor:
    """The tensor of `shape` that `pad` has put into `tensor`."""
    return corner(tensor, shape, blocks).reshape(tuple(shape))


def move(source: Tensor, target: Tensor, blocks: Sequence[int] | None = None) -> None:
    """Set `target` to `source`, which may be narrower or wider: padding is added, or left behind."""
    shape = [min(sizes) for sizes in zip(source.shape, target.shape, strict=True)]
    target.zero_()
    corner(target, shape, blocks).copy_(corner(source, shape, blocks))


def extent(shape: Sequence[int], padded: Sequence[int], blocks: Sequence[int] | None = None) -> int:
    """The count of leading numbers that hold the `corner` of `shape` in a tensor of shape `padded`."""
    last = 0
    for size, whole, many in zip(shape, padded, blocks or [1] * len(shape), strict=True):
        last = last * whole + (many - 1) * (whole // many) + size // many - 1
    return last + 1 if math.prod(shape) else 0

"""Replacement of layers inside a module."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def with_replaced(module: nn.Module, kind: type[Layer], make: Callable[[Layer], nn.Module]) -> nn.Module:
    """`module` with every layer of exactly the class `kind` replaced by what `make` makes of it.

    The layers of a module that is `left_as_it_is` stay.
    """
    # Not named_children, which skips the second name of a layer that has two.
    for name, child in list(module._modules.items()):
        if type(child) is kind:
            setattr(module, name, make(child))
        elif child is not None and not getattr(child, "left_as_it_is", False):
            with_replaced(child, kind, make)
    return module

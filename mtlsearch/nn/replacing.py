"""Replacement of layers inside a module."""

from collections.abc import Callable

from torch import nn

Make = Callable[[nn.Module], nn.Module]


def with_replaced(module: nn.Module, makes: Callable[[nn.Module], Make | None]) -> nn.Module:
    """`module` with each layer replaced by what `makes` of it makes of it, where that is not None.

    Layers inside a replaced one are replaced too, but those of a module that is `left_as_it_is` stay. A layer that is
    changed in place stays one layer under all its names.
    """
    # Not named_children, which skips the second name of a layer that has two.
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        make = makes(child)
        new = child if make is None else make(child)
        if new is not child:
            setattr(module, name, new)
        if not getattr(new, "left_as_it_is", False):
            with_replaced(new, makes)
    return module


def of_class(kind: type[nn.Module], make: Make) -> Callable[[nn.Module], Make | None]:
    """`makes` for layers of exactly the class `kind`."""
    return lambda layer: make if type(layer) is kind else None

"""Copies of a module that share its tensors."""

from copy import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """A copy of a tree of modules that shares every tensor and every attribute."""
    return _copied(module, {})


def _copied(module: Module, made: dict[int, nn.Module]) -> Module:
    """The copy of a module among those that are `made` already: one with two names stays one."""
    if id(module) in made:
        return made[id(module)]  # type: ignore[return-value]
    new = made[id(module)] = copy(module)
    own = vars(new)
    for name in ("_parameters", "_buffers", "_modules"):
        own[name] = dict(own[name])
    for name, child in new._modules.items():
        new._modules[name] = child if child is None else _copied(child, made)
    return new

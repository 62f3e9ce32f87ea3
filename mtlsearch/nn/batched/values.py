"""Numbers that a user's layer keeps as attributes, as buffers: so they may differ between the members of a lane."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from mtlsearch.nn.batched.noisy import Noisy

Place = tuple[str, str]  # the path of a layer, and the name of its attribute
PACKAGES = ("torch", "mtlsearch")  # their layers take a number for what it is


def varying(one: nn.Module, other: nn.Module) -> set[Place]:
    """The places of numbers in which two modules differ, and of layers that drop in one of them at least."""
    numbers, others = dict(_numbers(one)), dict(_numbers(other))
    drop = {place for found in (numbers, others) for place, number in found.items() if number is True}
    return drop | {place for place, number in numbers.items() if others.get(place, number) != number}


def has_numbers(module: nn.Module) -> bool:
    """Whether a module has numbers that may vary."""
    return next(_numbers(module), None) is not None


def _numbers(module: nn.Module) -> Iterator[tuple[Place, float]]:
    for path, layer in module.named_modules():
        if isinstance(layer, Noisy) and layer.drops is not None:
            yield (path, "drops"), layer.drops
        if type(layer).__module__.split(".")[0] not in PACKAGES:
            yield from (((path, name), number) for name, number in vars(layer).items() if type(number) is float)


def as_buffers(module: nn.Module, places: Iterable[Place]) -> dict[Place, float]:
    """Turn the numbers at `places` into buffers, and give them; a layer that may drop somewhere always draws."""
    layers, found = dict(module.named_modules()), dict[Place, float]()
    for path, name in places:
        number = vars(layers[path]).get(name) if path in layers else None
        if name == "drops" and number is not None:
            layers[path].drops = True
        elif type(number) is float:
            delattr(layers[path], name)
            layers[path].register_buffer(name, torch.tensor(number, dtype=torch.float64), persistent=False)
            found[path, name] = number
    return found


def as_numbers(module: nn.Module, numbers: Mapping[Place, float]) -> None:
    """Put numbers back that `as_buffers` has turned into buffers."""
    layers = dict(module.named_modules())
    for (path, name), number in numbers.items():
        delattr(layers[path], name)
        setattr(layers[path], name, number)


@contextmanager
def numbers_again(module: nn.Module, places: Iterable[Place]) -> Iterator[None]:
    """Numbers that `as_buffers` has turned into buffers are numbers while it lasts, as the module's code knows them."""
    layers = dict(module.named_modules())
    buffers = {(path, name): layers[path]._buffers.get(name) for path, name in places if path in layers}
    found = {place: buffer for place, buffer in buffers.items() if buffer is not None}
    as_numbers(module, {place: float(buffer) for place, buffer in found.items()})
    try:
        yield
    finally:
        for (path, name), buffer in found.items():
            delattr(layers[path], name)
            layers[path].register_buffer(name, buffer, persistent=False)

"""Sharing of a network between tasks: all of its layers, none, or the first k."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from mtlsearch.errors import StudyError

T = TypeVar("T")
Sharing = str | int


def shared_layers(sharing: Sharing, depth: int) -> int:
    """The number of shared layers of `depth`: "shared" means all, "separate" none, k the first k or all, if fewer."""
    if sharing == "shared":
        return depth
    if sharing == "separate":
        return 0
    if not isinstance(sharing, int) or isinstance(sharing, bool) or sharing < 0:
        raise StudyError(f"sharing must be shared, separate or a number of layers, but got {sharing!r}")
    return min(sharing, depth)


def through(trunk: nn.Module, inputs: Mapping[str, Tensor], prepare: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """{task: features} of {task: input}; each input passes once, and all as one batch for batch normalisation."""
    shared, place = distinct(inputs)
    features = trunk(torch.cat([prepare(x) for x in shared]))
    parts = features.split([len(x) for x in shared])
    return {task: parts[place[task]] for task in inputs}


def distinct(inputs: Mapping[str, T]) -> tuple[list[T], dict[str, int]]:
    """The different inputs in order, and the place of each task's input among them; joint tasks bring the same one."""
    # Compared by `is`: torch.compile does not know `id` before torch 2.12.
    once: list[T] = []
    place: dict[str, int] = {}
    for task, x in inputs.items():
        place[task] = next((number for number, other in enumerate(once) if other is x), len(once))
        if place[task] == len(once):
            once.append(x)
    return once, place

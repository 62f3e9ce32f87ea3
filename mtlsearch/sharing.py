"""How much of a network the tasks share: all of its layers, none, or the first k."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mtlsearch.errors import StudyError

Sharing = str | int


def shared_layers(sharing: Sharing, depth: int) -> int:
    """How many of `depth` layers are shared: "shared" all, "separate" none, k the first k (or all, if fewer)."""
    if sharing == "shared":
        return depth
    if sharing == "separate":
        return 0
    if not isinstance(sharing, int) or isinstance(sharing, bool) or sharing < 0:
        raise StudyError(f"sharing must be shared, separate or a number of layers, but got {sharing!r}")
    return min(sharing, depth)


def through(
    trunk: nn.Module, inputs: Mapping[str, Tensor], prepare: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """{task: features} of {task: input}: each input once, and all as one batch, whose mixture batch norm sees."""
    shared = distinct(inputs)
    features = trunk(torch.cat([prepare(x) for x in shared]))
    parts = dict(zip(map(id, shared), features.split([len(x) for x in shared]), strict=True))
    return {task: parts[id(x)] for task, x in inputs.items()}


def distinct(inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Each input tensor once, in order: joint tasks bring the same one."""
    return list({id(x): x for x in inputs.values()}.values())

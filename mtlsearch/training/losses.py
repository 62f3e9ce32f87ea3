"""The tasks' losses on one batch, as every trainer computes them.

Legend: T tasks.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.parts import Part
from mtlsearch.study.study import LoadedStudy

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def task_losses(loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """The loss of each task [T] on one batch per source."""
    return torch.stack(each_loss(loaded, forward, parts, dtype))


def each_loss(loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype) -> list[Tensor]:
    """The loss [] of each task on one batch per source, with a graph of its own."""
    inputs: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for splits, part in zip(loaded.splits, parts, strict=True):
        assert isinstance(part.inputs, Tensor)  # a batch is in memory
        x = as_input(part.inputs, dtype, splits.kind)
        inputs |= dict.fromkeys(splits.tasks, x)
        labels |= part.labels
    ordered = {task.name: inputs[task.name] for task in loaded.study.tasks}
    outputs = forward(ordered)
    return [loss(outputs[task], labels[task]) for task, loss in loaded.losses.items()]

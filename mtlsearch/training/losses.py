"""One training step and one evaluation, as pure functions that every trainer shares.

The batches of a step are a function of the seed, the population's epoch and the step within it, and its noise of the
seed, the trial's own epoch and the step: members in training share each batch, and a trial is replayed by itself, from
the epoch at which it entered.

Legend: T tasks, S steps of an epoch, B examples of a batch.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.data.parts import Part, as_input
from mtlsearch.study.study import LoadedStudy

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def task_losses(loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """The loss of each task [T] on one batch per source."""
    return torch.stack(each_loss(loaded, forward, parts, dtype))


def each_loss(
    loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype
) -> list[Tensor]:
    """The loss [] of each task on one batch per source; unstacked, each has a graph of its own."""
    inputs: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    for splits, part in zip(loaded.splits, parts, strict=True):
        assert isinstance(part.inputs, Tensor)  # a batch has been read
        x = as_input(part.inputs, dtype)
        inputs |= dict.fromkeys(splits.tasks, x)
        labels |= part.labels
    ordered = {task.name: inputs[task.name] for task in loaded.study.tasks}
    outputs = forward(ordered)
    return [task.loss(outputs[task.name], labels[task.name]) for task in loaded.study.tasks]

"""The losses of tasks and terms on one batch, as every trainer computes them.

Legend: T tasks, terms among them.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.parts import Part
from mtlsearch.nn.plain import own_network
from mtlsearch.study.study import LoadedStudy
from mtlsearch.tasks.points import Batch, Points

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def task_losses(
    loaded: LoadedStudy,
    forward: Forward,
    parts: Sequence[Part],
    dtype: torch.dtype,
    weights: Tensor | None = None,
) -> Tensor:
    """The loss of each task [T] on one batch per source; as `each_loss`."""
    return torch.stack(each_loss(loaded, forward, parts, dtype, weights))


def each_loss(
    loaded: LoadedStudy,
    forward: Forward,
    parts: Sequence[Part],
    dtype: torch.dtype,
    weights: Tensor | None = None,
) -> list[Tensor]:
    """The loss [] of each task, then of each term, in its unit on one batch per source, with a graph of its own.

    With the task `weights` [T], an auxiliary task of weight 0 is dropped: its loss is 0, and it reaches no parameter.
    """
    inputs: dict[str, Tensor] = {}
    labels: dict[str, Tensor] = {}
    batches: dict[str, Batch] = {}
    for splits, part in zip(loaded.batched, parts, strict=True):
        assert isinstance(part.inputs, Tensor)  # a batch is in memory
        if isinstance(splits, Points):
            batches |= dict.fromkeys(splits.tasks, splits.batch(part, dtype))
            continue
        x = as_input(part.inputs, dtype, splits.kind)
        inputs |= dict.fromkeys(splits.tasks, x)
        labels |= part.labels
    ordered = {task.name: inputs[task.name] for task in loaded.study.tasks}
    outputs = forward(ordered) if ordered else {}
    names = loaded.study.weighted
    kept = {} if weights is None else {name: weights[names.index(name)] > 0 for name in loaded.study.auxiliary_tasks}
    losses = []
    for task in loaded.study.tasks:
        output, unit = outputs[task.name], loaded.units.get(task.name, 1.0)
        if task.name in kept:  # selected, since 0 · NaN is NaN
            output = torch.where(kept[task.name], output, output.detach())
        loss = loaded.losses[task.name](output, labels[task.name])
        loss = loss if unit == 1 else loss / unit  # no division by 1: the step stays what it was, to the kernel
        losses.append(torch.where(kept[task.name], loss, 0) if task.name in kept else loss)
    model = own_network(forward)
    for term in loaded.study.terms:
        losses.append(term.value(model, batches[term.name]) / loaded.units.get(term.name, 1.0))
    return losses

"""The losses of tasks and terms on one batch, as every trainer computes them.

Legend: T tasks, terms among them.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.parts import Part
from mtlsearch.nn.plain import own_network
from mtlsearch.study.loaded import LoadedStudy
from mtlsearch.tasks.points import Batch, Points
from mtlsearch.training.columns.losses import column_losses
from mtlsearch.training.columns.study import StudyInColumns

Forward = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def task_losses(
    loaded: LoadedStudy,
    forward: Forward,
    parts: Sequence[Part],
    dtype: torch.dtype,
    weights: Tensor | None = None,
) -> Tensor:
    """The loss of each task [T] on one batch per source; as `each_loss`, but those in columns are taken as one."""
    if not isinstance(loaded, StudyInColumns):
        return torch.stack(each_loss(loaded, forward, parts, dtype, weights))
    labels, batches, outputs = _run(loaded, forward, parts, dtype)
    found = [column_losses(group, outputs, labels[group.name], weights) for group in loaded.groups]
    kept = _kept(loaded, weights) if loaded.alone else {}
    rest = [_loss(loaded, task, outputs, labels, kept) for task in loaded.alone]
    rest += _term_losses(loaded, forward, batches)
    losses = torch.cat([*found, torch.stack(rest)] if rest else found)
    return losses if loaded.order is None else losses.index_select(0, loaded.order)


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
    labels, batches, outputs = _run(loaded, forward, parts, dtype)
    kept = _kept(loaded, weights)
    losses = [_loss(loaded, task.name, outputs, labels, kept) for task in loaded.study.tasks]
    return losses + _term_losses(loaded, forward, batches)


def _run(
    loaded: LoadedStudy, forward: Forward, parts: Sequence[Part], dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, Batch], Mapping[str, Tensor]]:
    """The labels and the terms' batches by name, and the outputs by task."""
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
    return labels, batches, forward(ordered) if ordered else {}


def _kept(loaded: LoadedStudy, weights: Tensor | None) -> dict[str, Tensor]:
    """Whether each auxiliary task is kept, as a tensor []."""
    names = loaded.study.weighted
    return {} if weights is None else {name: weights[names.index(name)] > 0 for name in loaded.study.auxiliary_tasks}


def _loss(
    loaded: LoadedStudy,
    task: str,
    outputs: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
) -> Tensor:
    output, unit = outputs[task], loaded.units.get(task, 1.0)
    if task in kept:  # selected, since 0 · NaN is NaN
        output = torch.where(kept[task], output, output.detach())
    loss = loaded.losses[task](output, labels[task])
    loss = loss if unit == 1 else loss / unit  # no division by 1: the step stays what it was, to the kernel
    return torch.where(kept[task], loss, 0) if task in kept else loss


def _term_losses(loaded: LoadedStudy, forward: Forward, batches: Mapping[str, Batch]) -> list[Tensor]:
    model = own_network(forward)
    return [term.value(model, batches[term.name]) / loaded.units.get(term.name, 1.0) for term in loaded.study.terms]

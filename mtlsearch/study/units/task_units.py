"""The unit of each task's loss: `L = Σ wᵢ Lᵢ/uᵢ`, so that a weight need not make up for a loss in other units.

A kind of task with a natural unit has 1, and a task may be given one. Every other unit is measured once, before the
first trial: the size of the loss on training examples, at the initialisation of the default model, the median over a
few seeds. A loss that is multiplied by a power of two has a unit multiplied by it, to the bit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.data.examples.on_disk import OnDisk
from mtlsearch.data.splits import Splits
from mtlsearch.errors import MtlsearchError, StudyError, kind_and_line
from mtlsearch.tasks.task import Task, labelled
from mtlsearch.tasks.term import Term

SEEDS = range(5)  # of the initialisations; an odd number, so that the median is one of them
EXAMPLES = 256  # of the training data, at most

Build = Callable[[int], nn.Module]  # the default model, initialised from a seed


def units_of(tasks: Sequence[Task], splits: Sequence[Splits], build: Build) -> dict[str, float]:
    """The unit of every task: given, natural or measured. Raises StudyError where a loss cannot be measured."""
    unknown = [task for task in tasks if task.unit is None]
    measured = _measured(unknown, splits, build) if unknown else {}
    return {task.name: measured[task.name] if task.unit is None else float(task.unit) for task in tasks}


def _measured(tasks: Sequence[Task], splits: Sequence[Splits], build: Build) -> dict[str, float]:
    sizes: dict[str, list[float]] = {task.name: [] for task in tasks}
    learns: set[str] = set()
    for seed in SEEDS:
        model = build(seed).train()
        for task in tasks:
            (source,) = (each for each in splits if task.name in each.tasks)
            size, has_gradient = _size(task, source, model)
            sizes[task.name].append(size)
            learns |= {task.name} if has_gradient else set()
    for task in tasks:
        _check(task, sizes[task.name], task.name in learns)
    return {task: median(filter(math.isfinite, found)) for task, found in sizes.items()}


def _size(task: Task, source: Splits, model: nn.Module) -> tuple[float, bool]:
    """The size of a task's loss on its training examples, and whether the loss depends on the outputs."""
    rows, part = _rows(source.train.labels[task.name]), source.train
    read = part.inputs.read(rows.cpu().numpy()).to(rows.device) if isinstance(part.inputs, OnDisk) else None
    batch = part.rows(rows, read)
    assert isinstance(batch.inputs, Tensor)
    inputs = dict.fromkeys(source.tasks, as_input(batch.inputs, torch.float32, source.kind))
    with torch.no_grad():
        outputs = model(inputs)[task.name]
    outputs = outputs.detach().requires_grad_()
    labels = batch.labels[task.name]
    try:
        with torch.enable_grad():
            loss = task.loss(outputs, labels)
            (gradient,) = torch.autograd.grad(loss, outputs) if loss.requires_grad else (torch.zeros(1),)
            return float(task.loss_size(outputs.detach(), labels)), bool((gradient != 0).any())
    except MtlsearchError:
        raise
    except Exception as error:
        raise StudyError(f"the loss of task {task.name!r} fails: {kind_and_line(error)}") from error


def _rows(labels: Tensor) -> Tensor:
    """Some labelled examples, the same in every run."""
    there = labelled(labels).nonzero().flatten()
    order = torch.randperm(len(there), generator=torch.Generator().manual_seed(0))[:EXAMPLES]
    return there[order.to(there.device)]


def _check(task: Task, sizes: Sequence[float], learns: bool) -> None:
    """Raise StudyError for a loss from which no unit follows."""
    rule = f"the loss of task {task.name!r} must be finite and change with the outputs, but at initialisation it is"
    finite = [size for size in sizes if math.isfinite(size)]
    if not finite:
        raise StudyError(f"{rule} {sizes[0]}: correct the loss or its labels")
    if not learns or not median(finite):
        raise StudyError(f"{rule} constant ({median(finite):.4g}): nothing can be learned from it; correct the loss")


def told(units: Mapping[str, float], tasks: Sequence[Task | Term]) -> list[str]:
    """A line for each unit that is not 1, with where it comes from."""
    measured = {task.name for task in tasks if task.unit is None}
    return [
        f"unit of {task}: {unit:.3g}, {'measured' if task in measured else 'given'}"
        for task, unit in units.items()
        if unit != 1
    ]

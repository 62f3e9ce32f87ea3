"""Class labels: whole numbers from 0 to C−1, or −1 where missing. Each check raises DataError."""

import torch
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.limits import MOST_CLASSES
from mtlsearch.tasks.task import Target, Task


def check_whole(task: Task, labels: Tensor) -> None:
    """Check that training labels are whole numbers."""
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise task.error(f"class labels must be whole numbers, but got {labels.dtype}")


def class_names(task: Task, labels: Tensor, data: Data) -> tuple[str, ...]:
    """The C names of the classes, numbers where the data give none. Checks that two classes are present."""
    check_whole(task, labels)
    present = len(torch.unique(labels[labels >= 0]))
    if present < 2:
        raise task.error(f"the training data must hold two classes or more, but hold {present}")
    most = int(labels.max())
    if most >= MOST_CLASSES:
        raise task.error(f"class labels must lie in 0 … {MOST_CLASSES - 1}, but got {most}: number the classes from 0")
    return data.class_names(task.name) or tuple(map(str, range(most + 1)))


def in_range(task: Task, labels: Tensor, target: Target) -> Tensor:
    """Labels of any part as int64. Checks that they name classes of the training data."""
    labels = labels.long()
    outside = labels[(labels < -1) | (labels >= target.size)]
    if len(outside):
        raise task.error(
            f"labels must lie in 0 … {target.size - 1} (or be −1 where missing), but got {int(outside[0])}"
        )
    return labels

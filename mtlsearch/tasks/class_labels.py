"""Class labels: whole numbers from 0 to C−1; −1 or NaN where missing. Each check raises DataError."""

import torch
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.limits import MOST_CLASSES
from mtlsearch.tasks.task import Target, Task


def whole_labels(task: Task, labels: Tensor) -> Tensor:
    """Class labels as int64, −1 where missing; false is 0 and true is 1. Checks that they are whole numbers."""
    if not labels.is_floating_point():
        return labels.long()
    labels = torch.where(labels.isnan(), -1, labels)
    other = labels[(labels != labels.round()) | labels.isinf()]
    if len(other):
        raise task.error(f"class labels must be whole numbers (or NaN where missing), but got {other[0]:.4g}")
    return labels.long()


def class_names(task: Task, labels: Tensor, data: Data) -> tuple[str, ...]:
    """The C names of the classes, numbers where the data give none. Checks that two classes are present."""
    present = len(torch.unique(labels[labels >= 0]))
    if present < 2:
        raise task.error(f"the training data must hold two classes or more, but hold {present}")
    most = int(labels.max())
    if most >= MOST_CLASSES:
        raise task.error(f"class labels must lie in 0 … {MOST_CLASSES - 1}, but got {most}: number the classes from 0")
    return data.class_names(task.name) or tuple(map(str, range(most + 1)))


def in_range(task: Task, labels: Tensor, target: Target) -> Tensor:
    """Labels of any part as int64. Checks that they name classes of the training data."""
    labels = whole_labels(task, labels)
    outside = labels[(labels < -1) | (labels >= target.size)]
    if len(outside):
        raise task.error(
            f"labels must lie in 0 … {target.size - 1} (or be −1 where missing), but got {int(outside[0])}"
        )
    return labels

"""A task with a loss and a metric of your own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.errors import StudyError, kind_and_line
from mtlsearch.tasks.classification import Classification
from mtlsearch.tasks.metrics import Metric, WholeMetric
from mtlsearch.tasks.multilabel import MultiLabel
from mtlsearch.tasks.task import Columns, Description, Prediction, Question, Target, Task, added, labelled, masked_mean

ANSWERS: dict[str, type[Task]] = {"softmax": Classification, "sigmoid": MultiLabel}


@dataclass(frozen=True)
class CustomTask(Task):
    """A task with a loss and a metric of your own.

    `loss_fn(outputs, labels)` gives one loss per example [B]; `metric_fn(outputs, labels)` one number for the
    labelled examples of a split; `size` is the number of outputs, or the shape of one example's output. Training
    divides the loss by its `unit`, which is measured where none is given. `classes` names
    the outputs, by default as the data do. With `probabilities` "softmax" they are one of C classes, with "sigmoid" C
    yes-or-no labels, and `predict` and `explain` answer with labels and probabilities. Raises StudyError for a unit
    that is not above 0.
    """

    size: int | tuple[int, ...]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    metric_fn: Callable[[Tensor, Tensor], Tensor | float]
    metric_name: str = "metric"
    higher_is_better: bool = True
    unit: float | None = None
    classes: Sequence[str] = added(())
    probabilities: Literal["softmax", "sigmoid"] | None = added(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))  # a list will do
        if self.probabilities is not None and self.probabilities not in ANSWERS:
            raise self.refusal(f"probabilities must be {' or '.join(ANSWERS)}, but got {self.probabilities!r}")
        if self.probabilities is not None and not isinstance(self.size, int):
            raise self.refusal(f"probabilities need outputs of one dimension, but size is {self.size}")
        if self.unit is not None and not 0 < self.unit < math.inf:
            raise StudyError(f"task {self.name!r}: unit must be a finite number above 0, but got {self.unit}")

    def target(self, data: Data) -> Target:
        shape = (self.size,) if isinstance(self.size, int) else self.size
        names = tuple(self.classes) or data.class_names(self.name)
        if self.probabilities is not None:
            names = names or tuple(map(str, range(shape[0])))
        if names and len(names) != shape[0]:
            raise self.error(f"{shape[0]} outputs need as many class names, but got {len(names)}")
        return Target(shape[0], names, shape=shape)

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return labels.float() if labels.is_floating_point() else labels.long()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return masked_mean(self._losses(outputs, labels), labelled(labels))

    def loss_size(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean absolute loss of an example: losses of both signs do not cancel."""
        return masked_mean(self._losses(outputs, labels).abs(), labelled(labels))

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        # A loss of NaN has a gradient of NaN even where it is not selected, so missing labels become 0 first.
        missing = labels.isnan() if labels.is_floating_point() else labels == -1
        return self.loss_fn(outputs, torch.where(missing, 0, labels))

    def metric(self, target: Target) -> Metric:
        def compute(outputs: Tensor, labels: Tensor) -> Tensor | float:
            rows = labelled(labels)
            try:
                return self.metric_fn(outputs[rows], labels[rows])
            except Exception as error:
                raise StudyError(f"the metric of task {self.name!r} fails: {kind_and_line(error)}") from error

        return WholeMetric(self.metric_name, compute, self.higher_is_better)

    def about(self) -> dict[str, Any]:
        return {} if self.probabilities is None else {"probabilities": self.probabilities}

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        return _answers(about).predictions(outputs, about)

    @classmethod
    def in_words(cls, prediction: Prediction) -> tuple[str, str]:
        kind = Classification if "label" in prediction else MultiLabel if "labels" in prediction else Task
        return kind.in_words(prediction)

    @classmethod
    def in_lines(cls, prediction: Prediction) -> list[tuple[str, str]]:
        return MultiLabel.in_lines(prediction) if "labels" in prediction else [cls.in_words(prediction)]

    @classmethod
    def answer_columns(cls, outputs: Tensor, about: Description, tokens: Sequence[Sequence[str]] | None) -> Columns:
        return _answers(about).answer_columns(outputs, about, tokens)

    @classmethod
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        return _answers(about).questions(output, about, tokens)


def _answers(about: Description) -> type[Task]:
    """The kind that answers for a task with probabilities; `Task` itself answers with values."""
    return ANSWERS.get(about.get("probabilities", ""), Task)

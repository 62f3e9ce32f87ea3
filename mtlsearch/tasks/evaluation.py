"""An evaluation: a metric of the model's outputs on data, without a loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from torch import Tensor

from mtlsearch.data.data import Data, Given, Source
from mtlsearch.errors import StudyError, kind_and_line
from mtlsearch.tasks.metrics import Metric, WholeMetric, relative_l2
from mtlsearch.tasks.task import Target, Task, labelled

PARTS = ("validation", "test")
MetricFunction = Callable[[Tensor, Tensor], Tensor | float]


@dataclass(frozen=True)
class Evaluation:
    """A metric of the model's outputs for `name`, without a loss: it counts in the score and has no weight.

    `data` are (inputs, labels) by part, "validation" and "test"; or the source of a task, whose parts it takes.
    `metric` is "relative_l2", or a function of (outputs, labels) that gives a number, with `higher_is_better` said.
    `size` is the number of outputs, or the shape of one example's output; by default that of a label. Raises
    StudyError.
    """

    name: str
    data: Source | Mapping[str, Given]
    metric: Literal["relative_l2"] | MetricFunction
    metric_name: str = ""
    higher_is_better: bool | None = None
    size: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.data, Mapping):
            missing = [part for part in PARTS if part not in self.data]
            if missing or len(self.data) > len(PARTS):
                got = ", ".join(map(str, self.data)) or "none"
                raise self._refusal(f"data must be (inputs, labels) by part, validation and test, but got {got}")
        elif not callable(self.data):
            raise self._refusal(f"data must be a dict by part, or a source, but got a {type(self.data).__name__}")
        if not callable(self.metric) and self.metric != "relative_l2":
            raise self._refusal(f"metric must be relative_l2 or a function, but got {self.metric!r}")
        if callable(self.metric) and self.higher_is_better is None:
            raise self._refusal("say of your own metric whether higher_is_better=True or False")
        if self.metric == "relative_l2" and self.higher_is_better:
            raise self._refusal("relative_l2 is an error, so higher_is_better must not be True")

    def _refusal(self, rule: str) -> StudyError:
        return StudyError(f"evaluation {self.name!r}: {rule}")

    @cached_property
    def task(self) -> "Measured":
        """The evaluation as what has a metric beside the tasks."""
        source: Source = GivenParts(self.data) if isinstance(self.data, Mapping) else self.data
        own = self.metric if callable(self.metric) else None
        name = self.metric_name or (str(getattr(own, "__name__", "metric")) if own else "relative_l2")
        return Measured(self.name, source, own, name, bool(self.higher_is_better), self.size)


class GivenParts:
    """A source of data that are given by part; nothing of them trains."""

    def __init__(self, parts: Mapping[str, Given]) -> None:
        self.parts = parts

    def __call__(self, directory: Path) -> Data:
        validation = self.parts["validation"]
        # `train` stands in for shapes and types alone.
        return Data(train=validation, validation=validation, test=self.parts["test"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenParts) and other.parts is self.parts

    def __hash__(self) -> int:
        return id(self.parts)


@dataclass(frozen=True)
class Measured(Task):
    """What a study measures without training it; made by `Evaluation`."""

    metric_fn: MetricFunction | None
    metric_name: str
    higher_is_better: bool
    size: int | tuple[int, ...] | None = None

    def target(self, data: Data) -> Target:
        if self.size is None:
            shape = tuple(self.labels(data, data.test).shape[1:]) or (1,)
        else:
            shape = (self.size,) if isinstance(self.size, int) else tuple(self.size)
        return Target(shape[0], data.class_names(self.name), shape=shape)

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = labels.float() if labels.is_floating_point() else labels.long()
        # [B] beside outputs [B, 1] would be broadcast to [B, B].
        return labels.unsqueeze(1) if self.size is None and labels.ndim == 1 else labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("an evaluation has no loss")

    def unscorable(self, labels: Tensor, target: Target) -> str | None:
        if self.metric_fn is None and not bool(labels.nan_to_num().any()):
            return "relative_l2 needs a label other than 0, but all are 0"
        return None

    def metric(self, target: Target) -> Metric:
        if self.metric_fn is None:
            return relative_l2()
        metric_fn = self.metric_fn

        def compute(outputs: Tensor, labels: Tensor) -> Tensor | float:
            rows = labelled(labels)
            try:
                return metric_fn(outputs[rows], labels[rows])
            except Exception as error:
                raise StudyError(f"the metric of evaluation {self.name!r} fails: {kind_and_line(error)}") from error

        return WholeMetric(self.metric_name, compute, self.higher_is_better)

    def strata(self, data: Data) -> Tensor | None:
        return None

    def shares(self, labels: Tensor) -> None:
        """No division of the data looks at what is only measured."""
        return

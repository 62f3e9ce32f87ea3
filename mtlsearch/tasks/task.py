"""`Task`, the base of every kind of task, with what a kind is asked for: labels, loss, metric, and answers.

Shapes: N examples, B of a batch, C outputs of the task. A missing label (NaN, or −1 for classes) counts in neither
loss nor metric.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, get_args, get_origin

import torch
from torch import Tensor

from mtlsearch.data.data import Data, Source
from mtlsearch.data.examples.division import Marks, marks_of
from mtlsearch.data.examples.kinds import InputKind
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError, StudyError
from mtlsearch.tasks.columns import Together
from mtlsearch.tasks.metrics import Metric
from mtlsearch.wording import plain

Prediction = dict[str, Any]  # a task's answer to one example, as JSON holds it


Columns = Mapping[str, Sequence[Any]]  # answers to N examples by column
Loss = Callable[[Tensor, Tensor], Tensor]  # from outputs and labels [B, ...] to a mean []
ADDED = "added"


def added(default: Any) -> Any:
    """A field of a task that earlier versions did not know: at its `default` it leaves the fingerprint as it was."""
    return field(default=default, metadata={ADDED: True})


class Description(TypedDict):
    """A task in a store or an exported config: enough to read its outputs without its data."""

    kind: str
    metric: str
    higher_is_better: bool
    classes: list[str]
    mean: list[float]
    std: list[float]
    input_shape: list[int]
    input_dtype: str
    input_kind: NotRequired[InputKind | None]  # of examples.kinds; earlier versions record none
    output_shape: list[int]
    probabilities: NotRequired[str]  # of a CustomTask: softmax or sigmoid


@dataclass(frozen=True)
class Target:
    """Facts about a task from its training data: `size` classes or values, and their names and standardisation.

    `mean` and `std` are [C]; `counts` [C] are the training labels of each class, and `pos_weight` [C] is the number of
    noes to a yes of each label. `shape` is that of one example's output where it is not [size].
    """

    size: int
    classes: tuple[str, ...] = ()
    mean: Tensor = field(default_factory=lambda: torch.zeros(1))
    std: Tensor = field(default_factory=lambda: torch.ones(1))
    pos_weight: Tensor = field(default_factory=lambda: torch.ones(1))
    counts: Tensor = field(default_factory=lambda: torch.ones(1))
    shape: tuple[int, ...] = ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape or (self.size,)

    @property
    def balanced(self) -> Tensor:
        """The weights [C] that give each class the same sum over the training labels; 1 of a class without any."""
        present = self.counts > 0
        equal = self.counts.sum() / present.sum()
        return torch.where(present, equal / self.counts.clamp(min=1), 1.0)


@dataclass(frozen=True)
class Question:
    """A number in a task's output that `explain` attributes to the input.

    `ask` takes it [B] from outputs [B, ...]. `label` is the answer that it stands for, with its `probability`, and
    `output` names the number: a logit, a value.
    """

    label: str
    probability: float | None
    output: str
    ask: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Task(ABC):
    """One thing to predict: a `name`, and the source of its `data`.

    Methods of the class read the outputs of a trained model, by the `Description` in its config alone. Those here
    serve a task whose outputs are values.
    """

    name: str
    data: Source

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type["Task"]]] = {}
    # A picture, with a label for each pixel, is an answer that predict and explain do not show.
    answers_with_a_picture: ClassVar[bool] = False
    # 1 for a kind whose loss has a natural unit, such as cross-entropy; None for one whose unit is measured.
    natural_unit: ClassVar[float | None] = None

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.lower()
        Task.kinds[cls.kind] = cls

    def __post_init__(self) -> None:
        """Check every option whose type is a list of words. Raises StudyError."""
        for each in fields(self):
            known, got = get_args(each.type), getattr(self, each.name)
            if get_origin(each.type) is Literal and got not in known:
                raise self.refusal(f"{each.name} must be {' or '.join(map(str, known))}, but got {got!r}")

    @property
    def options(self) -> dict[str, Any]:
        """The task's options for the fingerprint, without its name, data and unit; a function by its name.

        A field that was `added` later is left out at its default, as earlier versions did not know it.
        """
        given = [f for f in fields(self) if f.name not in ("name", "data", "unit")]
        new = {f.name for f in given if f.metadata.get(ADDED) and getattr(self, f.name) == f.default}
        return {f.name: _plain(getattr(self, f.name)) for f in given if f.name not in new}

    @property
    def alike(self) -> dict[str, Any]:
        """The options that tasks must share to have one loss and one metric as columns (`together`)."""
        return self.options

    @property
    def unit(self) -> float | None:
        """The unit of the loss, by which training divides it; None where it is to be measured (`study/units/`)."""
        return self.natural_unit

    @abstractmethod
    def target(self, data: Data) -> Target:
        """The facts in the training labels of `data`. Raises DataError where they cannot be learned."""

    @abstractmethod
    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        """Labels as the loss takes them. Raises DataError for labels outside the target's range."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of the labelled examples of a batch, 0 where none is labelled."""

    def loss_size(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The size of the loss on a batch, never negative, from which its unit is measured."""
        return self.loss(outputs, labels).abs()

    def loss_of(self, target: Target, device: torch.device) -> Loss:
        """The loss with what it takes from the training data, on `device`."""
        return self.loss

    @abstractmethod
    def metric(self, target: Target) -> Metric:
        """The metric that scores this task."""

    @classmethod
    def together(cls, tasks: Sequence[Any], targets: Sequence[Target], device: torch.device) -> Together | None:
        """The loss and the metric of `tasks` of this very class, with equal options, as columns; None: one by one.

        It is asked of a class that defines it itself: a subclass that inherits it may have another loss.
        """
        return None

    @property
    def label_columns(self) -> Sequence[str]:
        """The columns of the data that hold the task's labels."""
        return (self.name,)

    def labels(self, data: Data, part: Part) -> Tensor:
        """The labels of a part as its source gives them."""
        return data.column(part, self.name)

    def about(self) -> dict[str, Any]:
        """The facts of this task that its description keeps beside those of every kind."""
        return {}

    def strata(self, data: Data) -> Tensor | None:
        """The classes [N] whose shares a division of the training data keeps, None where there are none."""
        return None

    def marks(self, data: Data) -> Marks | None:
        """The labels [N, L] whose shares a division over all tasks keeps; by default the classes of `strata`."""
        strata = self.strata(data)
        return self.shares(self.labels(data, data.train) if strata is None else strata)

    def shares(self, labels: Tensor) -> Marks | None:
        """The marks [N, L] of labels, prepared ones too, whose shares a division keeps; None where there are none."""
        return marks_of(labels.numpy())

    def unscorable(self, labels: Tensor, target: Target) -> str | None:
        """Why a part with these prepared `labels` cannot be scored, with counts; None where it can."""
        return None

    @classmethod
    def in_unit(cls, outputs: Tensor, about: Description) -> Tensor:
        """Outputs [N, ...] in the unit of the labels."""
        return outputs

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        """The answer to each example in outputs [N, ...] in the labels' unit. Raises DataError for a picture."""
        return [{"values": row} for row in outputs.tolist()]

    @classmethod
    def of_text(cls, prediction: Prediction, tokens: Sequence[str]) -> Prediction:
        """The answer to a text of these `tokens`."""
        return prediction

    @classmethod
    def in_words(cls, prediction: Prediction) -> tuple[str, str]:
        """An answer and its probability as a table shows them."""
        return ", ".join(plain(value) for value in prediction["values"]), ""

    @classmethod
    def in_lines(cls, prediction: Prediction) -> list[tuple[str, str]]:
        """The lines of a table on the screen: an answer, and its probability."""
        return [cls.in_words(prediction)]

    @classmethod
    def answer_columns(cls, outputs: Tensor, about: Description, tokens: Sequence[Sequence[str]] | None) -> Columns:
        """The answers to outputs [N, ...] in the labels' unit as columns; `tokens` are those of texts."""
        found = cls.predictions(outputs, about)
        if tokens is not None:
            found = list(map(cls.of_text, found, tokens))
        if not all("values" in prediction for prediction in found):
            return {"prediction": [cls.in_words(prediction)[0] for prediction in found]}
        values = list(zip(*(prediction["values"] for prediction in found), strict=True))
        return {f"prediction.{i + 1}" if len(values) > 1 else "prediction": row for i, row in enumerate(values)}

    @classmethod
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        """The numbers to explain in one example's output [1, ...], the first ones first; `tokens` are a text's."""
        if output.ndim != 2:
            return [Question("the sum of its outputs", None, "sum", lambda o: o.flatten(1).sum(1))]
        values = cls.in_unit(output, about)[0].tolist()

        def question(i: int) -> Question:
            label = f"{values[i]:.4g}" if len(values) == 1 else f"value {i + 1}: {values[i]:.4g}"
            return Question(label, None, "value", lambda o: cls.in_unit(o, about)[:, i])

        return [question(i) for i in range(len(values))]

    def training_labels(self, data: Data, *shape: str | int) -> Tensor:
        """The training labels. Raises DataError unless they have this shape, in which a letter is any size."""
        labels = self.labels(data, data.train)
        sizes = tuple(labels.shape)
        due = tuple(size if isinstance(at, str) else at for at, size in zip(shape, sizes, strict=False))
        if len(shape) != len(sizes) or due != sizes:
            raise self.error(f"labels must have the shape [{', '.join(map(str, shape))}], but got {sizes}")
        return labels

    def error(self, rule: str) -> DataError:
        """The error of labels that break a rule."""
        return DataError(f"task {self.name!r}: {rule}")

    def refusal(self, rule: str) -> StudyError:
        """The error of an option that breaks a rule."""
        return StudyError(f"task {self.name!r}: {rule}")


def check_smoothing(task: Task, value: float) -> None:
    """Raise StudyError unless a label smoothing lies in [0, 1)."""
    if not 0 <= value < 1:
        raise task.refusal(f"label_smoothing must lie in [0, 1), but got {value}")


def check_weights(task: Task, option: str, given: Sequence[float] | str | None) -> None:
    """Raise StudyError unless the weights of an option are "balanced", None, or finite numbers above 0."""
    if given is None or given == "balanced":
        return
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise task.refusal(f"{option} must be balanced or a tuple of numbers, but got {given!r}")
    wrong = [weight for weight in given if not (isinstance(weight, int | float) and 0 < weight < math.inf)]
    if wrong:
        raise task.refusal(f"{option} must be finite numbers above 0, but got {wrong[0]!r}")


def entry(i: int) -> Callable[[Tensor], Tensor]:
    """Takes output `i` of each example from outputs [B, C]."""
    return lambda outputs: outputs[:, i]


def masked_mean(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean of `losses` where `valid`; selected by `where`, since 0 · NaN is NaN."""
    return torch.where(valid, losses, 0).sum() / valid.sum().clamp(min=1)


def labelled(labels: Tensor) -> Tensor:
    """The rows with a label, as a mask [B]: not all NaN, or not all −1."""
    missing = labels.isnan() if labels.is_floating_point() else labels == -1
    return ~missing.flatten(1).all(1) if labels.ndim > 1 else ~missing


def _plain(value: Any) -> Any:
    """`value` as JSON gives it back."""
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return list(value) if isinstance(value, tuple) else value

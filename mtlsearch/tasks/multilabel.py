"""Multi-label classification: several yes-or-no labels of one example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.data.examples.division import Marks, answers_of
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import StudyError, check_distinct
from mtlsearch.tasks.columns import Together, counted_of_columns, macro_auroc_of_columns, masked_means
from mtlsearch.tasks.metrics import Metric, multilabel_macro_auroc, multilabel_macro_f1
from mtlsearch.tasks.task import (
    Columns,
    Description,
    Prediction,
    Question,
    Target,
    Task,
    added,
    check_weights,
    entry,
    masked_mean,
)

LIKELY = 0.5  # the probability from which on a label is a yes


@dataclass(frozen=True)
class MultiLabel(Task):
    """C yes-or-no labels [B, C] of 0, 1 or NaN; binary cross-entropy, with `pos_weight` [C] where given.

    `pos_weight="balanced"` is the number of noes to a yes of each label in the training data. The loss sees only a
    batch, so a prepared yes carries that weight as its label: every label above 0 is a yes. `columns` names columns of
    the data, such as targets of a Table, that are its C labels: 0 and 1, or two categories of which the second is yes.
    """

    natural_unit: ClassVar[float | None] = 1.0

    metric_name: Literal["macro_auroc", "macro_f1"] = "macro_auroc"
    pos_weight: tuple[float, ...] | Literal["balanced"] | None = None
    columns: tuple[str, ...] = added(())

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, "pos_weight", self.pos_weight)
        object.__setattr__(self, "columns", tuple(self.columns))  # a list will do
        check_distinct(self.columns, f"task {self.name!r}: each column is named once", StudyError)

    def target(self, data: Data) -> Target:
        labels, names = self.training_labels(data, "N", "C"), tuple(self.columns) or data.class_names(self.name)
        size = labels.shape[1]
        if names and len(names) != size:
            raise self.error(f"{size} labels need as many names, but got {len(names)}")
        self._check_weight(size)
        names = names or ((self.name,) if size == 1 else tuple(map(str, range(size))))
        return Target(size, names, pos_weight=_noes_to_a_yes(labels))

    def _check_weight(self, size: int) -> None:
        given = self.pos_weight
        if given is not None and not isinstance(given, str) and len(given) != size:
            raise self.refusal(f"pos_weight must have {size} entries, but got {len(given)}")

    @property
    def alike(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name != "columns"}

    @property
    def label_columns(self) -> Sequence[str]:
        return self.columns or (self.name,)

    def labels(self, data: Data, part: Part) -> Tensor:
        """The labels [N, C], each column of class codes with NaN where it has −1."""
        if not self.columns:
            return data.column(part, self.name)
        found = [data.column(part, name).reshape(len(part), -1).float() for name in self.columns]
        together = torch.cat(found, 1)
        return torch.where(together == -1, torch.nan, together)

    def shares(self, labels: Tensor) -> Marks:
        return answers_of(labels.float().numpy())

    def unscorable(self, labels: Tensor, target: Target) -> str | None:
        """The ROC needs a label with both outcomes."""
        yes, no = (labels > 0).sum(0), (labels == 0).sum(0)
        if self.metric_name == "macro_f1" or bool(((yes > 0) & (no > 0)).any()):
            return None
        return f"no label has both outcomes, with {int(yes.sum())} yes and {int(no.sum())} no in all"

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = labels.float()
        outside = labels[~(labels.isnan() | (labels == 0) | (labels == 1))]
        if len(outside):
            raise self.error(f"labels must be 0, 1 or NaN, but got {float(outside[0])}")
        if labels.shape[1:] != (target.size,):
            raise self.error(f"labels must have {target.size} columns, but got the shape {tuple(labels.shape)}")
        balanced = self.pos_weight == "balanced"
        return torch.where(labels == 1, target.pos_weight, labels) if balanced else labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return masked_mean(*self._losses(outputs, labels))

    def _losses(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each label, and whether it counts."""
        losses = F.binary_cross_entropy_with_logits(
            outputs,
            (labels > 0).to(outputs.dtype),
            reduction="none",
            pos_weight=self._weight(outputs, labels),
        )
        return losses, ~labels.isnan()

    @classmethod
    def together(cls, tasks: Sequence[Self], targets: Sequence[Target], device: torch.device) -> Together:
        first = tasks[0]
        rank = first.metric_name == "macro_auroc"
        metric = macro_auroc_of_columns() if rank else counted_of_columns(multilabel_macro_f1())
        return Together(lambda outputs, labels: masked_means(*first._losses(outputs, labels)), metric)

    def _weight(self, outputs: Tensor, labels: Tensor) -> Tensor | None:
        """The weight of a yes, [C] or for each entry [B, C]."""
        if self.pos_weight is None:
            return None
        if self.pos_weight == "balanced":
            return torch.where(labels > 0, labels, 1).to(outputs.dtype)
        # Filled on the device: a CUDA graph cannot capture a copy from the host.
        return torch.stack([outputs.new_full((), float(weight)) for weight in self.pos_weight])

    def metric(self, target: Target) -> Metric:
        return multilabel_macro_auroc() if self.metric_name == "macro_auroc" else multilabel_macro_f1()

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        """The likely labels, and the probability of each label."""
        found = [dict(zip(about["classes"], row, strict=True)) for row in outputs.sigmoid().tolist()]
        return [{"labels": [name for name, p in each.items() if p >= LIKELY], "probabilities": each} for each in found]

    @classmethod
    def in_words(cls, prediction: Prediction) -> tuple[str, str]:
        said, probabilities = zip(*cls.in_lines(prediction), strict=True)
        return ", ".join(said), ", ".join(probabilities)

    @classmethod
    def in_lines(cls, prediction: Prediction) -> list[tuple[str, str]]:
        """A line for each label: its name with yes or no, and the probability of that."""
        return [
            (f"{name}: yes", f"{p:.4f}") if p >= LIKELY else (f"{name}: no", f"{1 - p:.4f}")
            for name, p in prediction["probabilities"].items()
        ]

    @classmethod
    def answer_columns(cls, outputs: Tensor, about: Description, tokens: Sequence[Sequence[str]] | None) -> Columns:
        """Yes or no, and the probability of yes, for each label."""
        likely, columns = outputs.sigmoid(), dict[str, Sequence[Any]]()
        for i, name in enumerate(about["classes"]):
            columns[f"prediction.{name}"] = ["yes" if yes else "no" for yes in (likely[:, i] >= LIKELY).tolist()]
            columns[f"probability.{name}"] = likely[:, i].tolist()
        return columns

    @classmethod
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        """The logits of the likely labels, or of the likeliest one where none is."""
        likely = output.sigmoid()[0]
        order = likely.argsort(descending=True, stable=True).tolist()
        kept = [i for i in order if likely[i] >= LIKELY] or order[:1]
        return [Question(about["classes"][i], float(likely[i]), "logit", entry(i)) for i in kept]


def _noes_to_a_yes(labels: Tensor) -> Tensor:
    """The number of noes to a yes in each column [C]; 1 where a column lacks either."""
    yes, no = (labels == 1).sum(0), (labels == 0).sum(0)
    return torch.where((yes > 0) & (no > 0), no / yes.clamp(min=1), 1).float()

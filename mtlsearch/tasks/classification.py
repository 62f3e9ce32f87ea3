"""Classification: one of C classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from mtlsearch.data.data import Data
from mtlsearch.kernels.launch import use_kernels
from mtlsearch.tasks.class_labels import class_names, in_range, whole_labels
from mtlsearch.tasks.columns import OF_CLASSES, Together, counted_of_columns, masked_means, of_classes
from mtlsearch.tasks.metrics import Metric, accuracy, auroc, average_precision, macro_f1
from mtlsearch.tasks.task import (
    Columns,
    Description,
    Loss,
    Prediction,
    Question,
    Target,
    Task,
    added,
    check_smoothing,
    check_weights,
    entry,
    masked_mean,
)


@dataclass(frozen=True)
class Classification(Task):
    """One of C classes; cross-entropy; labels [B] or [B, 1] are whole numbers from 0 to C−1, −1 or NaN where missing.

    The metric is `accuracy`, `macro_f1`, `auroc` or `average_precision`. The last two are those of the second class
    where there are two, else the mean over each class against the rest. `class_weights` are those of the C classes in
    the loss, whose mean is weighted by them as torch's is; "balanced" gives each class the weight N / (C · its number
    of training labels).
    """

    natural_unit: ClassVar[float | None] = 1.0

    metric_name: Literal["accuracy", "macro_f1", "auroc", "average_precision"] = "accuracy"
    label_smoothing: float = 0.0
    class_weights: Sequence[float] | Literal["balanced"] | None = added(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smoothing(self, self.label_smoothing)
        check_weights(self, "class_weights", self.class_weights)

    def target(self, data: Data) -> Target:
        labels = self._labels(data.column(data.train, self.name))
        names = class_names(self, labels, data)
        given = self.class_weights
        if given is not None and not isinstance(given, str) and len(given) != len(names):
            raise self.refusal(f"class_weights must have {len(names)} entries, but got {len(given)}")
        return Target(len(names), names, counts=torch.bincount(labels[labels >= 0], minlength=len(names)))

    def strata(self, data: Data) -> Tensor:
        return self._labels(data.column(data.train, self.name))

    def unscorable(self, labels: Tensor, target: Target) -> str | None:
        """The ROC and the average precision need two classes."""
        counts = torch.bincount(labels[labels >= 0], minlength=target.size).tolist()
        if self.metric_name not in ("auroc", "average_precision") or sum(count > 0 for count in counts) > 1:
            return None
        present = next(i for i, count in enumerate(counts) if count)
        return f"{self.metric_name} needs two classes, but all {counts[present]} labels are {target.classes[present]!r}"

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return in_range(self, self._labels(labels), target)

    def _labels(self, labels: Tensor) -> Tensor:
        """The labels [N] of a part as int64."""
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        if labels.ndim != 1:
            raise self.error(f"labels must have the shape [N] or [N, 1], but got {tuple(labels.shape)}")
        return whole_labels(self, labels)

    def loss_of(self, target: Target, device: torch.device) -> Loss:
        if self.class_weights is None:
            return self.loss
        return partial(self._weighted_loss, self.weights_of(target).to(device, torch.float32))

    def weights_of(self, target: Target) -> Tensor:
        """The weights [C] of the classes in the loss."""
        return target.balanced if isinstance(self.class_weights, str) else torch.tensor(self.class_weights)

    def _weighted_loss(self, weights: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over the labelled examples, weighted by the `weights` [C] of their classes."""
        valid = labels >= 0
        known, weights = torch.where(valid, labels, 0), weights.to(outputs.dtype)
        losses = F.cross_entropy(outputs, known, weights, reduction="none", label_smoothing=self.label_smoothing)
        total = torch.where(valid, weights[known], 0).sum()
        return torch.where(valid, losses, 0).sum() / torch.where(valid.any(), total, 1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if use_kernels() and not self.label_smoothing:
            from mtlsearch.kernels.loss import cross_entropy, fits

            if fits(outputs):
                return cross_entropy(outputs, labels)
        valid = labels >= 0
        losses = F.cross_entropy(
            outputs, torch.where(valid, labels, 0), reduction="none", label_smoothing=self.label_smoothing
        )
        return masked_mean(losses, valid)

    @classmethod
    def together(cls, tasks: Sequence[Self], targets: Sequence[Target], device: torch.device) -> Together:
        first, classes = tasks[0], targets[0].size
        weights = None
        if first.class_weights is not None:
            weights = torch.stack([task.weights_of(target) for task, target in zip(tasks, targets, strict=True)])
            weights = weights.to(device, torch.float32)

        def losses(outputs: Tensor, labels: Tensor) -> Tensor:
            valid = labels >= 0
            known, smoothing = torch.where(valid, labels, 0), first.label_smoothing
            if weights is None:
                found = F.cross_entropy(
                    outputs.flatten(0, 1), known.flatten(), reduction="none", label_smoothing=smoothing
                )
                return masked_means(found.view_as(known), valid)
            each: Callable[..., Tensor] = vmap(first._weighted_loss, in_dims=(0, 1, 1))
            return each(weights, outputs, labels)

        if first.metric_name in OF_CLASSES:
            return Together(losses, of_classes(first.metric_name, classes))
        metric = accuracy() if first.metric_name == "accuracy" else macro_f1(classes)
        return Together(losses, counted_of_columns(metric))

    def metric(self, target: Target) -> Metric:
        of_classes: dict[str, Callable[[int], Metric]] = {
            "macro_f1": macro_f1,
            "auroc": auroc,
            "average_precision": average_precision,
        }
        return accuracy() if self.metric_name == "accuracy" else of_classes[self.metric_name](target.size)

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        """The likeliest class, and the probability of each."""
        classes = about["classes"]
        return [
            {
                "label": classes[int(row.argmax())],
                "probabilities": dict(zip(classes, row.tolist(), strict=True)),
            }
            for row in outputs.softmax(1)
        ]

    @classmethod
    def in_words(cls, prediction: Prediction) -> tuple[str, str]:
        label = prediction["label"]
        return label, f"{prediction['probabilities'][label]:.4f}"

    @classmethod
    def answer_columns(cls, outputs: Tensor, about: Description, tokens: Sequence[Sequence[str]] | None) -> Columns:
        """The likeliest class and its probability, and the probability of each class."""
        classes, likely = about["classes"], outputs.softmax(1)
        of_each = {f"probability.{name}": likely[:, i].tolist() for i, name in enumerate(classes)}
        labels = [classes[i] for i in likely.argmax(1).tolist()]
        return {"prediction": labels, "probability": likely.amax(1).tolist(), **of_each}

    @classmethod
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        """The logit of the likeliest class."""
        likely = output.softmax(1)[0]
        best = int(likely.argmax())
        return [Question(about["classes"][best], float(likely[best]), "logit", entry(best))]

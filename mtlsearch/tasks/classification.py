"""Classification: one of C classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.kernels.launch import use_kernels
from mtlsearch.tasks.class_labels import class_names, in_range
from mtlsearch.tasks.metrics import Metric, accuracy, macro_f1
from mtlsearch.tasks.task import Description, Prediction, Question, Target, Task, entry, masked_mean


@dataclass(frozen=True)
class Classification(Task):
    """One of C classes; cross-entropy; labels are whole numbers [B] from 0 to C−1."""

    metric_name: Literal["accuracy", "macro_f1"] = "accuracy"
    label_smoothing: float = 0.0

    def target(self, data: Data) -> Target:
        names = class_names(self, self.training_labels(data, "N"), data)
        return Target(len(names), names)

    def strata(self, data: Data) -> Tensor:
        return self.training_labels(data, "N")

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return in_range(self, labels, target)

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

    def metric(self, target: Target) -> Metric:
        return accuracy() if self.metric_name == "accuracy" else macro_f1(target.size)

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
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        """The logit of the likeliest class."""
        likely = output.softmax(1)[0]
        best = int(likely.argmax())
        return [Question(about["classes"][best], float(likely[best]), "logit", entry(best))]

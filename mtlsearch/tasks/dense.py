"""Dense tasks: a label for each pixel of a picture. Classes, depth, and surface normals.

Shapes: B pictures, H × W pixels, C classes. A pixel whose label is missing (−1 for classes, else NaN) counts in
neither loss nor metric.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.errors import DataError
from mtlsearch.tasks.class_labels import class_names, in_range, whole_labels
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.tasks.task import Description, Prediction, Target, Task, masked_mean

EPSILON = 1e-6  # a shorter vector has no direction


@dataclass(frozen=True)
class DenseTask(Task):
    """A task with a label for each pixel; outputs are [B, size, H, W]."""

    answers_with_a_picture: ClassVar[bool] = True

    def check_pixels(self, labels: Tensor, target: Target) -> None:
        """Raise DataError for a part whose labels are of another size than the training labels."""
        due, got = target.output_shape[1:], tuple(labels.shape[-2:])
        if got != due:
            raise self.error(f"all parts must have labels of {due} pixels, but got {got}")

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        raise DataError(
            f"a {cls.kind} task answers with a picture {tuple(outputs.shape[1:])}, which predict does not write: use"
            " mtlsearch.load_model and the model's own output"
        )


@dataclass(frozen=True)
class Segmentation(DenseTask):
    """A class for each pixel; labels are whole numbers [B, H, W], −1 where missing; cross-entropy, `miou`."""

    natural_unit: ClassVar[float | None] = 1.0

    def target(self, data: Data) -> Target:
        labels = whole_labels(self, self.training_labels(data, "N", "H", "W"))
        names = class_names(self, labels, data)
        return Target(len(names), names, shape=(len(names), *labels.shape[1:]))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self.check_pixels(labels, target)
        labels = in_range(self, labels, target)
        # A quarter of the memory: the labels of pictures may take more of it than the pictures.
        return labels.short() if target.size < 2**15 else labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = labels >= 0
        losses = F.cross_entropy(outputs, torch.where(valid, labels, 0).long(), reduction="none")
        return masked_mean(losses, valid)

    def metric(self, target: Target) -> Metric:
        return miou(target.size)


@dataclass(frozen=True)
class Depth(DenseTask):
    """A distance for each pixel; labels are reals [B, H, W], NaN where missing; L1 loss in the labels' own unit.

    With `zero_is_missing` a depth of 0 is missing, as sensors report it. `metric_name` is the mean absolute error
    `abs_err`, or the mean error relative to the label `rel_err`.
    """

    metric_name: Literal["abs_err", "rel_err"] = "abs_err"
    zero_is_missing: bool = False

    def target(self, data: Data) -> Target:
        labels = self.training_labels(data, "N", "H", "W")
        return Target(1, shape=(1, *labels.shape[1:]))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self.check_pixels(labels, target)
        labels = labels.float()
        if self.zero_is_missing:
            labels = torch.where(labels == 0, torch.nan, labels)
        if bool((labels.isinf() | (labels < 0)).any()):
            raise self.error("depths must be finite and not negative, or NaN where missing")
        if self.metric_name == "rel_err" and bool((labels == 0).any()):
            raise self.error('a depth of 0 has no relative error: set zero_is_missing=True, or metric_name="abs_err"')
        return labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        error = outputs.squeeze(-3) - torch.where(valid, labels, 0)
        return masked_mean(error.abs(), valid)

    def metric(self, target: Target) -> Metric:
        return depth_error(relative=self.metric_name == "rel_err")


@dataclass(frozen=True)
class Normals(DenseTask):
    """A direction for each pixel; labels are vectors [B, 3, H, W], NaN or of length 0 where missing.

    The loss is 1 − cosine of the angle between output and label; `mean_angle` is that angle in degrees.
    """

    natural_unit: ClassVar[float | None] = 1.0

    def target(self, data: Data) -> Target:
        labels = self.training_labels(data, "N", 3, "H", "W")
        return Target(3, shape=tuple(labels.shape[1:]))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self.check_pixels(labels, target)
        labels = labels.float()
        if bool(labels.isinf().any()):
            raise self.error("normals must be finite, or NaN where missing, but got infinity")
        length = labels.square().sum(1, keepdim=True).sqrt()
        return torch.where(length > EPSILON, labels / length, torch.nan)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan().any(-3)
        return masked_mean(1 - cosine(outputs, torch.where(labels.isnan(), 0, labels)), valid)

    def metric(self, target: Target) -> Metric:
        return mean_angle()


def cosine(outputs: Tensor, labels: Tensor) -> Tensor:
    """The cosine [B, H, W] between outputs [B, 3, H, W] of any length and labels of length 1.

    An output of length 0 has the cosine 0 and a finite gradient.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, labels.dtype))
    return (outputs * labels).sum(-3) * (outputs.square().sum(-3) + EPSILON**2).rsqrt()


def miou(classes: int) -> CountedMetric:
    """Intersection over union, averaged over the classes in the labels; from the matrix [C, C] of labels by outputs."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        guess = outputs.argmax(-3)
        # Pixels without a label are counted in an extra place, which is dropped.
        place = torch.where(labels >= 0, labels.long() * classes + guess, classes * classes).flatten()
        counts = outputs.new_zeros(classes * classes + 1, dtype=torch.float64)
        counts = counts.scatter_add(0, place, torch.ones_like(place, dtype=torch.float64))
        return counts[:-1].view(classes, classes)

    def finish(matrix: Tensor) -> Tensor:
        both, true, guessed = matrix.diagonal(dim1=-2, dim2=-1), matrix.sum(-1), matrix.sum(-2)
        there = true > 0
        return torch.where(there, both / (true + guessed - both).clamp(min=1), 0).sum(-1) / there.sum(-1)

    return CountedMetric("miou", count, finish)


def depth_error(relative: bool) -> CountedMetric:
    """The mean absolute error over all pixels, in the labels' unit or relative to each label; lower is better."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        error = torch.where(valid, outputs.squeeze(-3) - labels, 0).double().abs()
        if relative:
            error = error / torch.where(valid, labels, 1)
        return torch.stack([error.sum(), valid.sum().double()])

    name = "rel_err" if relative else "abs_err"
    return CountedMetric(name, count, lambda sums: sums[..., 0] / sums[..., 1], higher_is_better=False)


def mean_angle() -> CountedMetric:
    """The mean angle over all pixels between output and label, in degrees; lower is better."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan().any(-3)
        cosines = cosine(outputs.double(), torch.where(labels.isnan(), 0, labels).double())
        angle = torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))
        return torch.stack([torch.where(valid, angle, 0).sum(), valid.sum().double()])

    return CountedMetric("mean_angle", count, lambda sums: sums[..., 0] / sums[..., 1], higher_is_better=False)

"""Dense tasks: a label for each pixel of a picture. Classes, depth, and surface normals.

Shapes: B pictures, H × W pixels, C classes. A pixel whose label is missing (−1 for classes, else NaN) counts in
neither loss nor metric.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.tasks.task import Target, Task, masked_mean

EPSILON = 1e-6  # the least length of a vector that has a direction


@dataclass(frozen=True)
class DenseTarget(Target):
    """What the training data say of a dense task: `size` channels for each pixel of `pixels` (H, W)."""

    pixels: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class DenseTask(Task):
    """A task with a label for each pixel; outputs are [B, size, H, W]."""

    def output_shape(self, target: Target) -> tuple[int, ...]:
        assert isinstance(target, DenseTarget)
        return (target.size, *target.pixels)

    def _labels(self, data: Data, *channels: int) -> Tensor:
        """The training labels [N, *channels, H, W]."""
        labels = data.column(data.train, self.name)
        if labels.ndim != 3 + len(channels) or tuple(labels.shape[1:-2]) != channels:
            due = ", ".join(["N", *map(str, channels), "H", "W"])
            raise DataError(
                f"task {self.name!r}: labels must have the shape [{due}], but got {tuple(labels.shape)}"
            )
        return labels

    def _same_size(self, labels: Tensor, target: Target) -> None:
        assert isinstance(target, DenseTarget)
        if tuple(labels.shape[-2:]) != target.pixels:
            raise DataError(
                f"task {self.name!r}: all parts must have labels of {target.pixels} pixels,"
                f" but got {tuple(labels.shape[-2:])}"
            )


@dataclass(frozen=True)
class Segmentation(DenseTask):
    """A class for each pixel; labels are whole numbers [B, H, W], −1 where missing; cross-entropy, `miou`."""

    def target(self, data: Data) -> Target:
        labels, names = self._labels(data), data.class_names(self.name)
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(f"task {self.name!r}: class labels must be whole numbers, but got {labels.dtype}")
        present = len(torch.unique(labels[labels >= 0]))
        if present < 2:
            raise DataError(
                f"task {self.name!r} needs two classes or more in its training data, but got {present}"
            )
        size = len(names) or int(labels.max()) + 1
        names = names or tuple(str(i) for i in range(size))
        return DenseTarget(size, names, pixels=_pixels(labels))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self._same_size(labels, target)
        labels = labels.long()
        outside = labels[(labels < -1) | (labels >= target.size)]
        if len(outside):
            raise DataError(
                f"task {self.name!r}: labels must lie in 0 … {target.size - 1} (or be −1 where missing),"
                f" but got {int(outside[0])}"
            )
        # A quarter of the memory: the labels of a set of pictures may weigh more than the pictures.
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

    With `zero_is_missing` a depth of 0 is missing, as sensors say it. `metric_name` is the mean absolute error
    `abs_err`, or relative to the label `rel_err`; a task has one metric.
    """

    metric_name: Literal["abs_err", "rel_err"] = "abs_err"
    zero_is_missing: bool = False

    def target(self, data: Data) -> Target:
        return DenseTarget(1, pixels=_pixels(self._labels(data)))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self._same_size(labels, target)
        labels = labels.float()
        if self.zero_is_missing:
            labels = torch.where(labels == 0, torch.nan, labels)
        if bool((labels.isinf() | (labels < 0)).any()):
            raise DataError(
                f"task {self.name!r}: depths must be finite and not negative, or NaN where missing"
            )
        if self.metric_name == "rel_err" and bool((labels == 0).any()):
            raise DataError(
                f"task {self.name!r}: a depth of 0 has no relative error: set zero_is_missing=True,"
                ' or metric_name="abs_err"'
            )
        return labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan()
        error = outputs.squeeze(-3) - torch.where(valid, labels, 0)
        return masked_mean(error.abs(), valid)

    def metric(self, target: Target) -> Metric:
        return depth_error(relative=self.metric_name == "rel_err")


@dataclass(frozen=True)
class Normals(DenseTask):
    """A direction for each pixel; labels are vectors [B, 3, H, W], NaN or of no length where missing.

    The loss is 1 − cosine of the angle between output and label; `mean_angle` is that angle in degrees.
    """

    def target(self, data: Data) -> Target:
        return DenseTarget(3, pixels=_pixels(self._labels(data, 3)))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        self._same_size(labels, target)
        labels = labels.float()
        if bool(labels.isinf().any()):
            raise DataError(
                f"task {self.name!r}: normals must be finite, or NaN where missing, but got infinity"
            )
        length = labels.square().sum(1, keepdim=True).sqrt()
        return torch.where(length > EPSILON, labels / length, torch.nan)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        valid = ~labels.isnan().any(-3)
        return masked_mean(1 - cosine(outputs, torch.where(labels.isnan(), 0, labels)), valid)

    def metric(self, target: Target) -> Metric:
        return mean_angle()


def cosine(outputs: Tensor, labels: Tensor) -> Tensor:
    """The cosine [B, H, W] between outputs [B, 3, H, W] of any length and labels of length 1.

    An output of no length has the cosine 0, and a gradient that is finite.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, labels.dtype))
    return (outputs * labels).sum(-3) * (outputs.square().sum(-3) + EPSILON**2).rsqrt()


def miou(classes: int) -> CountedMetric:
    """Intersection over union of each class that is there, averaged; from the matrix [C, C] of labels by outputs."""

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        guess = outputs.argmax(-3)
        # Pixels without a label fall into one place more, which is left out.
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
    """Mean absolute error over all pixels, in the labels' unit or relative to each label; lower is better."""

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

    return CountedMetric(
        "mean_angle", count, lambda sums: sums[..., 0] / sums[..., 1], higher_is_better=False
    )


def _pixels(labels: Tensor) -> tuple[int, int]:
    height, width = labels.shape[-2:]
    return height, width

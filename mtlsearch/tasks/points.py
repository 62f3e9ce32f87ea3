"""Points: the examples of loss terms, without labels, fixed or drawn anew each epoch.

Terms that name the same points share a batch in each step.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mtlsearch.data.data import Array
from mtlsearch.data.examples.arrays import as_tensor
from mtlsearch.data.examples.kinds import InputKind
from mtlsearch.data.examples.parts import Part
from mtlsearch.errors import DataError, MtlsearchError, kind_and_line

Draw = Callable[[int, int], Array]  # from a seed and an epoch to points [N, ...]
Given = Array | Mapping[str, Array] | Draw
Batch = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Points:
    """Points [N, ...] of the `tasks` that are terms, with the attributes that a `Splits` has for batches.

    The points of `columns` are a batch by name; without columns a batch is one tensor. `draw` gives those of an epoch.
    """

    tasks: tuple[str, ...]
    train: Part
    columns: tuple[str, ...] = ()
    draw: Draw | None = None
    kind: InputKind = "numbers"
    augment: None = None
    rows: None = None
    features: None = None

    @property
    def examples(self) -> int:
        return len(self.train)

    @property
    def sha256(self) -> dict[str, str]:
        """The digest by term; of points that are drawn, that of those at seed 0 and epoch 0."""
        digest = hashlib.sha256()
        for name, x in zip(self.columns or ("",), self._tensors(self.train), strict=True):
            digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
            digest.update(x.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return dict.fromkeys(self.tasks, digest.hexdigest())

    def to(self, device: torch.device) -> "Points":
        return replace(self, train=self.train.to(device))

    def batch(self, part: Part, dtype: torch.dtype) -> Batch:
        """A batch of points as a term takes it: reals of `dtype`, whole numbers as they are."""
        tensors = [x.to(dtype) if x.is_floating_point() else x for x in self._tensors(part)]
        return dict(zip(self.columns, tensors, strict=True)) if self.columns else tensors[0]

    def drawn(self, seed: int, epoch: int) -> Tensor:
        """The points of an epoch, on the CPU. Raises DataError where their number or shape changes."""
        assert self.draw is not None
        points = _drawn(self.draw, self.tasks[0], seed, epoch)
        due = tuple(self.train.inputs.shape)
        if tuple(points.shape) != due:
            raise DataError(
                f"the points of term {self.tasks[0]!r} must have one shape in every epoch, but got"
                f" {tuple(points.shape)} in epoch {epoch} after {due}: draw as many each time"
            )
        return points

    def _tensors(self, part: Part) -> list[Tensor]:
        assert isinstance(part.inputs, Tensor)
        return [part.inputs, *(part.labels[name] for name in self.columns[1:])]


def read_points(terms: Mapping[str, Given]) -> tuple[Points, ...]:
    """The points by term as batches are drawn from them; those of the same object are one. Raises DataError."""
    shared: dict[int, list[str]] = {}
    for name, given in terms.items():
        shared.setdefault(id(given), []).append(name)
    return tuple(_read(names, terms[names[0]]) for names in shared.values())


def _read(names: list[str], given: Given) -> Points:
    first = names[0]
    if callable(given):
        return Points(tuple(names), Part(_drawn(given, first, 0, 0), {}), draw=given)
    if not isinstance(given, Mapping):
        return Points(tuple(names), Part(_tensor(first, given), {}))
    tensors = {str(name): _tensor(first, x) for name, x in given.items()}
    if not tensors or len({len(x) for x in tensors.values()}) > 1:
        sizes = ", ".join(f"{name} {len(x)}" for name, x in tensors.items())
        raise DataError(f"the points of term {first!r} must be as many under each name, but got {sizes or 'none'}")
    (_, inputs), *others = tensors.items()
    return Points(tuple(names), Part(inputs, dict(others)), tuple(tensors))


def _drawn(draw: Draw, term: str, seed: int, epoch: int) -> Tensor:
    try:
        return _tensor(term, draw(seed, epoch))
    except MtlsearchError:
        raise
    except Exception as error:
        raise DataError(
            f"the points of term {term!r} cannot be drawn by points(seed={seed}, epoch={epoch}): {kind_and_line(error)}"
        ) from error


def _tensor(term: str, given: Any) -> Tensor:
    what = f"the points of term {term!r}"
    points = as_tensor(what, given, "give numbers").contiguous()
    if not len(points):
        raise DataError(f"{what} must be one or more, but there are none")
    if points.is_floating_point() and not bool(points.isfinite().all()):
        raise DataError(f"{what} must be finite, but some are NaN or infinite")
    return points

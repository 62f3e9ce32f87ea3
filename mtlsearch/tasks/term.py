"""A loss term: a loss of the model on points, without labels and without a metric."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.tasks.points import Given

Model = nn.Module  # a study's own, as its terms call it


@dataclass(frozen=True)
class Term:
    """A loss with a weight of its own, but neither labels nor a metric: a residual, a boundary, a regulariser.

    `points` are an array [N, ...], several by name, or a function of (seed, epoch) that gives the array of an epoch,
    as many each time. `loss(model, batch)` gives one loss for each point [B], or one of the batch []; the batch is a
    tensor, or a dict of them where points have names. It may take derivatives of the model by its inputs, with
    `torch.func`. Training divides the loss by its `unit`, which is measured where none is given. Raises StudyError.
    """

    name: str
    points: Given
    loss: Callable[[Any, Any], Tensor]
    unit: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise StudyError(f"term {self.name!r}: loss must be a function of (model, batch), but got {self.loss!r}")
        if self.unit is not None and not 0 < self.unit < math.inf:
            raise StudyError(f"term {self.name!r}: unit must be a finite number above 0, but got {self.unit}")

    def value(self, model: Model, batch: Any) -> Tensor:
        """The mean loss [] of a batch."""
        return self.losses(model, batch).mean()

    def losses(self, model: Model, batch: Any) -> Tensor:
        """The losses [B], or the loss [], of a batch. Raises StudyError for another shape."""
        found = self.loss(model, batch)
        points = next(iter(batch.values())) if isinstance(batch, dict) else batch
        if not isinstance(found, Tensor) or tuple(found.shape) not in ((), (len(points),)):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            hint = ": take .squeeze(1)" if got == (len(points), 1) else ""
            raise StudyError(
                f"the loss of term {self.name!r} must be one number for each point, {(len(points),)}, or one of the"
                f" batch, (), but got {got}{hint}"
            )
        return found

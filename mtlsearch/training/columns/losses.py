"""The losses and the metrics of tasks in columns, on outputs by task.

Legend: K tasks of a group, B examples, M members.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.nn.sharing import columns_of
from mtlsearch.training.columns.study import Group


def column_losses(group: Group, outputs: Mapping[str, Tensor], labels: Tensor, weights: Tensor | None) -> Tensor:
    """The losses [K] of a group in their units, from outputs by task and labels [B, K, ...].

    With the `weights` of all losses, an auxiliary task of weight 0 is dropped, as it is by itself.
    """
    columns = columns_of(outputs, group.tasks)
    if weights is None or group.auxiliary is None:
        return _in_units(group, group.together.loss(columns, labels))
    kept = (weights.index_select(0, group.at) > 0) | ~group.auxiliary
    columns = torch.where(kept.unsqueeze(-1), columns, columns.detach())  # selected, since 0 · NaN is NaN
    return torch.where(kept, _in_units(group, group.together.loss(columns, labels)), 0)


def _in_units(group: Group, losses: Tensor) -> Tensor:
    return losses if group.units is None else losses / group.units.to(losses.dtype)


def by_task(tasks: Sequence[str], values: Tensor) -> dict[str, list[float]]:
    """The values [M, K] of a group by task, read back to the host at once."""
    return dict(zip(tasks, values.T.tolist(), strict=True))

"""Bags of embeddings in operators that `vmap` batches.

Legend: B bags, N indices of a bag or of all bags, E units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EmbeddingBag(nn.EmbeddingBag):
    """Takes the place of `nn.EmbeddingBag`: the same parameters and outputs."""

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    @classmethod
    def fits(cls, layer: nn.EmbeddingBag) -> bool:
        """Whether the layer's options can be batched."""
        return layer.max_norm is None and not layer.sparse and not layer.scale_grad_by_freq


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    *,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum [B, E] of each bag of indices [B, N]; or [N], where `offsets` [B] begin the bags.

    An empty bag has zeros.
    """
    units = weight.shape[1]
    if input.ndim == 2:
        bags = input.shape[0]
        bag_of = torch.arange(bags, device=input.device).unsqueeze(1).expand_as(input).flatten()
    else:
        assert offsets is not None, "indices of one dimension need offsets"
        starts = offsets[:-1] if include_last_offset else offsets
        bags = starts.shape[0]
        places = torch.arange(input.shape[0], device=input.device)
        bag_of = (places.unsqueeze(1) >= starts).sum(1) - 1
    rows = F.embedding(input.flatten(), weight)
    counts = torch.ones_like(bag_of, dtype=weight.dtype)
    if padding_idx is not None:
        padding = padding_idx if padding_idx >= 0 else weight.shape[0] + padding_idx
        counts = torch.where(input.flatten() == padding, 0, counts)
    if mode == "max":
        return _largest(rows, bag_of, counts > 0, bags)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.flatten().unsqueeze(1)
    rows = rows * counts.unsqueeze(1)
    total = rows.new_zeros(bags, units).index_add(0, bag_of, rows)
    if mode == "sum":
        return total
    many = counts.new_zeros(bags).index_add(0, bag_of, counts)
    return total / many.clamp(min=1).unsqueeze(1)


def _largest(rows: Tensor, bag_of: Tensor, counted: Tensor, bags: int) -> Tensor:
    """The maximum [B, E] of the counted rows [N, E] of each bag; the gradient goes to the first row that has it."""
    least = torch.finfo(rows.dtype).min
    values = torch.where(counted.unsqueeze(1), rows, least)
    place = bag_of.unsqueeze(1).expand_as(rows)
    with torch.no_grad():
        top = torch.full((bags, rows.shape[1]), least, dtype=rows.dtype, device=rows.device)
        top = top.scatter_reduce(0, place, values.detach(), "amax")
        order = torch.arange(len(rows), device=rows.device).unsqueeze(1).expand_as(rows)
        at = torch.where((values == top.gather(0, place)) & counted.unsqueeze(1), order, len(rows))
        first = torch.full_like(top, len(rows), dtype=torch.int64).scatter_reduce(0, place, at, "amin")
    found = values.gather(0, first.clamp(max=len(rows) - 1))
    return torch.where(first < len(rows), found, 0)

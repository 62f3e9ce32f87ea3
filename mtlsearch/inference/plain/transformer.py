"""The transformer of an exported model.py, in plain PyTorch; see `networks`."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtlsearch.inference.plain.networks import each_once


class TransformerTrunk(nn.Module):
    """An embedding and `depth` encoder layers that all tasks share, and a linear head per task.

    Of token ids [B, L, K] or [B, L], of which 0 stands for nothing; of pictures, cut into patches of a side; or of
    series of `numbers` a step. `heads` are numbers, or ("tokens", number) for an output a place.
    """

    def __init__(
        self,
        heads: Mapping[str, int | tuple[str, int]],
        *,
        places: int,
        hidden: int,
        depth: int,
        attention_heads: int,
        widening: int,
        dropout: float,
        pool: str,
        vocabulary: int | None = None,
        patch: int | None = None,
        numbers: int = 1,
    ) -> None:
        super().__init__()
        self.vocabulary, self.patch, self.pool = vocabulary, patch, pool
        self.by_place = {task for task, kind in heads.items() if not isinstance(kind, int)}
        self.embedding = nn.Linear(numbers, hidden) if vocabulary is None else nn.Embedding(vocabulary, hidden)
        self.positions = nn.Parameter(torch.empty(places, hidden))
        if pool == "cls":
            self.first = nn.Parameter(torch.empty(hidden))
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            hidden,
            attention_heads,
            widening * hidden,
            dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(hidden), enable_nested_tensor=False)
        for each in self.encoder.layers:
            each.activation_relu_or_gelu = 0  # else torch evaluates by a kernel that makes padded places 0
        sizes = {task: kind if isinstance(kind, int) else kind[1] for task, kind in heads.items()}
        self.heads = nn.ModuleDict({task: nn.Linear(hidden, size) for task, size in sizes.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.output(task, *found) for task, found in each_once(self.features, inputs).items()}

    def output(self, task: str, features: Tensor, present: Tensor) -> Tensor:
        places = features[:, 1:] if self.pool == "cls" else features
        if task not in self.by_place:
            mean = torch.where(present, places, 0).sum(1) / present.sum(1).clamp(min=1)
            places = features[:, 0] if self.pool == "cls" else mean
        found: Tensor = self.heads[task](places)
        return found

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, L, H], after those of the first token if there is one, and which places are there [B, L, 1]."""
        x, present = self.embedded(x)
        x = x + self.positions[: x.shape[1]]
        there = present
        if self.pool == "cls":
            x = torch.cat([self.first.expand(len(x), 1, -1), x], 1)
            there = torch.cat([torch.ones_like(present[:, :1]), present], 1)
        return self.encoder(self.dropout(x), src_key_padding_mask=~there.squeeze(-1)), present

    def embedded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.vocabulary is not None:
            ids = x.unsqueeze(-1) if x.ndim == 2 else x
            return self.embedding(ids).sum(-2), ids[..., :1] != 0
        if self.patch is not None:
            x = x.unsqueeze(1) if x.ndim == 3 else x
            x = torch.unflatten(torch.unflatten(x, 3, (-1, self.patch)), 2, (-1, self.patch))
            x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        x = self.embedding(x.unsqueeze(-1) if x.ndim == 2 else x)
        return x, torch.ones_like(x[..., :1], dtype=torch.bool)

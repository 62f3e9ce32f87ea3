"""A trunk for texts that tasks share: an embedding, and linear layers over windows of neighbouring tokens.

`vmap` batches it without a slow fallback, which `nn.LSTM` has. Padding is exactly zero between layers, so a text's
outputs do not depend on its padding.

Legend: B texts, L tokens, K ids of a token, H hidden units, C outputs.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.limits import MOST_IDS, MOST_LAYERS, MOST_UNITS, check_heads, check_most
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.sharing import distinct
from mtlsearch.nn.task_modules import TaskModules

# Of embeddings at the start. torch's own 1 is so large that Adam takes epochs to turn them.
EMBEDDING_SPREAD = 0.3


class TextTrunk(nn.Module):
    """Token embeddings and `depth` window layers that all tasks share, and a linear head per task.

    Maps {task: ids [B, L, K]} to {task: output}. `heads` gives each task's outputs: a number C for one output [C] a
    text, or ("tokens", C) for one a token, [L, C]. `vocabulary` is the number of ids. A token is the sum of its K
    embeddings; dropout drops a unit from all tokens of a text.
    """

    width_dimension = "hidden"  # of the space (`Widenable`)

    def __init__(
        self,
        vocabulary: int,
        heads: Mapping[str, int | tuple[str, int]],
        *,
        hidden: int = 64,
        depth: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden < 1 or depth < 1 or vocabulary < 2:
            raise StudyError(
                "hidden and depth must be 1 or more and vocabulary 2 or more,"
                f" but got {hidden}, {depth} and {vocabulary}"
            )
        check_most(MOST_UNITS, hidden=hidden)
        check_most(MOST_LAYERS, depth=depth)
        check_most(MOST_IDS, vocabulary=vocabulary)
        check_heads({task: kind if isinstance(kind, int) else kind[1] for task, kind in heads.items()})
        self.hidden, self.vocabulary, self.outputs = hidden, vocabulary, dict(heads)
        self.embedding = nn.Embedding(vocabulary, hidden)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_SPREAD)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(WindowLayer(hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)
        self.heads = TaskModules({task: _head(task, hidden, kind, dropout) for task, kind in heads.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shared, place = distinct(inputs)
        features, present = self.features(torch.cat(shared))
        sizes = [len(x) for x in shared]
        parts = list(zip(torch.split(features, sizes), torch.split(present, sizes), strict=True))
        return {task: self.heads[task](*parts[place[task]]) for task in inputs}

    def widened(self, hidden: int) -> "TextTrunk":
        """The same trunk with other hidden units (`Widenable`)."""
        return TextTrunk(self.vocabulary, self.outputs, hidden=hidden, depth=len(self.layers))

    def features(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, L, H], at least 0 and exactly 0 without a token, and the mask of tokens [B, L, 1]."""
        present = ids[..., :1] > 0
        x = self.embedding(ids).sum(-2)
        x = x * _kept_units(self.dropout, x)
        for layer in self.layers:
            x = layer(x, present)
        return torch.where(present, torch.relu(self.norm(x)), 0), present


class WindowLayer(nn.Module):
    """A residual layer in which every token sees itself and its two neighbours, with 0 beyond the ends."""

    blocks: ClassVar = {"window.weight": (1, 3)}  # left, own, right (`Widenable`)

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        # A convolution of width 3 as one matrix product, which `vmap` batches better than a convolution.
        self.window = nn.Linear(3 * hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        own = torch.where(present, self.norm(x), 0)
        left, right = F.pad(own[:, :-1], (0, 0, 1, 0)), F.pad(own[:, 1:], (0, 0, 0, 1))
        seen = torch.relu(self.window(torch.cat([left, own, right], -1)))
        return x + seen * _kept_units(self.dropout, x)


class TokenHead(nn.Module):
    """An output [L, C] a text, one for each token, from a window layer of the task's own.

    Without that layer, sharing a trunk with tasks on whole texts hurts tags (F1 0.16 instead of 0.19 on `tweets`).
    """

    def __init__(self, hidden: int, size: int, dropout: float) -> None:
        super().__init__()
        self.layer = WindowLayer(hidden, dropout)
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, size)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        outputs: Tensor = self.output(torch.relu(self.norm(self.layer(features, present))))
        return outputs


class TextHead(nn.Module):
    """An output [C] a text, from the mean and the maximum of its tokens' features."""

    blocks: ClassVar = {"output.weight": (1, 2)}  # mean, maximum (`Widenable`)

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.output = nn.Linear(2 * hidden, size)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        # Features are at least 0, and 0 without a token: padding changes neither the sum nor the maximum.
        mean = features.sum(1) / present.sum(1).clamp(min=1)
        outputs: Tensor = self.output(torch.cat([mean, features.amax(1)], -1))
        return outputs


def _head(task: str, hidden: int, kind: int | tuple[str, int], dropout: float) -> nn.Module:
    if isinstance(kind, int):
        return TextHead(hidden, kind)
    where, size = kind
    if where != "tokens":
        raise StudyError(f'the head of {task!r} must be a number or ("tokens", number), but got {kind!r}')
    return TokenHead(hidden, size, dropout)


def _kept_units(dropout: Dropout, x: Tensor) -> Tensor:
    """Dropout's factor [B, 1, H] for each unit of `x` [B, L, H], the same for all tokens of a text.

    Otherwise a token could keep what its neighbours have dropped.
    """
    kept: Tensor = dropout(torch.ones_like(x[:, :1]))
    return kept

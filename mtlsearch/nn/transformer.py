"""A transformer encoder that tasks share, on tokens, patches of pictures or series, with a head per task.

Legend: B examples, L places, K ids of a token, H hidden units, F numbers of a step, P pixels of a patch's side.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.limits import MOST_IDS, MOST_LAYERS, MOST_UNITS, check_heads, check_most
from mtlsearch.nn.batched.replacing import batchable
from mtlsearch.nn.conv import pictures
from mtlsearch.nn.sharing import distinct
from mtlsearch.nn.task_modules import TaskModules

SPREAD = 0.02  # of positions and of the first token at the start. Source: Dosovitskiy et al., 2021 (ViT), its code
POOLS = ("mean", "cls")


class TransformerTrunk(nn.Module):
    """An embedding, `depth` encoder layers that all tasks share, and a linear head per task.

    Maps {task: inputs} to {task: output}. The inputs follow from one argument: with `vocabulary` they are tokens
    [B, L, K] or [B, L], whose id 0 is padding; with `patch` pictures [B, C, H, W] or [B, H, W], cut into patches of
    that side; with `series` steps [B, L, F] or [B, L] of so many numbers. `places` is the largest number of tokens,
    patches or steps. `heads` gives each task's outputs: a number for one output an example, from the mean over all
    places or, with `pool` "cls", from a first token of its own; or ("tokens", C) for one a place, [L, C].

    `hidden` must be a multiple of `attention_heads`; the feed-forward layers have `widening` times as many units.
    Layers normalise before they attend. Source: Vaswani et al., "Attention Is All You Need", 2017; Xiong et al., "On
    Layer Normalization in the Transformer Architecture", 2020.
    """

    width_dimension = "hidden"  # of the space (`Widenable`)

    def __init__(
        self,
        heads: Mapping[str, int | tuple[str, int]],
        *,
        places: int,
        vocabulary: int | None = None,
        patch: int | None = None,
        series: int | None = None,
        in_channels: int = 1,
        hidden: int = 64,
        depth: int = 2,
        attention_heads: int = 4,
        widening: int = 2,
        dropout: float = 0.0,
        pool: str = "mean",
    ) -> None:
        super().__init__()
        _check(vocabulary, patch, series, pool, hidden, attention_heads)
        counts = {"hidden": hidden, "depth": depth, "places": places, "widening": widening}
        if wrong := {name: count for name, count in counts.items() if count < 1}:
            raise StudyError(f"{' and '.join(wrong)} must be 1 or more, but got {', '.join(map(str, wrong.values()))}")
        check_most(MOST_UNITS, hidden=hidden, places=places, **{"hidden times widening": hidden * widening})
        check_most(MOST_LAYERS, depth=depth)
        check_heads({task: kind if isinstance(kind, int) else kind[1] for task, kind in heads.items()})
        self.hidden, self.depth, self.places, self.pool = hidden, depth, places, pool
        self.vocabulary, self.patch, self.series, self.in_channels = vocabulary, patch, series, in_channels
        self.attention_heads, self.widening, self.outputs = attention_heads, widening, dict(heads)
        self.embedding = self._embedding()
        self.positions = nn.Parameter(torch.empty(places, hidden).normal_(std=SPREAD))
        if pool == "cls":
            self.first = nn.Parameter(torch.empty(hidden).normal_(std=SPREAD))
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
        for each in self.encoder.layers[1:]:  # torch copies the first, with its numbers
            _draw_again(each)
        self.heads = TaskModules({task: _head(task, hidden, kind) for task, kind in heads.items()})
        batchable(self)

    def _embedding(self) -> nn.Module:
        if self.vocabulary is not None:
            check_most(MOST_IDS, vocabulary=self.vocabulary)
            embedding = nn.Embedding(self.vocabulary, self.hidden)
            nn.init.normal_(embedding.weight, std=self.hidden**-0.5)
            return embedding
        numbers = self.series if self.patch is None else self.in_channels * self.patch**2
        assert numbers is not None
        return nn.Linear(numbers, self.hidden)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shared, place = distinct(inputs)
        sizes = [len(x) for x in shared]
        features, padding = self.features(torch.cat(shared))
        each = torch.split(features, sizes)
        masks = [None] * len(sizes) if padding is None else list(torch.split(padding, sizes))
        return {task: self._output(task, each[place[task]], masks[place[task]]) for task in inputs}

    def _output(self, task: str, features: Tensor, padding: Tensor | None) -> Tensor:
        kind, tokens = self.outputs[task], features[:, 1:] if self.pool == "cls" else features
        if not isinstance(kind, int):
            return self.heads[task](tokens)  # type: ignore[no-any-return]
        if self.pool == "cls":
            return self.heads[task](features[:, 0])  # type: ignore[no-any-return]
        if padding is None:
            return self.heads[task](tokens.mean(1))  # type: ignore[no-any-return]
        there = ~padding.unsqueeze(-1)
        mean = torch.where(there, tokens, 0).sum(1) / there.sum(1).clamp(min=1)
        return self.heads[task](mean)  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [B, L, H], with the first token's before them if there is one, and the mask of padding [B, L]."""
        x, padding = self._embedded(x)
        if x.shape[1] > self.places:
            raise StudyError(f"the model takes up to {self.places} places, but got {x.shape[1]}: raise places")
        x = x + self.positions[: x.shape[1]]
        hidden = padding
        if self.pool == "cls":
            x = torch.cat([self.first.expand(len(x), 1, -1), x], 1)
            if padding is not None:
                hidden = torch.cat([torch.zeros_like(padding[:, :1]), padding], 1)
        return self.encoder(self.dropout(x), src_key_padding_mask=hidden), padding

    def _embedded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.vocabulary is not None:
            ids = x.unsqueeze(-1) if x.ndim == 2 else x
            return self.embedding(ids).sum(-2), ids[..., 0] == 0
        if self.patch is not None:
            return self.embedding(patches(pictures(x, self.in_channels), self.patch)), None
        steps = x.unsqueeze(-1) if x.ndim == 2 else x
        if steps.ndim != 3 or steps.shape[-1] != self.series:
            raise StudyError(f"the model takes series of {self.series} numbers a step, but got {tuple(x.shape[1:])}")
        return self.embedding(steps), None

    def widened(self, hidden: int) -> "TransformerTrunk":
        """The same trunk with other hidden units (`Widenable`), a multiple of its attention heads."""
        return TransformerTrunk(
            self.outputs,
            places=self.places,
            vocabulary=self.vocabulary,
            patch=self.patch,
            series=self.series,
            in_channels=self.in_channels,
            hidden=-(-hidden // self.attention_heads) * self.attention_heads,
            depth=self.depth,
            attention_heads=self.attention_heads,
            widening=self.widening,
            pool=self.pool,
        )


def patches(x: Tensor, side: int) -> Tensor:
    """Pictures [B, C, H, W] as rows of square patches [B, L, C P P]."""
    height, width = x.shape[2:]
    if height % side or width % side:
        raise StudyError(f"patch must divide the pictures' sides, but got {side} for {height} × {width}")
    rows = torch.unflatten(torch.unflatten(x, 3, (-1, side)), 2, (-1, side))
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _check(
    vocabulary: int | None, patch: int | None, series: int | None, pool: str, hidden: int, attention_heads: int
) -> None:
    given = {"vocabulary": vocabulary, "patch": patch, "series": series}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        got = " and ".join(named) or "none"
        raise StudyError(f"a TransformerTrunk takes one of vocabulary, patch and series, but got {got}")
    least = 2 if vocabulary is not None else 1
    if (value := given[named[0]]) is not None and value < least:
        raise StudyError(f"{named[0]} must be {least} or more, but got {value}")
    if pool not in POOLS:
        raise StudyError(f"pool must be {' or '.join(POOLS)}, but got {pool!r}")
    if attention_heads < 1 or hidden % attention_heads:
        raise StudyError(f"hidden must be a multiple of attention_heads, but got {hidden} and {attention_heads}")


def _head(task: str, hidden: int, kind: int | tuple[str, int]) -> nn.Linear:
    if isinstance(kind, int):
        return nn.Linear(hidden, kind)
    where, size = kind
    if where != "tokens":
        raise StudyError(f'the head of {task!r} must be a number or ("tokens", number), but got {kind!r}')
    return nn.Linear(hidden, size)


def _draw_again(layer: nn.Module) -> None:
    """Initialise a copied layer's weights anew, as torch does."""
    for each in layer.modules():
        if isinstance(each, nn.MultiheadAttention):
            each._reset_parameters()
        elif isinstance(each, nn.Linear) and not isinstance(each, nn.modules.linear.NonDynamicallyQuantizableLinear):
            each.reset_parameters()

"""The shipped trunks in plain PyTorch, as `export --model` copies them into a model.py.

Their parameters have the names and shapes of the trunk's own. A copy imports nothing of mtlsearch, and neither does
this file.

Legend: B examples, C channels, H × W pixels, L tokens of K ids.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def each_once(network: Callable[[Tensor], Any], inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """{task: output} of {task: input}; an input that several tasks share passes the network once."""
    once = {id(x): x for x in inputs.values()}
    outputs = {key: network(x) for key, x in once.items()}
    return {task: outputs[id(x)] for task, x in inputs.items()}


def hidden_layer(features: int, hidden: int, dropout: float, norm: str) -> nn.Sequential:
    """Linear, normalisation, ReLU, dropout."""
    layers = nn.Sequential()
    layers.add_module("linear", nn.Linear(features, hidden, bias=norm != "batch"))
    if norm != "none":
        layers.add_module("norm", nn.BatchNorm1d(hidden) if norm == "batch" else nn.LayerNorm(hidden))
    layers.add_module("relu", nn.ReLU())
    layers.add_module("dropout", nn.Dropout(dropout))
    return layers


class SharedTrunk(nn.Module):
    """`shared` hidden layers that all tasks share, own ones up to `depth`, and a linear head per task."""

    def __init__(
        self,
        features: int,
        heads: Mapping[str, int],
        *,
        hidden: int,
        depth: int,
        shared: int,
        dropout: float,
        norm: str,
    ) -> None:
        super().__init__()
        sizes = list(pairwise([features] + [hidden] * depth))

        def layers(sizes: Sequence[tuple[int, int]]) -> nn.Sequential:
            return nn.Sequential(*(hidden_layer(i, o, dropout, norm) for i, o in sizes))

        self.trunk = layers(sizes[:shared])
        self.branches = nn.ModuleDict({task: layers(sizes[shared:]) for task in heads if shared < depth})
        self.heads = nn.ModuleDict({task: nn.Linear(hidden, size) for task, size in heads.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = each_once(lambda x: self.trunk(x.flatten(1)), inputs)
        if self.branches:
            features = {task: self.branches[task](x) for task, x in features.items()}
        return {task: self.heads[task](x) for task, x in features.items()}


class SeparateTrunks(nn.Module):
    """A network per task."""

    def __init__(self, features: int, heads: Mapping[str, int], **settings: Any) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(
            {task: SharedTrunk(features, {task: size}, **settings) for task, size in heads.items()}
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.networks[task]({task: x})[task] for task, x in inputs.items()}


def conv_layer(in_channels: int, channels: int, norm: str) -> nn.Sequential:
    """A 3 × 3 convolution that keeps the size, batch normalisation where `norm` is "batch", ReLU."""
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=norm == "none")
    return nn.Sequential(convolution, *([nn.BatchNorm2d(channels)] if norm == "batch" else []), nn.ReLU())


class ConvTrunk(nn.Module):
    """`shared` blocks of convolution and pooling that all tasks share, own ones up to `depth`, and a head per task."""

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        in_channels: int,
        channels: int,
        depth: int,
        shared: int,
        dropout: float,
        norm: str,
    ) -> None:
        super().__init__()
        widths = [in_channels, *(channels * 2**k for k in range(depth))]

        def blocks(first: int, last: int) -> nn.Sequential:
            made = nn.Sequential(
                *(
                    nn.Sequential(*conv_layer(i, o, norm), nn.MaxPool2d(2, ceil_mode=True))
                    for i, o in pairwise(widths[first : last + 1])
                )
            )
            if last == depth:
                made.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)))
            return made

        self.trunk = blocks(0, shared)
        self.branches = nn.ModuleDict({task: blocks(shared, depth) for task in heads if shared < depth})
        self.heads = nn.ModuleDict({task: nn.Linear(widths[-1], size) for task, size in heads.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = each_once(lambda x: self.trunk(x.unsqueeze(1) if x.ndim == 3 else x), inputs)
        if self.branches:
            features = {task: self.branches[task](x) for task, x in features.items()}
        return {task: self.heads[task](x) for task, x in features.items()}


class Encoder(nn.Module):
    """Maps of all levels: the first has the picture's size, each later one half the size of the one before."""

    def __init__(self, widths: Sequence[int], dropout: float, norm: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_layer(i, o, norm) for i, o in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for level in self.levels:
            maps.append(level(F.max_pool2d(maps[-1], 2, ceil_mode=True) if maps else x))
        return [*maps[:-1], self.dropout(maps[-1])]


class Decoder(nn.Module):
    """Maps from the deepest level up to the picture's size, each joined with the encoder's map of its size."""

    def __init__(self, widths: Sequence[int], norm: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_layer(i + o, o, norm) for i, o in pairwise(widths))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *earlier, x = maps
        for level, beside in zip(self.levels, reversed(earlier), strict=True):
            x = level(torch.cat([F.interpolate(x, size=beside.shape[-2:]), beside], 1))
        return x


class DenseTrunk(nn.Module):
    """An encoder and a decoder, each "shared" or of the task's name, and a 1 × 1 convolution per task."""

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        in_channels: int,
        channels: int,
        depth: int,
        dropout: float,
        norm: str,
        encoders: Sequence[str],
        decoders: Sequence[str],
    ) -> None:
        super().__init__()
        widths = [channels * 2**k for k in range(depth + 1)]
        self.encoders = nn.ModuleDict({name: Encoder([in_channels, *widths], dropout, norm) for name in encoders})
        self.decoders = nn.ModuleDict({name: Decoder(widths[::-1], norm) for name in decoders})
        self.heads = nn.ModuleDict({task: nn.Conv2d(channels, size, 1) for task, size in heads.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = {}
        for task, x in inputs.items():
            encoder = self.encoders[task if task in self.encoders else "shared"]
            decoder = self.decoders[task if task in self.decoders else "shared"]
            outputs[task] = self.heads[task](decoder(encoder(x.unsqueeze(1) if x.ndim == 3 else x)))
        return outputs


class WindowLayer(nn.Module):
    """A residual layer in which every token sees itself and its two neighbours, with 0 beyond the ends."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.window = nn.Linear(3 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        own = torch.where(present, self.norm(x), 0)
        left, right = F.pad(own[:, :-1], (0, 0, 1, 0)), F.pad(own[:, 1:], (0, 0, 0, 1))
        seen = torch.relu(self.window(torch.cat([left, own, right], -1)))
        kept: Tensor = self.dropout(torch.ones_like(x[:, :1]))
        return x + seen * kept


class TokenHead(nn.Module):
    """An output for each token."""

    def __init__(self, hidden: int, size: int, dropout: float) -> None:
        super().__init__()
        self.layer = WindowLayer(hidden, dropout)
        self.norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, size)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        outputs: Tensor = self.output(torch.relu(self.norm(self.layer(features, present))))
        return outputs


class TextHead(nn.Module):
    """An output a text, from the mean and the maximum of its tokens' features."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.output = nn.Linear(2 * hidden, size)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        mean = features.sum(1) / present.sum(1).clamp(min=1)
        outputs: Tensor = self.output(torch.cat([mean, features.amax(1)], -1))
        return outputs


class TextTrunk(nn.Module):
    """Token embeddings and `depth` window layers that all tasks share, and a head per task.

    Of ids [B, L, K], of which 0 stands for nothing; `heads` are numbers, or ("tokens", number) for an output a token.
    """

    def __init__(
        self,
        vocabulary: int,
        heads: Mapping[str, int | tuple[str, int]],
        *,
        hidden: int,
        depth: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(WindowLayer(hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)
        self.heads = nn.ModuleDict(
            {
                task: TextHead(hidden, kind) if isinstance(kind, int) else TokenHead(hidden, kind[1], dropout)
                for task, kind in heads.items()
            }
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.heads[task](*found) for task, found in each_once(self.features, inputs).items()}

    def features(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, L, H], and which tokens are there [B, L, 1]."""
        present = ids[..., :1] > 0
        x = self.embedding(ids).sum(-2)
        x = x * self.dropout(torch.ones_like(x[:, :1]))
        for layer in self.layers:
            x = layer(x, present)
        return torch.where(present, torch.relu(self.norm(x)), 0), present


class Backbone(nn.Module):
    """torchvision's network `name` without its last linear layer, and a linear head per task."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, heads: Mapping[str, int]) -> None:
        from torchvision import models

        super().__init__()
        self.trunk = models.get_model(name, weights=None)
        *_, (where, last) = (each for each in self.trunk.named_modules() if isinstance(each[1], nn.Linear))
        parent, _, attribute = where.rpartition(".")
        setattr(self.trunk.get_submodule(parent), attribute, nn.Identity())
        self.heads = nn.ModuleDict({task: nn.Linear(last.in_features, size) for task, size in heads.items()})
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = each_once(lambda x: self.trunk(self.coloured(x)), inputs)
        return {task: self.heads[task](x) for task, x in features.items()}

    def coloured(self, x: Tensor) -> Tensor:
        """Pictures [B, H, W], [B, 1, H, W] or [B, 3, H, W] as the network takes them."""
        x = x.unsqueeze(1) if x.ndim == 3 else x
        return (x.expand(-1, 3, -1, -1) - self.mean) / self.std

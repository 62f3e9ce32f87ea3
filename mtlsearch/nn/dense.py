"""A small encoder and decoder for tasks that label each pixel.

Legend: B pictures, C channels, H × W pixels.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.limits import MOST_LAYERS, MOST_UNITS, check_heads, check_most
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.conv import conv_layer, pictures
from mtlsearch.nn.sharing import distinct
from mtlsearch.nn.task_modules import TaskModules

SHARED = "shared"
DENSE_SHARING = (SHARED, "encoder", "separate")


class DenseTrunk(nn.Module):
    """An encoder that halves the picture `depth` times, a decoder that undoes it, and a 1 × 1 convolution per task.

    Maps {task: pictures [B, H, W] or [B, C, H, W]} to {task: output [B, size, H, W]}. The first layer has `channels`
    channels, and each deeper one twice as many. `sharing` is "shared", "encoder" (a decoder for each task) or
    "separate". Source of the connections between encoder and decoder: Ronneberger et al., "U-Net", 2015.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        *,
        in_channels: int = 3,
        channels: int = 16,
        depth: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        sharing: str = SHARED,
    ) -> None:
        super().__init__()
        if channels < 1 or depth < 1:
            raise StudyError(f"channels and depth must be 1 or more, but got {channels} and {depth}")
        if sharing not in DENSE_SHARING:
            raise StudyError(f"sharing must be one of {', '.join(DENSE_SHARING)} here, but got {sharing!r}")
        check_most(MOST_LAYERS, depth=depth)
        check_most(MOST_UNITS, **{"the channels of the deepest layer": channels * 2**depth})
        check_most(MOST_UNITS, in_channels=in_channels)
        check_heads(heads)
        self.in_channels = in_channels
        widths = [channels * 2**k for k in range(depth + 1)]
        encoders = heads if sharing == "separate" else (SHARED,)
        decoders = (SHARED,) if sharing == SHARED else heads
        self.encoders = TaskModules({name: Encoder([in_channels, *widths], dropout, norm) for name in encoders})
        self.decoders = TaskModules({name: Decoder(widths[::-1], norm) for name in decoders})
        self.heads = TaskModules({task: nn.Conv2d(channels, size, 1) for task, size in heads.items()})
        self.encoder_of = {task: SHARED if sharing != "separate" else task for task in heads}
        self.decoder_of = {task: SHARED if sharing == SHARED else task for task in heads}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shared, place = distinct(inputs)
        once = [[pictures(x, self.in_channels)] for x in shared]
        maps = through_levels(self.encoders, self.encoder_of, {task: once[place[task]] for task in inputs})
        decoded = through_levels(self.decoders, self.decoder_of, maps)
        return {task: self.heads[task](x) for task, (x,) in decoded.items()}


class Encoder(nn.Module):
    """Maps of all levels: the first has the picture's size, each later one half the size of the one before."""

    def __init__(self, widths: Sequence[int], dropout: float, norm: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_layer(i, o, norm) for i, o in pairwise(widths))
        self.dropout = Dropout(dropout)

    def forward(self, given: Sequence[Tensor]) -> list[Tensor]:
        (x,) = given
        maps: list[Tensor] = []
        for level in self.levels:
            maps.append(level(F.max_pool2d(maps[-1], 2, ceil_mode=True) if maps else x))
        return [*maps[:-1], self.dropout(maps[-1])]


class Decoder(nn.Module):
    """Maps from the deepest level up to the picture's size, each joined with the encoder's map of its size."""

    def __init__(self, widths: Sequence[int], norm: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(conv_layer(i + o, o, norm) for i, o in pairwise(widths))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        *earlier, x = maps
        for level, beside in zip(self.levels, reversed(earlier), strict=True):
            x = level(torch.cat([F.interpolate(x, size=beside.shape[-2:]), beside], 1))
        return [x]


def through_levels(
    modules: TaskModules, module_of: Mapping[str, str], given: Mapping[str, Sequence[Tensor]]
) -> dict[str, Sequence[Tensor]]:
    """{task: maps} after each task's module; each input passes once, and all inputs of a module as one batch."""
    results: dict[str, Sequence[Tensor]] = {}
    for name in dict.fromkeys(module_of[task] for task in given):
        once, place = distinct({task: maps for task, maps in given.items() if module_of[task] == name})
        sizes = [len(maps[0]) for maps in once]
        outputs = modules[name]([torch.cat(level) for level in zip(*once, strict=True)])
        parts = list(zip(*(level.split(sizes) for level in outputs), strict=True))
        results |= {task: parts[number] for task, number in place.items()}
    return {task: results[task] for task in given}

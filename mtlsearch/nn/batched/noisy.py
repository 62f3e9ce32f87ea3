"""Layers whose noise is a function of a key, which a trainer sets before each step."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from mtlsearch.errors import StudyError
from mtlsearch.kernels.noise import BITS, mix, noise
from mtlsearch.nn.batched.masking import masked

LARGE = 4096  # numbers of a mask, from which sharing it between members saves more than it costs
DRAW = 0x3C6EF3  # between the keys of a layer's draws; at most 24 bits, as the factors of `noise`


class Noisy:
    """A layer that draws noise by the key in its buffer `key_name`.

    `numbered_last` says that its key is numbered after those of all layers without it. `held` are the attributes whose
    number a buffer holds: they may differ between the members of a lane. `drops` says of some layers whether they draw
    at all: with a rate of 0 they need not.
    """

    key_name: ClassVar[str] = "noise_key"
    numbered_last: ClassVar[bool] = True
    held: ClassVar[tuple[str, ...]] = ()
    drops: bool | None = None


def noise_keys(module: nn.Module) -> list[str]:
    """The names of the buffers that hold a noise key, in the order in which a trainer numbers them.

    Those in a module that is `left_as_it_is` are never in training.
    """
    left = tuple(f"{name}." for name, layer in module.named_modules() if getattr(layer, "left_as_it_is", False))
    named = ((name, layer) for name, layer in module.named_modules() if not name.startswith(left))
    noisy = [(name, layer) for name, layer in named if isinstance(layer, Noisy)]
    noisy.sort(key=lambda pair: pair[1].numbered_last)  # a stable sort
    return [f"{name}.{layer.key_name}" if name else layer.key_name for name, layer in noisy]


def copy_drops(source: nn.Module, target: nn.Module) -> None:
    """Have the layers of `target` draw noise where those of `source` of the same names do."""
    layers = dict(target.named_modules())
    for name, layer in source.named_modules():
        if isinstance(layer, Noisy) and layer.drops is not None and isinstance(own := layers.get(name), Noisy):
            own.drops = layer.drops


def new_key() -> Tensor:
    """The key of a layer before a trainer sets it."""
    return torch.tensor(0, dtype=torch.int32)


def checked_rate(rate: float) -> float:
    """A dropout rate as a number in [0, 1)."""
    if not 0.0 <= rate < 1.0:
        raise StudyError(f"dropout must lie in [0, 1), but got {rate}")
    return float(rate)


def key_of_draw(key: Tensor, number: int) -> Tensor:
    """The key of a layer's draw `number`, where it draws several times in a step."""
    return mix(key + number * DRAW)


def kept_places(key: Tensor, rate: Tensor | float, shape: Sequence[int]) -> Tensor:
    """Where dropout of `rate` keeps a number: a mask of `shape`, a function of `key` and of each place's indices."""
    chance = rate.double() if isinstance(rate, Tensor) else torch.tensor(float(rate), dtype=torch.float64)
    least = (chance * (1 << BITS)).int().to(key.device)
    if key.device.type == "cpu" and transforming() and math.prod(shape) >= LARGE:
        mask: Tensor = KeptPlaces.apply(key, least, tuple(shape))
        return mask
    return noise(key, shape) >= least


class KeptPlaces(torch.autograd.Function):
    """Where the noise of `shape` is at least `least` []; members with one key draw its noise once.

    For a CPU, where one operator after the other passes over memory. A compiler joins them, and gets them as they are.
    """

    @staticmethod
    def forward(key: Tensor, least: Tensor, shape: tuple[int, ...]) -> Tensor:
        return noise(key, shape) >= least

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], key: Tensor, least: Tensor, shape: tuple[int, ...]
    ) -> tuple[Tensor, int]:
        keys, leasts = (
            x if dim == 0 else x.expand(info.batch_size) for x, dim in ((key, in_dims[0]), (least, in_dims[1]))
        )
        leasts = leasts.view(-1, *[1] * len(shape))
        if isinstance(keys, FakeTensor):
            return torch.vmap(lambda each: noise(each, shape))(keys) >= leasts, 0
        distinct, place = torch.unique(keys, return_inverse=True)
        drawn = torch.stack([noise(each, shape) for each in distinct])
        return (drawn if len(distinct) == 1 else drawn.index_select(0, place)) >= leasts, 0


def transforming() -> bool:
    """Whether `vmap` or `grad` runs now."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def dropped(x: Tensor, key: Tensor, rate: Tensor | float, shape: Sequence[int] | None = None) -> Tensor:
    """`x` after dropout of `rate`; the mask has `shape`, which broadcasts to that of `x`, or that of `x` itself."""
    kept = kept_places(key, rate, x.shape if shape is None else shape)
    return masked(x / remaining(rate, x.dtype), kept)


def remaining(rate: Tensor | float, dtype: torch.dtype) -> Tensor | float:
    """1 − `rate` as a divisor of numbers of `dtype`."""
    return (1 - rate).to(dtype) if isinstance(rate, Tensor) else 1 - rate

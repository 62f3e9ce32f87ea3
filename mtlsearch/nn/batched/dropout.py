"""Dropout that is exact in a population: its rate is a value, and its noise a function of a key.

Legend: N examples, C channels.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mtlsearch.nn.batched.noisy import Noisy, checked_rate, dropped, kept_places, new_key

# The value of a dropped number: SELU's limit for large negative inputs.
# Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017, section "New dropout technique".
ALPHA = -1.7580993408473766


class Dropout(Noisy, nn.Module):
    """Dropout whose `rate` is a buffer, and whose noise is a function of the buffer `key`.

    A trainer sets `key` before each step (`noise_keys`). Members of a population share the noise of each of their
    epochs.
    """

    key_name: ClassVar[str] = "key"
    numbered_last: ClassVar[bool] = False
    own: ClassVar[bool] = True  # it stands in the user's code; its rate is part of the state dict

    rate: Tensor
    key: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(checked_rate(rate)), persistent=self.own)
        self.register_buffer("key", new_key(), persistent=False)

    @property
    def p(self) -> Tensor:
        """The rate, by the name that code reads which drops by itself, such as attention of Hugging Face."""
        return self.rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drops is False:
            return x
        return dropped(x, self.key, self.rate, self.mask_shape(x))

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of the mask for `x`."""
        return tuple(x.shape)


class PlainDropout(Dropout):
    """Takes the place of `nn.Dropout`: it adds nothing to the state dict, as that has nothing there."""

    own: ClassVar[bool] = False

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.drops = rate > 0

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}rate", None)  # files of earlier versions hold it
        super()._load_from_state_dict(state_dict, prefix, *args)


class ChannelDropout(PlainDropout):
    """Drops whole channels [N, C] of inputs [N, C, ...]; without N, channels [C] of inputs [C, ...]."""

    def __init__(self, rate: float, places: int) -> None:
        super().__init__(rate)
        self.places = places

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        return channel_shape(x, self.places)


def channel_shape(x: Tensor, places: int) -> tuple[int, ...]:
    """The shape of a mask that drops whole channels of `x` with `places` dimensions after those of N and C.

    An input of one dimension less has no N. As in torch, `nn.Dropout2d` takes three dimensions as [N, C, L].
    """
    lead = 1 if x.ndim == places + 1 and places != 2 else 2
    return (*x.shape[:lead], *[1] * (x.ndim - lead))


class AlphaDropout(PlainDropout):
    """Dropout that keeps the mean 0 and the variance 1 of its inputs, for SELU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drops:
            return x
        return alpha_dropped(x, self.key, self.rate, self.mask_shape(x))


class FeatureAlphaDropout(AlphaDropout):
    """`AlphaDropout` of whole channels."""

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        return (*x.shape[:2], *[1] * (x.ndim - 2))


def alpha_dropped(x: Tensor, key: Tensor, rate: Tensor | float, shape: tuple[int, ...]) -> Tensor:
    """`x` with its dropped numbers at `ALPHA`, scaled and shifted back to mean 0 and variance 1."""
    rate = rate.to(x.dtype) if isinstance(rate, Tensor) else torch.tensor(float(rate), dtype=x.dtype, device=x.device)
    scale = ((1 - rate) * (1 + rate * ALPHA**2)).rsqrt()
    kept = kept_places(key, rate, shape)
    return torch.where(kept, x, ALPHA) * scale - scale * ALPHA * rate


def own_dropout(layer: nn.Module) -> nn.Module:
    """The layer that takes the place of one of torch's dropout layers."""
    rate: float = layer.p  # type: ignore[assignment]
    new: nn.Module
    if isinstance(layer, nn.AlphaDropout):
        new = AlphaDropout(rate)
    elif isinstance(layer, nn.FeatureAlphaDropout):
        new = FeatureAlphaDropout(rate)
    elif isinstance(layer, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
        new = ChannelDropout(rate, {nn.Dropout1d: 1, nn.Dropout2d: 2, nn.Dropout3d: 3}[type(layer)])
    else:
        new = PlainDropout(rate)
    return new.train(layer.training)

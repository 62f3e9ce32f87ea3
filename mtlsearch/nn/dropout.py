"""Dropout that is exact in a population: its rate is a value, and its noise a function of a key."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mtlsearch.nn.noisy import Noisy, checked_rate, dropped, new_key


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
    def p(self) -> Tensor | float:
        """The rate, by the name that code reads which drops by itself, such as attention of Hugging Face."""
        return self.rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return dropped(x, self.key, self.rate, self.mask_shape(x))

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of the mask for `x`."""
        return tuple(x.shape)

"""Dropout that is exact in a population: its rate is a value, and its noise a function of a key."""

import torch
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.kernels.noise import BITS, noise
from mtlsearch.nn.replacing import with_replaced


class Dropout(nn.Module):
    """Dropout whose `rate` is a buffer, and whose noise is a function of the buffer `key`.

    A trainer sets `key` before each step (`noise_keys`). Members of a population share the noise of each of their
    epochs.
    """

    rate: Tensor
    key: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise StudyError(f"dropout must lie in [0, 1), but got {rate}")
        self.register_buffer("rate", torch.tensor(float(rate)))
        self.register_buffer("key", torch.tensor(0, dtype=torch.int32), persistent=False)

    @property
    def p(self) -> Tensor | float:
        """The rate, by the name that code reads which drops by itself, such as attention of Hugging Face."""
        return self.rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        threshold = (self.rate.double() * (1 << BITS)).int()
        kept = noise(self.key, x.shape) >= threshold
        return torch.where(kept, x / (1 - self.rate).to(x.dtype), 0)


class NoDropout(Dropout):
    """Takes the place of an `nn.Dropout` of rate 0: it draws nothing, and code that reads its rate gets a number."""

    def __init__(self) -> None:
        super().__init__(0.0)

    @property
    def p(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return x


def noise_keys(module: nn.Module) -> list[str]:
    """The names of the buffers that hold a dropout key, in the order of the module's layers.

    Those in a module that is `left_as_it_is` are never in training.
    """
    left = tuple(f"{name}." for name, layer in module.named_modules() if getattr(layer, "left_as_it_is", False))
    named = ((name, layer) for name, layer in module.named_modules() if not name.startswith(left))
    return [f"{name}.key" if name else "key" for name, layer in named if isinstance(layer, Dropout)]


def with_own_dropout(module: nn.Module) -> nn.Module:
    """`module` with every plain `nn.Dropout` replaced by `Dropout`, so that its rate is a value."""
    return with_replaced(module, nn.Dropout, lambda layer: Dropout(layer.p) if layer.p else NoDropout())

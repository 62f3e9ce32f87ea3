"""A plain network, which takes a tensor, as a study of terms alone has it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Plain(nn.Module):
    """A network `net` that takes a tensor; by name it takes one tensor after the other."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.net(x) for name, x in inputs.items()}


def own_network(model: Any) -> Any:
    """The network that the user's code has made: a term calls it as it is."""
    return model.net if isinstance(model, Plain) else model

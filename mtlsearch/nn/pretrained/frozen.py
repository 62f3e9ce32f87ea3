"""A module that no trial trains: its features can be computed once for all of them."""

from typing import Any

from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.nn.batched.replacing import of_class, with_replaced
from mtlsearch.nn.pretrained.copies import copied


class Frozen(nn.Module):
    """A `module` without gradients, always in evaluation mode. See `frozen`."""

    left_as_it_is = True  # its layers are not replaced by ones that are trained in a population

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copied(module).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        self.training = mode
        return self

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.module(*inputs, **named)


def frozen(module: nn.Module) -> Frozen:
    """A pretrained module whose parameters no trial trains, for use inside the model of a study.

    Where it takes the study's inputs as they are, as the first layer does, and gives one tensor [B, ...], its features
    are computed once for each part of the data and kept on disk: no trial runs it again. Else it runs in every step,
    once for all members of a lane. It is in evaluation mode, and all trials share its parameters, which must not depend
    on the config or the seed. Make it once, outside the function that makes the model. Raises StudyError.
    """
    if not isinstance(module, nn.Module) or isinstance(module, Frozen):
        got = "a frozen one" if isinstance(module, Frozen) else f"a {type(module).__name__}"
        raise StudyError(f"frozen must be given an nn.Module, but got {got}")
    return Frozen(module)


class Fed(nn.Module):
    """Stands for a `Frozen` module in a model whose inputs are that module's features."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def with_own_frozen(model: nn.Module) -> nn.Module:
    """`model` with a copy of every `Frozen` module, which may lie on another device; the copies share their tensors."""

    def copy(layer: nn.Module) -> nn.Module:
        assert isinstance(layer, Frozen)
        return Frozen(layer.module)

    return with_replaced(model, of_class(Frozen, copy))


def fed(model: nn.Module) -> nn.Module:
    """`model` with every `Frozen` module replaced by `Fed`; the modules themselves stay as they are."""
    return with_replaced(model, of_class(Frozen, lambda layer: Fed()))

"""Layers without a second derivative, such as ReLU, in a model of which a loss takes one.

The second derivative of a piecewise linear function is 0 wherever it exists, so nothing fails: a residual of second
order just loses its terms. To find out, such a function gets ½ (x − x₀)² added, with x₀ the value of x held constant:
that is 0, and so is its derivative, but its second derivative is 1. A loss that then changes takes the second
derivative of that function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PIECEWISE_LINEAR: dict[Any, str] = {
    F.relu: "ReLU",
    torch.relu: "ReLU",
    torch.relu_: "ReLU",
    Tensor.relu: "ReLU",
    Tensor.relu_: "ReLU",
    F.relu6: "ReLU6",
    F.leaky_relu: "LeakyReLU",
    F.prelu: "PReLU",
    torch.prelu: "PReLU",
    F.hardtanh: "Hardtanh",
    F.threshold: "Threshold",
}


def layer_without(loss: Callable[[nn.Module], float], model: nn.Module) -> str | None:
    """The first layer of `model` whose second derivative `loss` takes, though it has none; None where there is none."""
    with _Noting() as used, torch.no_grad():
        before = loss(model)
    if not used.found:
        return None
    names = {id(layer): name for name, layer in model.named_modules()}
    for kind in dict.fromkeys(used.found):
        with _Bent(model, kind) as bent, torch.no_grad():
            after = loss(model)
        if after != before:
            return _said(names, bent.inside, kind)
    return None


def _said(names: Mapping[int, str], layer: nn.Module | None, kind: str) -> str:
    place = "" if layer is None else names.get(id(layer), "").removeprefix("net.")
    return f"{kind} (layer {place!r})" if place else kind


class _Noting(TorchFunctionMode):
    """Notes the kinds of piecewise linear functions that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func in PIECEWISE_LINEAR:
            self.found.append(PIECEWISE_LINEAR[func])
        return func(*args, **(kwargs or {}))


class _Bent(TorchFunctionMode):
    """Gives piecewise linear functions of one `kind` a second derivative of 1; `inside` is the first such layer."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind
        self.inside: nn.Module | None = None
        self.entered: list[nn.Module] = []

    def __enter__(self) -> "_Bent":
        self.hooks = [
            hook
            for layer in self.model.modules()
            for hook in (layer.register_forward_pre_hook(self._enter), layer.register_forward_hook(self._leave))
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self.hooks:
            hook.remove()

    def _enter(self, layer: nn.Module, given: Any) -> None:
        self.entered.append(layer)

    def _leave(self, layer: nn.Module, given: Any, output: Any) -> None:
        self.entered.pop()

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if PIECEWISE_LINEAR.get(func) != self.kind:
            return func(*args, **(kwargs or {}))
        self.inside = self.inside or (self.entered[-1] if self.entered else None)
        x = args[0].clone()  # the function may work in place
        return func(*args, **(kwargs or {})) + 0.5 * (x - x.detach()).square()

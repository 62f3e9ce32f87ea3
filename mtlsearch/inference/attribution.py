"""Integrated gradients of a multi-task model with respect to its inputs, and to the units that its tasks share.

The integral of the gradient along the straight path from a baseline to the input divides the output's change among
the input's numbers, so that the attributions sum to that change (completeness). Source: Sundararajan, Taly and Yan,
"Axiomatic Attribution for Deep Networks", 2017; the integration is Captum's.

Shapes: B examples, L tokens, U units, T tasks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.errors import ModelError, UsageError

Outputs = Mapping[str, Tensor]
Ask = Callable[[Tensor], Tensor]  # takes the number to explain [B] from one task's outputs [B, ...]

WHOLE = (0.0, 1.0)
# Layer normalisation changes most in the first hundredth of the path from zero, which needs small steps.
DECADES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
# Steps on each piece of the path, its edges, and the gap in completeness below which no finer plan is tried.
PLANS = ((32, WHOLE, 0.01), (128, WHOLE, 0.02), (64, DECADES, 0.02), (256, DECADES, math.inf))
CHUNK = 32  # points of the path in one forward pass
MOSTLY = 0.9  # a task relies on the fewest units that carry this share of its attribution


@dataclass(frozen=True)
class Integral:
    """The attributions `weights` of one output, with its value at the baseline, `start`, and at the input, `end`."""

    weights: Tensor
    start: float
    end: float

    @property
    def change(self) -> float:
        return self.end - self.start

    @property
    def delta(self) -> float:
        """The sum of the attributions minus the change: the error of the integration."""
        return float(self.weights.double().sum()) - self.change

    @property
    def gap(self) -> float:
        """The size of `delta` as a fraction of the change, or of the output where that hardly changes."""
        return abs(self.delta) / max(abs(self.change), 1e-2 * abs(self.end), 1e-6)


def integrated(run: Callable[[Tensor], Tensor], x: Tensor, start: Tensor) -> Integral:
    """The attributions [...] of `run`, a map from [B, ...] to [B], for one example `x` [1, ...] from `start`."""
    method = captum_method()(run)
    with torch.no_grad():
        ends = run(torch.cat([start, x])).double().tolist()
    for steps, edges, enough in PLANS:
        # The integral over a path is the sum of the integrals over its pieces.
        pieces = [
            method.attribute(start + b * (x - start), start + a * (x - start), n_steps=steps, internal_batch_size=CHUNK)
            for a, b in pairwise(edges)
        ]
        found = Integral(torch.stack(pieces).sum(0)[0].detach(), *ends)
        if found.gap <= enough:
            break
    return found


def captum_method() -> Any:
    """Captum's class of integrated gradients. Raises UsageError where Captum is not installed."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise UsageError("explain needs Captum: pip install 'mtlsearch[explain]'") from error
    return IntegratedGradients


class Explainer:
    """The attributions of a model's outputs for one example `x` [1, ...], as `as_input` gives it.

    Raises ModelError where the inputs are whole numbers that no single embedding looks up.
    """

    def __init__(self, model: nn.Module, tasks: Sequence[str], x: Tensor) -> None:
        self.model, self.tasks, self.x = model.eval(), tasks, x
        # Whole numbers cannot be interpolated, but their embeddings can.
        self.embedding = None if x.is_floating_point() else _embedding(model, self.run, x)
        self.trunk = shared_module(model, self.run, x)
        with torch.no_grad():
            self.outputs = self.run(x)

    def run(self, x: Tensor) -> Outputs:
        """The outputs for a batch that every task is given."""
        outputs: Outputs = self.model(dict.fromkeys(self.tasks, x))
        return outputs

    def of_input(self, task: str, ask: Ask) -> Integral:
        """The attributions of a number of `task`, in the shape of the example, from a baseline of zeros.

        The baseline of embedded inputs is the zero vector, not the padding's row, which training never updates.
        """

        def number(x: Tensor) -> Tensor:
            return _connected(ask(self.run(x)[task]), x)

        if self.embedding is None:
            return integrated(number, self.x, torch.zeros_like(self.x))
        (vectors,) = self._read(self.embedding)
        found = integrated(self._through(self.embedding, task, ask), vectors, torch.zeros_like(vectors))
        return Integral(found.weights.flatten(self.x.ndim - 1).sum(self.x.ndim - 1), found.start, found.end)

    def of_units(self, task: str, ask: Ask) -> Integral | None:
        """The attributions [U] of a number of `task` to the units that all tasks share, None where they share none.

        The path is straight from the units' values at the baseline to those at the input. For a linear head this is
        the conductance of Dhamdhere, Sundararajan and Yan, 2018.
        """
        if self.trunk is None:
            return None
        end = self._read(self.trunk)[0]
        if self.embedding is None:
            start = self._read(self.trunk, torch.zeros_like(self.x))[0]
        else:
            with replaced(self.embedding, torch.zeros_like(self._read(self.embedding)[0])):
                start = self._read(self.trunk)[0]
        found = integrated(self._through(self.trunk, task, ask), end, start)
        return Integral(by_unit(found.weights), found.start, found.end)

    def _read(self, module: nn.Module, x: Tensor | None = None) -> list[Tensor]:
        with torch.no_grad():
            return outputs_of(module, self.run, self.x if x is None else x)

    def _through(self, module: nn.Module, task: str, ask: Ask) -> Callable[[Tensor], Tensor]:
        """The number asked for, as a function of the output [B, ...] of `module`."""

        def run(value: Tensor) -> Tensor:
            with replaced(module, value):
                outputs = self.run(self.x.expand(len(value), *self.x.shape[1:]))
            return _connected(ask(outputs[task]), value)

        return run


def _connected(asked: Tensor, x: Tensor) -> Tensor:
    """`asked` [B] with a gradient of 0, instead of an error, where it does not depend on `x` [B, ...]."""
    return asked + 0 * x.flatten(1).sum(1)


def by_unit(weights: Tensor) -> Tensor:
    """Attributions [U], [L, U] or [U, H, W], summed over tokens or pixels to [U]."""
    if weights.ndim == 2:
        return weights.sum(0)
    return weights.flatten(1).sum(1) if weights.ndim > 2 else weights


@contextmanager
def replaced(module: nn.Module, value: Tensor) -> Iterator[None]:
    """Inside, `module` returns `value` instead of its own output."""
    # A copy: later layers may work in place.
    handle = module.register_forward_hook(lambda *_: value.clone())
    try:
        yield
    finally:
        handle.remove()


def outputs_of(module: nn.Module, run: Callable[[Tensor], object], x: Tensor) -> list[Tensor]:
    """The output of each call of `module` while the model runs on `x`."""
    found: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _args, output: found.append(output))
    try:
        run(x)
    finally:
        handle.remove()
    return found


def _embedding(model: nn.Module, run: Callable[[Tensor], Outputs], x: Tensor) -> nn.Module:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Embedding)]
    if len(layers) == 1 and [vectors.shape[:-1] for vectors in outputs_of(layers[0], run, x)] == [x.shape]:
        return layers[0]
    raise ModelError(
        "explain needs a model whose inputs are real numbers, or whole numbers that one nn.Embedding looks up once"
    )


def shared_module(model: nn.Module, run: Callable[[Tensor], Outputs], x: Tensor) -> nn.Module | None:
    """The last module with parameters before it whose output [1, ...] every task's output depends on, if any."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def keep(module: nn.Module, _args: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad and output.ndim > 1:
            calls = seen.pop(module, [])
            seen[module] = [*calls, output]  # in the order of the last call

    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    handles = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            outputs = run(x)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in frozen:
            parameter.requires_grad_(False)
    reached = [_reached(output, seen) for output in outputs.values() if output.requires_grad]
    if len(reached) < len(outputs):
        return None
    heads = {id(output) for output in outputs.values()}
    for module in reversed(seen):
        calls = seen[module]
        alike = all(torch.equal(call, calls[0]) for call in calls[1:]) and len(calls[0]) == len(x)
        if alike and all(module in each for each in reached) and id(calls[-1]) not in heads:
            return module
    return None


def _reached(output: Tensor, seen: Mapping[nn.Module, Sequence[Tensor]]) -> set[nn.Module]:
    """The modules in `seen` that `output` depends on."""
    flat = [(module, call) for module, calls in seen.items() for call in calls]
    gradients = torch.autograd.grad(output.sum(), [call for _, call in flat], retain_graph=True, allow_unused=True)
    return {module for (module, _), gradient in zip(flat, gradients, strict=True) if gradient is not None}


# A task's use of the shared units [U] is not negative and sums to 1, or is all 0.


def use_of(weights: Sequence[Tensor]) -> Tensor:
    """The share [U] of each unit in the absolute attributions [U] of one task's answers."""
    sizes = torch.stack([each.double().abs() for each in weights]).sum(0)
    total = sizes.sum()
    return sizes / total if total > 0 else sizes


def effective_units(use: Tensor) -> float:
    """The number of equally used units with the entropy of `use` [U]: e to the power of that entropy."""
    return math.exp(float(torch.special.entr(use).sum())) if bool(use.any()) else 0.0


def relied_on(use: Tensor) -> Tensor:
    """A mask [U] of the fewest units that carry `MOSTLY` of `use` [U]."""
    order = use.argsort(descending=True, stable=True)
    before = use[order].cumsum(0) - use[order]
    mask = torch.zeros_like(use, dtype=torch.bool)
    mask[order] = (before < MOSTLY) & (use[order] > 0)
    return mask


def overlaps(uses: Tensor) -> Tensor:
    """The cosines [T, T] between the tasks' uses [T, U]: 1 for equal uses, 0 for no unit in common."""
    lengths = uses.norm(dim=1, keepdim=True)
    unit = torch.where(lengths > 0, uses / lengths.clamp(min=1e-300), 0)
    return (unit @ unit.T).clamp(max=1)

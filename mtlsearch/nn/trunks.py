"""Shared trunks with a head per task, and the layers that stay exact in a population.

What differs between members by value is a buffer here (dropout rate, the mask of live units), so that
stacking carries it. A trunk can be *widened*: the same function with its hidden units padded by dead ones.

Legend: B examples, H hidden units (live and padded), I inputs, C outputs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mtlsearch.errors import StudyError
from mtlsearch.kernels.launch import use_kernels
from mtlsearch.kernels.shared_product import shared_product
from mtlsearch.nn.dropout import Dropout
from mtlsearch.nn.norms import NORMS, AnyNorm, normalisation
from mtlsearch.nn.sharing import Sharing, shared_layers, through
from mtlsearch.nn.sharing import distinct as distinct  # noqa: PLC0414

# What initialises a tensor in place.
DRAWS = {draw for name, draw in vars(nn.init).items() if name.endswith("_") and not name.startswith("_")}


@runtime_checkable
class Widenable(Protocol):
    """A module of `hidden` units whose layers can be padded to more."""

    hidden: int

    def widened(self, hidden: int, norm: str | None = None) -> nn.Module:
        """A fresh module of the same architecture with `hidden` units; its parameters are overwritten.

        With `norm` "any" its normalisation is a value instead (`AnyNorm`), else it stays as it is.
        """
        ...


class Linear(nn.Linear):
    """`nn.Linear`, whose bf16 product is one for all members of a population (`shared_product`)."""

    def forward(self, x: Tensor) -> Tensor:
        return shared_linear(x, self.weight, self.bias)


def shared_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x·Wᵀ + b of x [B, I] and W [O, I]."""
    if use_kernels() and bias is not None:
        from mtlsearch.kernels import linear as linear_kernel

        if linear_kernel.fits(x):
            return linear_kernel.linear(x, weight, bias)
    if x.ndim != 2 or not torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        product = shared_product(x, weight)
    return product if bias is None else product + bias


class MaybeBiased(nn.Linear):
    """A linear layer whose bias counts where the buffer `biased` says so; elsewhere its gradient is exactly 0."""

    biased: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("biased", torch.tensor(True), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return shared_linear(x, self.weight, torch.where(self.biased, self.bias, 0))


class HiddenLayer(nn.Module):
    """Linear, normalisation, ReLU, dropout; padded units give exactly 0."""

    live: Tensor

    def __init__(self, in_features: int, hidden: int, dropout: float, norm: str) -> None:
        super().__init__()
        # Before batch normalisation a bias has no effect; its gradient is rounding noise that Adam would amplify.
        self.linear = (MaybeBiased if norm == "any" else Linear)(in_features, hidden, bias=norm != "batch")
        self.norm = normalisation(norm, hidden)
        self.dropout = Dropout(dropout)
        self.register_buffer("live", torch.ones(hidden, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if use_kernels() and isinstance(self.norm, AnyNorm):
            return self._by_kernels(x, self.norm)
        return self._activated(self.linear(x))

    def _activated(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(x))
        dropped: Tensor = self.dropout(torch.where(self.live, x, 0))
        return dropped

    def _by_kernels(self, x: Tensor, norm: AnyNorm) -> Tensor:
        from mtlsearch.kernels import hidden_layer as layer_kernel
        from mtlsearch.kernels import linear as linear_kernel

        if linear_kernel.fits(x):
            assert isinstance(self.linear, MaybeBiased)
            x = linear_kernel.linear(x, self.linear.weight, self.linear.bias, self.linear.biased, self.live)
        else:
            x = self.linear(x)
        if not self.training or not layer_kernel.fits(x):
            return self._activated(x)
        norm.num_batches_tracked.add_(1)
        return layer_kernel.activated(
            x,
            norm.weight,
            norm.bias,
            self.live,
            norm.kind,
            self.dropout.rate,
            self.dropout.key,
            norm.running_mean,
            norm.running_var,
        )


class SharedTrunk(nn.Module):
    """A trunk of `depth` hidden layers that all tasks share, and a linear head [H → C] per task.

    Maps {task: input [B, ...]} to {task: output [B, C]}. Inputs are flattened to `in_features`. All tasks'
    batches pass the trunk as one, so batch normalisation sees their mixture in training as in evaluation.
    With `sharing` "separate", or k, only the first 0, or k, layers are shared: each task has later ones of its own.
    """

    def __init__(
        self,
        in_features: int,
        heads: Mapping[str, int],
        *,
        hidden: int = 128,
        depth: int = 1,
        dropout: float = 0.0,
        norm: str = "none",
        sharing: Sharing = "shared",
    ) -> None:
        super().__init__()
        if hidden < 1 or depth < 1:
            raise StudyError(f"hidden and depth must be 1 or more, but got {hidden} and {depth}")
        self.in_features, self.hidden, self.norm, self.depth = in_features, hidden, norm, depth
        sizes = list(pairwise([in_features] + [hidden] * depth))
        shared = shared_layers(sharing, depth)

        def layers(sizes: list[tuple[int, int]]) -> nn.Sequential:
            return nn.Sequential(*(HiddenLayer(i, o, dropout, norm) for i, o in sizes))

        self.trunk = layers(sizes[:shared])
        self.branches = nn.ModuleDict({task: layers(sizes[shared:]) for task in heads if shared < depth})
        self.heads = nn.ModuleDict({task: Linear(hidden, size) for task, size in heads.items()})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = through(self.trunk, inputs, lambda x: flat(x, self.in_features))
        if self.branches:
            features = {task: self.branches[task](x) for task, x in features.items()}
        return {task: self.heads[task](x) for task, x in features.items()}

    def widened(self, hidden: int, norm: str | None = None) -> "SharedTrunk":
        heads = {task: _size(head) for task, head in self.heads.items()}
        wide = SharedTrunk(
            self.in_features,
            heads,
            hidden=hidden,
            depth=self.depth,
            norm=norm or self.norm,
            sharing=len(self.trunk),
        )
        if norm == "any":
            for layer in wide.modules():
                if isinstance(layer, AnyNorm):
                    layer.kind.fill_(NORMS.index(self.norm))
                if isinstance(layer, MaybeBiased):
                    layer.biased.fill_(self.norm != "batch")
        return wide


class SeparateTrunks(nn.Module):
    """One network per task, with nothing shared: the reference that sharing is held against."""

    def __init__(
        self,
        in_features: int,
        heads: Mapping[str, int],
        *,
        hidden: int = 128,
        depth: int = 1,
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.networks = nn.ModuleDict(
            {
                task: SharedTrunk(
                    in_features, {task: size}, hidden=hidden, depth=depth, dropout=dropout, norm=norm
                )
                for task, size in heads.items()
            }
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.networks[task]({task: x})[task] for task, x in inputs.items()}

    def widened(self, hidden: int, norm: str | None = None) -> "SeparateTrunks":
        wide = SeparateTrunks(1, {}, hidden=hidden)
        for task, network in self.networks.items():
            assert isinstance(network, SharedTrunk)
            wide.networks[task] = network.widened(hidden, norm)
        return wide


class Undrawn(TorchFunctionMode):
    """Initialises no parameter, where all are overwritten: to draw them takes most of the time that padding does."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        tensor = args[0] if args else given.get("tensor")
        if func in DRAWS and isinstance(tensor, nn.Parameter):
            return tensor
        return func(*args, **given)


def pad(module: nn.Module, hidden: int, norm: str | None = None) -> nn.Module:
    """`module` at `hidden` units: its tensors in the leading corner, zero (for masks: dead) around them.

    With `norm` "any" modules that differ in their normalisation alone get the same architecture.
    """
    assert isinstance(module, Widenable)
    small = module.state_dict()
    like = next(tensor for tensor in small.values() if tensor.is_floating_point())
    with Undrawn():
        wide = module.widened(hidden, norm).to(like.device, like.dtype)
    with torch.no_grad():
        for name, tensor in wide.state_dict().items():
            tensor.zero_()
            if name in small:
                corner(tensor, small[name]).copy_(small[name])
            elif name.endswith(".norm.live"):
                corner(tensor, small[name.replace(".norm.live", ".live")]).fill_(True)
    return wide


def corner(tensor: Tensor, like: Tensor) -> Tensor:
    """The leading corner of `tensor` that has the shape of `like`: what `pad` filled."""
    return tensor[tuple(slice(size) for size in like.shape)]


def extent(shape: torch.Size, padded: torch.Size) -> int:
    """How many leading numbers of a tensor of shape `padded` hold its `corner` of `shape`."""
    last = 0
    for size, whole in zip(shape, padded, strict=True):
        last = last * whole + size - 1
    return last + 1


def flat(x: Tensor, features: int) -> Tensor:
    """`x` as [B, I]."""
    size = math.prod(x.shape[1:])
    if size != features:
        raise StudyError(
            f"the model takes inputs of {features} numbers, but got {tuple(x.shape[1:])}, {size} numbers"
        )
    return x.flatten(1)


def _size(head: nn.Module) -> int:
    assert isinstance(head, nn.Linear)
    return head.out_features

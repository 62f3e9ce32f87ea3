"""Trunks of hidden layers with a head per task, which are exact in a population.

All that differs between members by value is a buffer here (dropout rate, mask of live units), so that stacking
carries it. A trunk can be widened: it stays the same function, with its hidden units padded by dead ones.

Legend: B examples, H hidden units (live and padded), I inputs, C outputs.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.kernels.launch import NORMS
from mtlsearch.limits import MOST_LAYERS, MOST_UNITS, check_heads, check_most
from mtlsearch.nn.layers import HiddenLayer, MaybeBiased
from mtlsearch.nn.norms import AnyNorm
from mtlsearch.nn.sharing import LinearHeads, Sharing, shared_layers, through
from mtlsearch.nn.task_modules import TaskModules, outputs_of


class SharedTrunk(nn.Module):
    """A trunk of `depth` hidden layers that all tasks share, and a linear head [H → C] per task.

    Maps {task: input [B, ...]} to {task: output [B, C]}. Inputs are flattened to `in_features`. All tasks'
    batches pass the trunk as one, so batch normalisation sees their mixture in training as in evaluation.
    `sharing` is "shared", "separate" or k: then only the first k layers are shared, and each task has its own later
    ones.
    """

    width_dimension, norm_dimension = "hidden", "norm"  # of the space (`Widenable`)

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
        check_most(MOST_UNITS, hidden=hidden)
        check_most(MOST_LAYERS, depth=depth)
        check_heads(heads)
        self.in_features, self.hidden, self.norm, self.depth = in_features, hidden, norm, depth
        sizes = list(pairwise([in_features] + [hidden] * depth))
        shared = shared_layers(sharing, depth)

        def layers(sizes: list[tuple[int, int]]) -> nn.Sequential:
            return nn.Sequential(*(HiddenLayer(i, o, dropout, norm) for i, o in sizes))

        self.trunk = layers(sizes[:shared])
        self.branches = TaskModules({task: layers(sizes[shared:]) for task in heads if shared < depth})
        self.heads = LinearHeads(hidden, heads, apart=shared < depth)

    def forward(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        features = through(self.trunk, inputs, lambda x: flat(x, self.in_features))
        if self.branches:
            features = {task: self.branches[task](x) for task, x in features.items()}
        outputs: Mapping[str, Tensor] = self.heads(features)
        return outputs

    def widened(self, hidden: int, norm: str | None = None) -> "SharedTrunk":
        wide = SharedTrunk(
            self.in_features,
            outputs_of(self.heads),
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
    """One network per task, with nothing shared: the reference for what sharing gains."""

    width_dimension, norm_dimension = "hidden", "norm"

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
        self.networks = TaskModules(
            {
                task: SharedTrunk(in_features, {task: size}, hidden=hidden, depth=depth, dropout=dropout, norm=norm)
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


def flat(x: Tensor, features: int) -> Tensor:
    """`x` as [B, I]."""
    size = math.prod(x.shape[1:])
    if size != features:
        raise StudyError(f"the model takes inputs of {features} numbers, but got {tuple(x.shape[1:])}, {size} numbers")
    return x.flatten(1)

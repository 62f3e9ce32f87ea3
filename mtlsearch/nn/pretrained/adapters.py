"""Low-rank adapters: a pretrained module that all trials share, and a small trained addition to some of its layers.

Legend: I inputs and O outputs of a linear layer, r the adapter's rank.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlsearch.errors import StudyError
from mtlsearch.limits import MOST_UNITS, check_most
from mtlsearch.nn.batched.dropout import Dropout
from mtlsearch.nn.pretrained.copies import copied
from mtlsearch.wording import few

Module = TypeVar("Module", bound=nn.Module)
RANK = "rank"  # the dimension of the space that sets the ranks, unless `adapted` names another


class AdaptedLinear(nn.Linear):
    """x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ, of which A [r, I] and B [O, r] are trained. Hu et al., "LoRA", 2022, equation 3.

    B begins at 0, A as PyTorch begins a linear layer. A rank padded by zeros in both stays exactly as it is without:
    each of the two has a gradient of 0 where the other is 0.
    """

    scale: Tensor

    def __init__(self, layer: nn.Linear, rank: int, scale: float, dropout: float | None) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.down = nn.Parameter(torch.empty(rank, self.in_features))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.up = nn.Parameter(torch.zeros(self.out_features, rank))
        self.register_buffer("scale", torch.tensor(float(scale)), persistent=False)
        self.dropout = None if dropout is None else Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        adapted = x if self.dropout is None else self.dropout(x)
        low = F.linear(adapted, self.down) * self.scale.to(self.down.dtype)
        return F.linear(x, self.weight, self.bias) + F.linear(low, self.up)

    def merged(self) -> Tensor:
        """The weight [O, I] of a plain linear layer that gives the same outputs."""
        return self.weight + self.scale * self.up @ self.down


def adapted(
    module: Module,
    rank: int,
    *,
    layers: Sequence[str] | None = None,
    alpha: float | None = None,
    dropout: float | None = None,
    rank_dimension: str = RANK,
) -> Module:
    """A copy of a pretrained module whose parameters stay as they are, with a trained adapter at some linear layers.

    `layers` are names or ends of names, such as "query" for every layer whose name ends in `.query`; None takes all.
    An adapter is scaled by `alpha`/`rank` (1 without it), and drops its inputs at the rate `dropout`. Copies share
    their parameters, so make the module once, outside the function that makes the model. Members of several ranks train
    as one program, padded to the highest of the space's dimension `rank_dimension`. Raises StudyError.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise StudyError(f"rank must be a whole number of 1 or more, but got {rank!r}")
    check_most(MOST_UNITS, rank=rank)
    if alpha is not None and not 0 < alpha < math.inf:
        raise StudyError(f"alpha must be above 0, but got {alpha}")
    names = _chosen(module, layers)
    new = copied(module)
    new.requires_grad_(False)
    for each in new.modules():  # statistics of batches are a trial's own
        each._buffers = {name: buffer if buffer is None else buffer.clone() for name, buffer in each._buffers.items()}
    for name in names:
        parent, _, attribute = name.rpartition(".")
        layer = new.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        made = AdaptedLinear(layer, rank, 1.0 if alpha is None else alpha / rank, dropout)
        setattr(new.get_submodule(parent), attribute, made)
    for layer in new.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            layer.activation_relu_or_gelu = 0  # else torch evaluates by a kernel that reads the layers' weights
    vars(new)[MARK] = rank_dimension
    return new


MARK = "mtlsearch_rank_dimension"


def is_adapted(module: nn.Module) -> bool:
    """Whether `adapted` made the module, whose parameters without gradients all trials then share."""
    return MARK in vars(module)


def rank_dimensions(model: nn.Module) -> set[str]:
    """The dimensions of the space that set the ranks in a model."""
    return {vars(layer)[MARK] for layer in model.modules() if is_adapted(layer)}


def with_rank(model: nn.Module, rank: int) -> nn.Module:
    """A copy of `model` whose adapters are padded to `rank` by zeros; the same function."""
    wide = copied(model)
    for layer in wide.modules():
        if isinstance(layer, AdaptedLinear) and len(layer.down) < rank:
            missing = rank - len(layer.down)
            layer.down = nn.Parameter(F.pad(layer.down.detach(), (0, 0, 0, missing)))
            layer.up = nn.Parameter(F.pad(layer.up.detach(), (0, missing)))
    return wide


def _chosen(module: nn.Module, layers: Sequence[str] | None) -> list[str]:
    """The names of the linear layers that get an adapter."""
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear) and name]
    hidden = {name for path, layer in module.named_modules() if _reads_weights(layer) for name in _below(path, linear)}
    known = [name for name in linear if name not in hidden]
    if isinstance(layers, str):
        raise StudyError(f"layers must be a list of names, but got {layers!r}: write [{layers!r}]")
    found = [name for name in known if layers is None or any(f".{name}".endswith(f".{end}") for end in layers)]
    lost = [end for end in layers or () if not any(f".{name}".endswith(f".{end}") for name in known)]
    if lost or not found:
        inside = f"; {few(sorted(hidden))} lie in a layer of torch that reads their weights by itself" if hidden else ""
        got = f"{lost[0]!r} is none" if lost else "there is none"
        ends = list(dict.fromkeys(name.rpartition(".")[2] for name in known))
        raise StudyError(f"layers must name linear layers of the module ({few(ends)}), but {got}{inside}")
    return found


def _below(path: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if not path or name.startswith(f"{path}.")]


def _reads_weights(layer: nn.Module) -> bool:
    """Whether a layer takes the weights of its linear layers without calling these, so that no adapter would count."""
    return isinstance(layer, nn.MultiheadAttention)

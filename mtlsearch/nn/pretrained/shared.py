"""The tensors that are the same in every trial: those of frozen modules, and the weights below adapters.

A lane has one copy of them, a trial's own parameters leave them out, and a digest tells them apart.
"""

import hashlib
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mtlsearch.nn.pretrained.adapters import AdaptedLinear, is_adapted
from mtlsearch.nn.pretrained.frozen import Frozen

Model = TypeVar("Model", bound=nn.Module)

# Of a tensor: its copies in other places.
_copies: MutableMapping[Tensor, dict[object, Tensor]] = WeakTensorKeyDictionary()
# Of a parameter: its version and type when it was hashed, and the digest.
_digests: MutableMapping[Tensor, tuple[object, bytes]] = WeakTensorKeyDictionary()


def shared_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of `model` that are the same in every trial, by their names."""
    found = frozen_tensors(model)
    for path, layer in model.named_modules(remove_duplicate=False):
        if is_adapted(layer):
            named = layer.named_parameters(path, remove_duplicate=False)  # tied ones have two names in a state dict
            found |= {name: p for name, p in named if not p.requires_grad}
    return found


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the frozen modules in `model`, by their names."""
    found: dict[str, Tensor] = {}
    for path, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, Frozen):
            found |= dict(layer.named_parameters(path, remove_duplicate=False))
            found |= dict(layer.named_buffers(path, remove_duplicate=False))
    return found


def placed(model: Model, device: torch.device, dtype: torch.dtype | None = None) -> Model:
    """`model` on a device, and of a `dtype`; what it shares is one copy there for all models.

    The tensors that it came with stay where they are: they belong to the user, and to other models.
    """
    shared = {id(tensor) for tensor in shared_tensors(model).values()}
    for layer in model.modules() if shared else ():
        held: tuple[dict[str, Any], ...] = (layer._parameters, layer._buffers)
        for tensors in held:
            for name, tensor in tensors.items():
                if id(tensor) in shared:
                    tensors[name] = _there(tensor, device, dtype if tensor.is_floating_point() else None)
    return model.to(device, dtype)


def _there(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """The one copy of a shared tensor in a place, itself where it lies there."""
    moved = tensor.detach().to(device, dtype)
    if moved.data_ptr() == tensor.data_ptr():
        return tensor
    copies, key = _copies.setdefault(tensor, {}), (tensor._version, device, dtype)
    if key not in copies:
        copies[key] = nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
    return copies[key]


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of one trial: the state dict of `model` without what it shares with the others."""
    shared = shared_tensors(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in shared}


def load_own_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `own_state` gave. Raises RuntimeError where it does not fit."""
    model.load_state_dict({**shared_tensors(model), **state})


def without_mtlsearch(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` had its modules been neither frozen nor adapted: adapters are merged into weights."""
    state = dict(model.state_dict())
    for path, layer in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(layer, AdaptedLinear):
            with torch.no_grad():
                plain = {"weight": layer.merged(), "bias": layer.bias}
            state = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
            state |= {f"{prefix}{name}": tensor for name, tensor in plain.items() if tensor is not None}
        elif isinstance(layer, Frozen):
            state = {name.replace(f"{prefix}module.", prefix, 1): tensor for name, tensor in state.items()}
    return state


def shared_digest(model: nn.Module) -> str:
    """The digest of the shared tensors, empty where there are none."""
    return tensors_digest(shared_tensors(model))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors with their names and shapes, empty where there are none."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(_digest(tensor))
    return digest.hexdigest() if tensors else ""


def _digest(tensor: Tensor) -> bytes:
    """The SHA-256 of a tensor's bytes; one that all trials share is hashed once."""
    about = tensor._version, tensor.dtype, tensor.device, tensor.data_ptr()
    # As doubles, so that a module which has moved to a wider type stays the same one.
    known = _digests.get(tensor)
    if known is None or known[0] != about:
        numbers = tensor.detach().cpu().double().contiguous().numpy()
        known = about, hashlib.sha256(numbers.tobytes()).digest()
        _digests[tensor] = known
    return known[1]

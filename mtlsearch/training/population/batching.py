"""Which members `vmap` can batch, and which with which."""

import warnings
from typing import Any

import torch
from torch import nn

from mtlsearch.data.parts import as_input
from mtlsearch.errors import one_line
from mtlsearch.training.population.lane import Lane
from mtlsearch.training.population.program import LaneProgram

Key = tuple[Any, ...]


def structure(module: nn.Module) -> Key:
    """What members must have in common to share a lane: classes, shapes, and every attribute that is no tensor."""
    layers = tuple((name, type(layer), _attributes(layer)) for name, layer in module.named_modules())
    tensors = (*module.named_parameters(), *module.named_buffers())
    return layers, tuple((name, tuple(t.shape), t.dtype) for name, t in tensors)


def _attributes(layer: nn.Module) -> Key:
    hidden = {"_parameters", "_buffers", "_modules", "training"}
    values = {name: value for name, value in vars(layer).items() if name not in hidden}
    return tuple((name, _comparable(value)) for name, value in sorted(values.items()))


def _comparable(value: object) -> object:
    """A value by which two attributes are the same; of an unknown kind, only the very same object is."""
    if isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device | None):
        return type(value), value
    if isinstance(value, list | tuple):
        return type(value), tuple(_comparable(v) for v in value)
    if isinstance(value, dict):
        return dict, tuple((_comparable(k), _comparable(v)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(_comparable(v) for v in value)
    return type(value), id(value)


def why_not(program: LaneProgram) -> str | None:
    """Why an architecture cannot be batched by `vmap`, None where it can: one step of a small lane is tried."""
    lane = Lane(program, 2, seed=0)
    lane.begin_epoch(0)
    with warnings.catch_warnings():
        # torch warns where it would run members one after the other; then solo is the plainer way.
        warnings.filterwarnings("error", message=".*performance drop.*")
        try:
            program.gradients(lane.state)
            with torch.no_grad():
                for splits in program.training.loaded.splits:
                    x = as_input(splits.validation.inputs[:2], program.training.dtype)
                    program.forward(lane.state, dict.fromkeys(splits.tasks, x))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return one_line(error)[:200]
    return None

"""The unit of each term's loss, and what a loss of the model itself can have wrong.

A unit is measured as a task's is (`units`): the size of the loss on some points at the initialisation of the default
model, the median over a few seeds.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn

from mtlsearch.errors import MtlsearchError, StudyError, kind_and_line
from mtlsearch.nn.plain import own_network
from mtlsearch.study.units.second_derivatives import layer_without
from mtlsearch.study.units.task_units import EXAMPLES, SEEDS
from mtlsearch.tasks.points import Batch, Points
from mtlsearch.tasks.term import Term

Build = Callable[[int], nn.Module]  # the default model, initialised from a seed


def term_units(terms: Sequence[Term], points: Sequence[Points], build: Build) -> dict[str, float]:
    """The unit of every term, given or measured, once each loss is checked. Raises StudyError."""
    if not terms:
        return {}
    models = [build(seed).train() for seed in SEEDS]
    return {term.name: _unit(term, _batch(term, points), models) for term in terms}


def _batch(term: Term, points: Sequence[Points]) -> Batch:
    """Some points of a term, the same in every run."""
    (own,) = (each for each in points if term.name in each.tasks)
    order = torch.randperm(own.examples, generator=torch.Generator().manual_seed(0))[:EXAMPLES]
    return own.batch(own.train.rows(order.to(own.train.inputs.device)), torch.float32)


def _unit(term: Term, batch: Batch, models: Sequence[nn.Module]) -> float:
    sizes, learns = [], False
    for model in models:
        size, has_gradient = _size(term, batch, model)
        sizes.append(size)
        learns |= has_gradient
    rule = f"the loss of term {term.name!r} must be finite and change with the model, but at initialisation"
    wrong = next((size for size in sizes if not math.isfinite(size)), None)
    if wrong is not None:
        raise StudyError(f"{rule} it is {wrong}: correct the loss or its points")
    layer = layer_without(lambda model: float(term.value(own_network(model), batch)), models[0])
    if layer is not None:
        raise StudyError(
            f"the loss of term {term.name!r} takes a second derivative by the inputs, which {layer} does not have: use"
            " nn.Tanh, nn.SiLU or nn.GELU instead"
        )
    if not learns:
        raise StudyError(f"{rule} no parameter changes it: call the model in it, and detach nothing")
    if not median(sizes) and term.unit is None:
        raise StudyError(f"{rule} it is 0, so its unit cannot be measured: give Term(..., unit=) its usual size")
    return median(sizes) if term.unit is None else float(term.unit)


def _size(term: Term, batch: Batch, model: nn.Module) -> tuple[float, bool]:
    """The mean size of a term's losses, and whether they depend on a parameter."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with torch.enable_grad():
            losses = term.losses(own_network(model), batch)
            if not losses.requires_grad:
                return float(losses.abs().mean()), False
            gradients = torch.autograd.grad(losses.mean(), parameters, allow_unused=True)
    except MtlsearchError:
        raise
    except Exception as error:
        raise StudyError(f"the loss of term {term.name!r} fails: {kind_and_line(error)}") from error
    changes = any(bool((gradient != 0).any()) for gradient in gradients if gradient is not None)
    return float(losses.detach().abs().mean()), changes

"""A small study of loss terms: u″ = −π² sin(πx) on [0, 1], by a network of a few units."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from mtlsearch import Config, Evaluation, Study, Term, real

AT = torch.linspace(0, 1, 48).unsqueeze(1)
ENDS = torch.tensor([[0.0], [1.0]])


def solution(x: Tensor) -> Tensor:
    return torch.sin(math.pi * x)


def residual(model: Any, x: Tensor) -> Tensor:
    """A term with second derivatives by the input, one loss for each point."""
    second = vmap(grad(lambda p: grad(lambda q: model(q).squeeze())(p).squeeze()))(x)
    return (second + math.pi**2 * solution(x)).squeeze(1).square()


def ends(model: Any, x: Tensor) -> Tensor:
    """A term with one loss for the whole batch."""
    return model(x).square().mean()


def drawn(seed: int, epoch: int) -> Tensor:
    return torch.rand(48, 1, generator=torch.Generator().manual_seed(1000 * seed + epoch))


def network(config: Config) -> nn.Module:
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


DATA = {"validation": (AT, solution(AT)), "test": (AT + 0.01, solution(AT + 0.01))}


def waves(**changes: Any) -> Study:
    about: dict[str, Any] = {
        "terms": [Term("residual", AT, residual), Term("ends", ENDS, ends)],
        "evaluations": [Evaluation("u", DATA, "relative_l2")],
        "model": network,
        "space": {"learning_rate": real(1e-3, 1e-1, log=True)},
        "default": {"learning_rate": 1e-2},
        "epochs": 3,
        "batch_size": 16,
    }
    return Study(**about | changes)

"""Poisson's equation on a square, by a physics-informed network; needs no data.

Δu = f with a given boundary, whose solution is known: u = sin(πx) sin(4πy). The loss is a residual inside and a misfit
on the boundary, with a weight each. The residual is thousands of times as large, so that their plain sum hardly sees
the boundary.
"""

import math

import torch
from torch import nn
from torch.func import jacrev, vmap

from mtlsearch import Evaluation, Study, Term, real

SIDES = torch.tensor([math.pi, 4 * math.pi])  # wave numbers along x and y


def solution(points):
    return torch.sin(points * SIDES.to(points)).prod(1, keepdim=True)


def inside(seed, epoch):
    """Points in the unit square, others in each epoch."""
    random = torch.Generator().manual_seed(1000 * seed + epoch)
    return torch.rand(1024, 2, generator=random)


def edge(count=256):
    """Points on the four sides in turn."""
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(1))
    side = torch.arange(count) % 4
    points[torch.arange(count), side // 2] = (side % 2).float()
    return points


def residual(model, points):
    """(Δu − f)² at points [B, 2]."""
    laplacian = vmap(lambda point: jacrev(jacrev(lambda p: model(p).squeeze()))(point).trace())(points)
    source = -(SIDES.square().sum()) * solution(points).squeeze(1)
    return (laplacian - source).square()


def boundary(model, points):
    return (model(points) - solution(points)).square().squeeze(1)


def model(config):
    width = config["width"]
    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))


def grid(count, shift):
    """A grid of count² points in the square, with their solution."""
    at = (torch.arange(count) + shift) / count
    points = torch.cartesian_prod(at, at)
    return points, solution(points)


study = Study(
    description="Poisson's equation on a square, by a physics-informed network",
    needs="nothing",
    terms=[Term("residual", inside, residual), Term("boundary", edge(), boundary)],
    evaluations=[
        Evaluation("u", {"validation": grid(40, 0.25), "test": grid(50, 0.5)}, metric="relative_l2"),
    ],
    model=model,
    space={"learning_rate": real(1e-3, 3e-2, log=True)},
    default={"width": 32, "learning_rate": 5e-3, "schedule": "cosine"},
    epochs=80,
    batch_size=64,
    weight_range=1000,
    score="log_error",
)

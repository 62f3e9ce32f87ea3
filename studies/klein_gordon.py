"""The Klein-Gordon equation, by a physics-informed network; needs no data.

u_tt − u_xx + u³ = f on 0 ≤ x, t ≤ 1, with the start and the boundary of u = x cos(5πt) + (xt)³ (Wang, Teng, Perdikaris
2021, "Understanding and mitigating gradient flow pathologies in physics-informed neural networks", section 4.2).
"""

import math

import torch
from torch import nn
from torch.func import grad, jacrev, vmap

from mtlsearch import Evaluation, Study, Term, real

RATE = 5 * math.pi


def solution(points):
    x, t = points[:, 0], points[:, 1]
    return (x * torch.cos(RATE * t) + (x * t) ** 3).unsqueeze(1)


def source(points):
    """f, from the derivatives of the solution."""
    x, t = points[:, 0], points[:, 1]
    u = solution(points).squeeze(1)
    u_tt = -(RATE**2) * x * torch.cos(RATE * t) + 6 * x**3 * t
    u_xx = 6 * x * t**3
    return u_tt - u_xx + u**3


def residual(model, points):
    """(u_tt − u_xx + u³ − f)² at points (x, t) [B, 2]."""

    def u(point):
        return model(point).squeeze()

    second = vmap(jacrev(jacrev(u)))(points)
    return (second[:, 1, 1] - second[:, 0, 0] + model(points).squeeze(1) ** 3 - source(points)).square()


def boundary(model, points):
    return (model(points) - solution(points)).square().squeeze(1)


def start(model, points):
    """The misfit of u and of u_t at t = 0, where u_t is 0."""
    u_t = vmap(grad(lambda point: model(point).squeeze()))(points)[:, 1]
    return boundary(model, points) + u_t.square()


def inside(seed, epoch):
    """Points with 0 < x, t < 1, others in each epoch."""
    random = torch.Generator().manual_seed(1000 * seed + epoch)
    return torch.rand(2048, 2, generator=random)


AT = torch.linspace(0, 1, 128)
ENDS = torch.cartesian_prod(torch.tensor([0.0, 1.0]), AT)  # x is 0 or 1
BEGIN = torch.stack([AT, torch.zeros(128)], 1)  # t is 0


class Network(nn.Module):
    """Three hidden layers; time is stretched, since a network learns five half waves slowly."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("scale", torch.tensor([2.0, 10.0]))
        self.layers = nn.Sequential(
            nn.Linear(2, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        )

    def forward(self, points):
        return self.layers(points * self.scale)


def model(config):
    return Network(config["width"])


def grid(count, shift):
    """A grid of count² points, with their solution."""
    at = (torch.arange(count) + shift) / count
    points = torch.cartesian_prod(at, at)
    return points, solution(points)


study = Study(
    description="the Klein-Gordon equation, by a physics-informed network",
    needs="nothing",
    terms=[Term("residual", inside, residual), Term("boundary", ENDS, boundary), Term("start", BEGIN, start)],
    evaluations=[
        Evaluation("u", {"validation": grid(40, 0.25), "test": grid(50, 0.5)}, metric="relative_l2"),
    ],
    model=model,
    space={"learning_rate": real(1e-3, 3e-2, log=True)},
    default={"width": 32, "learning_rate": 5e-3, "schedule": "cosine"},
    epochs=375,
    batch_size=64,
    weight_range=1000,
    score="log_error",
)

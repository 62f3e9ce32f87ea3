"""A study whose best task weights are known in closed form; and, as a file, the study that a search is given.

Both tasks learn one linear map θ in the plane from the same inputs x, which cover a circle evenly
(mean of x xᵀ = 1). The noise of their training labels is known: alone, task i would learn θ* + eᵢ, with e₁ ⊥ e₂.
Sharing learns Σ wᵢ (θ* + eᵢ), so its mean squared error on labels without noise is

    w₁² |e₁|² + w₂² |e₂|²,   least at   w₁ = |e₂|² / (|e₁|² + |e₂|²)   (inverse variances).

With |e₁| = 1 and |e₂| = 3 that is w₁ = 0.9 and an error of 0.9; equal weights give 2.5, the tasks alone 1 and 9.
Minibatches see part of the circle, so that trainings with different seeds differ a little. There is one epoch:
of several, the best could be one on whose way to Σ wᵢ (θ* + eᵢ) the map came closer to θ*.
"""

import math

import torch

from mtlsearch import CustomTask, Data, Study

CLEAN, NOISY = 1.0, 3.0
BEST_WEIGHT = NOISY**2 / (CLEAN**2 + NOISY**2)
BEST_ERROR = BEST_WEIGHT**2 * CLEAN**2 + (1 - BEST_WEIGHT) ** 2 * NOISY**2
EQUAL_ERROR = (CLEAN**2 + NOISY**2) / 4
EXAMPLES = 256


def circle(directory):
    """Labels of θ* + eᵢ for training, of θ* for validation and test."""
    angle = torch.arange(EXAMPLES) * (2 * math.pi / EXAMPLES)
    x = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    true = torch.tensor([0.5, -1.0])
    learned = {"clean": true + torch.tensor([CLEAN, 0]), "noisy": true + torch.tensor([0, NOISY])}
    exact = x, dict.fromkeys(learned, x @ true)
    return Data((x, {task: x @ theta for task, theta in learned.items()}), test=exact, validation=exact)


def squared_error(outputs, labels):
    return (outputs.squeeze(1) - labels).square()


def mean_squared_error(outputs, labels):
    return squared_error(outputs, labels).mean()


def error_task(name, data):
    # The closed form is of the losses as they are.
    return CustomTask(name, data, 1, squared_error, mean_squared_error, "mse", higher_is_better=False, unit=1.0)


class OneMap(torch.nn.Module):
    """The same linear map for every task."""

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(2, 1, bias=False)

    def forward(self, inputs):
        return {task: self.map(x) for task, x in inputs.items()}


class OwnMaps(torch.nn.Module):
    """A linear map per task: nothing is shared, so weights do not matter."""

    def __init__(self):
        super().__init__()
        self.maps = torch.nn.ModuleDict({task: torch.nn.Linear(2, 1, bias=False) for task in ("clean", "noisy")})

    def forward(self, inputs):
        return {task: self.maps[task](x) for task, x in inputs.items()}


study = Study(
    tasks=[error_task("clean", circle), error_task("noisy", circle)],
    model=lambda config: OneMap(),
    space={},
    default={"optimizer": "sgd", "learning_rate": 0.4, "momentum": 0.0, "schedule": "cosine"},
    epochs=1,
    batch_size=32,
)

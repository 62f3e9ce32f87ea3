"""The weighting methods that combine the losses of T tasks by the losses alone.

A method is written for one member, as pure functions of the member's tensors; a lane batches them by `vmap`, the solo
trainer calls them as they are. `static` takes the config's task weights. All that a method keeps from step to step is
in its state, tensors by name; all that it learns by gradient is a parameter beside the model's.

The scale of the total differs between methods, as in the papers: at the start it is the mean of the losses for static
and equal weights, and their sum for uncertainty and dwa. A comparison searches the learning rate of each method.

Legend: T tasks, S steps of an epoch; L the losses [T] of a step, w weights [T], s log-variances [T].
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtlsearch.kernels.noise import BITS, mix, noise
from mtlsearch.training.seeds import layer_keys

State = Mapping[str, Tensor]
STATIC = "static"
LOG_VARIANCE = "weighting:log_variance"  # no parameter of a module has such a name
DWA_TEMPERATURE = 2.0
FAMO_RATE, FAMO_DECAY, FAMO_BETAS = 0.025, 1e-3, (0.9, 0.999)
EPS = 1e-8
_SALT = 0x1EC7ED


class Method:
    """`Σ w L` with the config's weights; the other methods override what they change."""

    name = STATIC
    positive = False  # whether a loss of zero or below fails a trial, since its logarithm is taken
    observes = False  # whether `observe` is called after each step
    looks_again = False  # whether `observe` needs the losses on the same batch after the step

    @property
    def rule(self) -> str:
        """The condition that each loss must meet."""
        return f"positive and finite, as {self.name} needs it," if self.positive else "finite"

    def initial(self, weights: Tensor) -> dict[str, Tensor]:
        """The state of a new member; it takes dtype and device from `weights` [T]."""
        return {}

    def learned(self, weights: Tensor) -> dict[str, Tensor]:
        """The parameters of a new member that the method learns by gradient, beside the model's."""
        return {}

    def draw(self, key: Tensor, step: Tensor, weights: Tensor) -> Tensor:
        """The weights at a 0-based `step` [] of the epoch of `key` []."""
        return weights

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        """The loss [] that is differentiated; `state` also holds the learned parameters."""
        return (weights * losses).sum()

    def backward(
        self, losses: Tensor, each: Sequence[Tensor], weights: Tensor, state: State, params: Sequence[Tensor]
    ) -> None:
        """Set the gradients of one solo member's `params`; `each` are the losses before they were stacked."""
        self.total(losses, weights, state).backward()  # type: ignore[no-untyped-call]

    def observe(self, state: State, losses: Tensor, again: Tensor) -> dict[str, Tensor]:
        """The state after a step; the losses on its batch were `losses` before it, and are `again` after it."""
        return dict(state)

    def end_epoch(self, state: State, steps: int) -> dict[str, Tensor]:
        """The state after the S `steps` of an epoch."""
        return dict(state)

    def checked(self, losses: Tensor) -> Tensor:
        """The losses, NaN where one breaks the method's `rule`."""
        return torch.where(losses > 0, losses, torch.nan) if self.positive else losses


class Uncertainty(Method):
    """`Σ exp(−s) L + s`, with the log-variances s learned from 0 by the member's own optimizer.

    Kendall, Gal & Cipolla 2018: twice their eq. 7 with s = log σ², so that the first step is that of the plain sum.
    Their form for classification differs by a factor ½ on s; as is usual, one form serves all kinds of task. Weight
    decay and clipping apply to s as to any parameter.
    """

    name = "uncertainty"

    def learned(self, weights: Tensor) -> dict[str, Tensor]:
        return {LOG_VARIANCE: torch.zeros_like(weights)}

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        s = state[LOG_VARIANCE]
        return ((-s).exp() * losses + s).sum()


class RandomWeights(Method):
    """`Σ w L`, with w the softmax of T standard normal numbers, drawn anew at each step.

    Lin et al. 2022, Algorithm 2. As for dropout, the numbers are a function of the seed and the step.
    """

    name = "rlw"

    def draw(self, key: Tensor, step: Tensor, weights: Tensor) -> Tensor:
        return normals(key, step, weights.shape[-1]).softmax(0).to(weights.dtype)


class DynamicAverage(Method):
    """`Σ w L`, with `w = T softmax(r / 2)` and r the ratio of a task's mean losses in the last two epochs.

    Liu, Johns & Davison 2019, eq. 5, temperature 2; the weights are 1 in the first two epochs.
    """

    name = "dwa"
    observes = True

    def initial(self, weights: Tensor) -> dict[str, Tensor]:
        zeros = torch.zeros_like(weights)
        epochs = zeros.new_zeros((), dtype=torch.float64)
        return {"weights": torch.ones_like(weights), "sum": zeros, "last": zeros, "epochs": epochs}

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        return (state["weights"] * losses).sum()

    def observe(self, state: State, losses: Tensor, again: Tensor) -> dict[str, Tensor]:
        return {**state, "sum": state["sum"] + losses}

    def end_epoch(self, state: State, steps: int) -> dict[str, Tensor]:
        mean = state["sum"] / steps
        weights = len(mean) * (mean / state["last"] / DWA_TEMPERATURE).softmax(0)
        return {
            "weights": torch.where(state["epochs"] > 0, weights, state["weights"]),
            "sum": torch.zeros_like(mean),
            "last": mean,
            "epochs": state["epochs"] + 1,
        }


class Famo(Method):
    """`c Σ z log L`, with `z = softmax(ξ)` and `c = 1 / Σ z/L`: the gradient is a convex combination.

    Liu et al. 2023, Algorithm 1. After each step δ = log L before − log L after it, on the same batch, moves the
    logits ξ against `Jᵀδ + γξ`, where J is the softmax's Jacobian: a loss that has fallen more weighs less. The logits
    move by Adam with the rate 0.025, and γ = 0.001, as in the authors' code.
    """

    name = "famo"
    observes = looks_again = True

    def initial(self, weights: Tensor) -> dict[str, Tensor]:
        zeros = torch.zeros_like(weights)
        count = zeros.new_zeros((), dtype=torch.float64)
        return {"logits": zeros, "first": zeros, "second": zeros, "count": count}

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        z, raised = state["logits"].softmax(0), losses + EPS
        c = 1 / (z / raised.detach()).sum()
        return (c * z * raised.log()).sum()

    def observe(self, state: State, losses: Tensor, again: Tensor) -> dict[str, Tensor]:
        logits, count, (beta1, beta2) = state["logits"], state["count"] + 1, FAMO_BETAS
        z, delta = logits.softmax(0), (losses + EPS).log() - (again + EPS).log()
        gradient = z * (delta - (z * delta).sum()) + FAMO_DECAY * logits
        first = beta1 * state["first"] + (1 - beta1) * gradient
        second = beta2 * state["second"] + (1 - beta2) * gradient.square()
        # In double, as the powers are: in single, 1 − 0.999 has four digits.
        unbiased = (second / (1 - beta2**count)).to(logits.dtype).sqrt()
        step = (first / (1 - beta1**count)).to(logits.dtype) / (unbiased + EPS)
        return {"logits": logits - FAMO_RATE * step, "first": first, "second": second, "count": count}


class Geometric(Method):
    """`(Π L)^(1/T)`, the geometric mean (Chennupati et al. 2019).

    Its gradient is that of `scale-invariant` times the mean / T: the same direction, but shorter as losses fall.
    """

    name = "geometric"
    positive = True

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        return losses.log().mean().exp()


class ScaleInvariant(Method):
    """`Σ log L`, whose gradient does not depend on the scale of a loss; see `geometric`."""

    name = "scale-invariant"
    positive = True

    def total(self, losses: Tensor, weights: Tensor, state: State) -> Tensor:
        return losses.log().sum()


_KINDS = (Method, Uncertainty, RandomWeights, DynamicAverage, Famo, Geometric, ScaleInvariant)
METHODS: dict[str, Method] = {kind.name: kind() for kind in _KINDS}


def normals(key: Tensor, step: Tensor, count: int) -> Tensor:
    """`count` standard normal numbers in double: a function of the epoch's `key` [] and the `step` [] in it.

    Box and Muller's method, on the hash of dropout's noise with a key that no layer has.
    """
    salted = mix(key + _SALT)
    hashed = noise(layer_keys(salted, step, ["weights"])["weights"], (2, count))
    uniform = (hashed.double() + 0.5) / (1 << BITS)
    return (-2 * uniform[0].log()).sqrt() * (2 * math.pi * uniform[1]).cos()

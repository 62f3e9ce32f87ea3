"""A config's optimizer, learning rate, schedule and clipping.

Every trainer reads a config through `OptimizerSettings`; its `build` gives the ordinary `torch.optim` optimizer, the
reference. `update` is one rule for all optimizers, with coefficients per member, so that members of different
optimizers are updated as one.

Legend: M members, P a parameter's shape; coefficients are [M], stacked parameters [M, P].
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from mtlsearch.errors import StudyError
from mtlsearch.study.space import Config

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine")
BETAS = (0.9, 0.999)
RMSPROP_ALPHA = 0.99
EPS = 1e-8


@dataclass(frozen=True)
class OptimizerSettings:
    """A config's settings of training; `of` reads the hyperparameters of these names, and holds their defaults.

    `momentum` belongs to sgd (0.9) and rmsprop (0); `weight_decay` is L2 for all but adamw, which decouples it.
    `warmup` is the fraction of all steps in which the learning rate rises linearly; `clip_norm` limits the norm
    of the whole gradient.
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float
    schedule: str
    warmup: float
    clip_norm: float

    @classmethod
    def of(cls, config: Config) -> "OptimizerSettings":
        """Read `config`. Raises StudyError for a value that no optimizer accepts."""
        optimizer = str(config.get("optimizer", "adam"))
        settings = cls(
            optimizer=optimizer,
            learning_rate=config.number("learning_rate", 1e-3),
            weight_decay=config.number("weight_decay", 0.0),
            momentum=config.number("momentum", 0.9 if optimizer == "sgd" else 0.0),
            schedule=str(config.get("schedule", "constant")),
            warmup=config.number("warmup", 0.0),
            clip_norm=config.number("clip_norm", math.inf),
        )
        settings.check()
        return settings

    def check(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise StudyError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, but got {self.optimizer!r}")
        if self.schedule not in SCHEDULES:
            raise StudyError(f"schedule must be one of {', '.join(SCHEDULES)}, but got {self.schedule!r}")
        # Written so that NaN, which is neither above nor below anything, is refused.
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf and self.clip_norm > 0):
            raise StudyError(
                "learning_rate and clip_norm must be above 0 and weight_decay at least 0, but got"
                f" {self.learning_rate}, {self.clip_norm} and {self.weight_decay}"
            )
        if not 0 <= self.momentum < 1 or not 0 <= self.warmup < 1:
            raise StudyError(f"momentum and warmup must lie in [0, 1), but got {self.momentum} and {self.warmup}")

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`; `plain_step` takes its steps."""
        _leave_dynamo_out()
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, rate, BETAS, EPS, decay, fused=True)
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, rate, BETAS, EPS, decay, fused=True)
        if self.optimizer == "rmsprop":
            return torch.optim.RMSprop(parameters, rate, RMSPROP_ALPHA, EPS, decay, self.momentum)
        return torch.optim.SGD(parameters, rate, self.momentum, weight_decay=decay, fused=True)

    def rate_factor(self, step: int, steps: int) -> float:
        """The factor on the learning rate at 0-based `step` of `steps`."""
        warm = round(self.warmup * steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))

    def coefficients(self, steps: int) -> dict[str, float]:
        """The coefficients for `update` of a member that trains for `steps` steps in all."""
        adam = self.optimizer in ("adam", "adamw")
        rmsprop = self.optimizer == "rmsprop"
        decoupled = self.optimizer == "adamw"
        return {
            "rate": self.learning_rate,
            "l2": 0.0 if decoupled else self.weight_decay,
            "decay": self.weight_decay if decoupled else 0.0,
            "keep_first": BETAS[0] if adam else self.momentum,
            "add_first": 1 - BETAS[0] if adam else 1.0,
            "keep_second": BETAS[1] if adam else RMSPROP_ALPHA,
            "is_adam": adam,
            "is_rmsprop": rmsprop,
            "clip_norm": self.clip_norm,
            "warm": round(self.warmup * steps),
            "is_cosine": self.schedule == "cosine",
            "steps": steps,
        }

    def step_one(
        self,
        params: list[Tensor],
        grads: list[Tensor],
        first: list[Tensor],
        second: list[Tensor],
        step: int,
        steps: int,
    ) -> None:
        """Update one member's parameters and moments in place, by torch's functions, at 0-based `step` of `steps`."""
        rate, decay = self.learning_rate * self.rate_factor(step, steps), self.weight_decay
        counts = list(torch.full((len(params),), float(step)).unbind())
        if self.optimizer in ("adam", "adamw"):
            beta1, beta2 = BETAS
            run = adamw if self.optimizer == "adamw" else adam
            run(
                params, grads, first, second, [], counts, fused=True, amsgrad=False, maximize=False,
                beta1=beta1, beta2=beta2, lr=rate, weight_decay=decay, eps=EPS,
            )  # fmt: skip
        elif self.optimizer == "rmsprop":
            rmsprop(
                params, grads, second, [], first, counts, foreach=False, lr=rate, alpha=RMSPROP_ALPHA, eps=EPS,
                weight_decay=decay, momentum=self.momentum, centered=False,
            )  # fmt: skip
        else:
            sgd(
                params, grads, list(first), fused=True, weight_decay=decay, momentum=self.momentum, lr=rate,
                dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip


# Of an empty slot, whose parameters never change.
IDLE = OptimizerSettings("sgd", 0.0, 0.0, 0.0, "constant", 0.0, math.inf)
FACTORS, SCALES = ("l2", "keep_first", "add_first", "keep_second"), ("length", "unbias", "shrink")
Coefficients = Mapping[str, Tensor]
Stacked = Mapping[str, Tensor]
# The arguments of `update`: parameters, gradients, both moments, coefficients, scales, and the clip factor.
UpdateRule = Callable[[Stacked, Stacked, Stacked, Stacked, Coefficients, Coefficients, Tensor | None], None]


def rate_factors(c: Coefficients, step: Tensor) -> Tensor:
    """`OptimizerSettings.rate_factor` for all members, at 0-based steps [S, M]."""
    warming = (step + 1) / (c["warm"] + 1)
    angle = torch.pi * (step - c["warm"]) / (c["steps"] - c["warm"]).clamp(min=1)
    settled = torch.where(c["is_cosine"] > 0, 0.5 * (1 + angle.cos()), 1.0)
    return torch.where(step < c["warm"], warming, settled)


def scales(c: Coefficients, step: Tensor) -> dict[str, Tensor]:
    """The factors `length`, `unbias` and `shrink` of `update`, at each member's own 0-based steps [S, M].

    They are a table for a whole epoch, in double: in single, 1 − 0.999ᵗ loses four digits at the first steps. And
    inside a step, a compiler would compute the powers in the loop over the parameters.
    """
    is_adam = c["is_adam"] > 0
    rate = c["rate"] * rate_factors(c, step)
    return {
        "length": torch.where(is_adam, rate / (1 - c["keep_first"] ** (step + 1)), rate),
        "unbias": torch.where(is_adam, (1 - c["keep_second"] ** (step + 1)).rsqrt(), 1.0),
        "shrink": 1 - rate * c["decay"],
    }


def update(
    params: Stacked,
    grads: Stacked,
    first: Stacked,
    second: Stacked,
    c: Coefficients,
    scale: Coefficients,
    clip: Tensor | None = None,
) -> None:
    """Update stacked `params` and their moments in place; `scale` [M] is one row of `scales`.

    Gradients are multiplied by `clip` [M] where it is given.

    Adam, AdamW: Kingma & Ba 2015, Loshchilov & Hutter 2019; RMSprop (momentum after the division) and SGD with
    momentum as `torch.optim` has them. SGD's second moment stays behind a `where`: 0 · ∞ is NaN.
    """
    for name, p in params.items():
        shape = (-1, *[1] * (p.ndim - 1))
        l2, keep_first, add_first, keep_second, length, unbias, shrink = (
            x.to(p.dtype).reshape(shape) for x in [c[name] for name in FACTORS] + [scale[name] for name in SCALES]
        )
        is_adam, is_rmsprop = (c[kind].reshape(shape) > 0 for kind in ("is_adam", "is_rmsprop"))
        g = grads[name] if clip is None else grads[name] * clip.reshape(shape)
        g = g + l2 * p
        v = torch.where(is_adam | is_rmsprop, keep_second * second[name] + (1 - keep_second) * g * g, 0)
        divisor = torch.where(is_adam | is_rmsprop, 1 / (v.sqrt() * unbias + EPS), 1)
        m = keep_first * first[name] + add_first * torch.where(is_rmsprop, g * divisor, g)
        p.copy_(p * shrink - length * torch.where(is_adam, m * divisor, m))
        first[name].copy_(m)
        second[name].copy_(v)


def clip_scale(grads: Stacked, c: Coefficients) -> Tensor:
    """The factor [M] that brings each member's gradient norm over all its parameters to at most its `clip_norm`."""
    squares = torch.stack([g.flatten(1).square().sum(1) for g in grads.values()])
    return (c["clip_norm"].to(squares.dtype) / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1)


def plain_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimizer's own step, without what torch wraps around it for its compiler and its profiler.

    The wrapper imports Dynamo, which takes a second of a program that compiles nothing.
    """
    step: Callable[[Any], object] = inspect.unwrap(type(optimizer).step)

    def take() -> object:
        with torch.no_grad():
            return step(optimizer)

    return take


@cache
def _leave_dynamo_out() -> None:
    """Let the optimizers' other methods import no Dynamo: what it would disable in them is looked up here."""
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        function = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if function is not None:
            vars(function).setdefault("__dynamo_disable", function)

"""Optimizers by config, and what a config says of training: learning rate, schedule, clipping.

`OptimizerSettings` is the one reading of a config that every trainer shares; `build` gives the solo trainer's
ordinary `torch.optim` optimizer, the reference for the population's update rule.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from mtlsearch.errors import StudyError
from mtlsearch.space import Config

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine")
BETAS = (0.9, 0.999)
RMSPROP_ALPHA = 0.99
EPS = 1e-8


@dataclass(frozen=True)
class OptimizerSettings:
    """How one config trains; hyperparameters of these names are read from it, with these defaults.

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
        """Read `config`. Raises StudyError for a value that no optimizer takes."""
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
        if self.learning_rate <= 0 or self.weight_decay < 0 or self.clip_norm <= 0:
            raise StudyError(
                "learning_rate and clip_norm must be above 0 and weight_decay at least 0, but got"
                f" {self.learning_rate}, {self.clip_norm} and {self.weight_decay}"
            )
        if not 0 <= self.momentum < 1 or not 0 <= self.warmup < 1:
            raise StudyError(
                f"momentum and warmup must lie in [0, 1), but got {self.momentum} and {self.warmup}"
            )

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer over `model`'s parameters."""
        parameters, rate, decay = model.parameters(), self.learning_rate, self.weight_decay
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

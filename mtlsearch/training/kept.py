"""The kept state of a trainer between two epochs: from it training goes on as if it was never interrupted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from mtlsearch.study.results import TrialProgress
from mtlsearch.study.space import Config


@dataclass(frozen=True)
class Kept:
    """A trainer's `tensors` by name, and the `facts` about its members and their places, as JSON holds them."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each name behind `prefix`."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def of_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def member_facts(config: Config, progress: TrialProgress) -> dict[str, Any]:
    """A member's config and progress, as JSON holds them."""
    return {
        "hyperparameters": dict(config.hyperparameters),
        "task_weights": dict(config.task_weights),
        "progress": asdict(progress),
    }


def config_of_facts(facts: Mapping[str, Any]) -> Config:
    """The config that `member_facts` holds."""
    return Config(facts["hyperparameters"], facts["task_weights"])

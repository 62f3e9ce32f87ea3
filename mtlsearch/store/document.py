"""The exported config as a document: what of a trained model is kept, in the order in which a person reads it.

`config.schema.json` describes it, `export` reads and writes it.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from optuna.trial import FrozenTrial

from mtlsearch.study.space import Config

VERSIONED = ("mtlsearch", "torch", "optuna", "sqlalchemy")


def trial_config(info: Mapping[str, Any], trial: FrozenTrial) -> Config:
    """The config of a stored trial; what was not searched comes from the study's default."""
    searched = {name: value for name, value in trial.params.items() if name in info["default"]}
    return Config({**info["default"], **searched}, trial.user_attrs["task_weights"])


def config_document(
    info: Mapping[str, Any],
    *,
    name: str,
    trial: int | None,
    score: float | None,
    config: Config,
    validation: Mapping[str, Any],
    training: Mapping[str, Any],
    trained_on: Mapping[str, Any],
    time: str,
    storage: str | None,
) -> dict[str, Any]:
    """The exported config of one trained model; `config.schema.json` describes it."""
    return {
        "format": "mtlsearch/config/1",
        "study": {"name": name, "source": info["source"], "source_sha256": info["source_sha256"]},
        "trial": trial,
        "score": {"kind": info["score"], "value": score},
        "task_weights": dict(config.task_weights),
        "hyperparameters": dict(config.hyperparameters),
        "validation": validation,
        "training": {**info["budget"], **training, **trained_on},
        "tasks": info["tasks"],
        **({"text": info["text"]} if "text" in info else {}),
        **({"table": info["table"]} if "table" in info else {}),
        "provenance": {
            "versions": versions(),
            "time": time,
            "storage": storage,
            "data_sha256": info["fingerprint"]["data"],
        },
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in VERSIONED}}

"""Configs as they are exported: what is written of a trained model, and how that is read and checked.

`config.schema.json` describes the JSON; a config in a file of its own and one in a file of parameters are the same.
"""

import json
import math
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from mtlsearch.errors import ConfigError, StoreError
from mtlsearch.store.json_text import read_json
from mtlsearch.study.space import Config
from mtlsearch.study.weights.task_weights import raw_weights
from mtlsearch.wording import shortened

if TYPE_CHECKING:
    from mtlsearch.study.study import Study

FORMAT = "mtlsearch/config/1"
VERSIONED = ("mtlsearch", "torch", "optuna", "sqlalchemy")

# Writing.


def config_document(
    info: Mapping[str, Any],
    *,
    name: str,
    trial: int | None,
    score: float | None,
    config: Config,
    validation: Mapping[str, Any],
    training: Mapping[str, Any],
    time: str,
    storage: str | None,
) -> dict[str, Any]:
    """The exported config of one trained model; `training` holds its epochs, its seed and its conditions."""
    read_by_data = {part: info[part] for part in ("text", "table") if part in info}
    return {
        "format": FORMAT,
        "study": {"name": name, "source": info["source"], "source_sha256": info["source_sha256"]},
        "trial": trial,
        "score": {"kind": info["score"], "value": score},
        "task_weights": dict(config.task_weights),
        **_in_units(info, config),
        **({"at_least": info["fingerprint"]["at least"]} if "at least" in info["fingerprint"] else {}),
        **({"pretrained": info["fingerprint"]["pretrained"]} if "pretrained" in info["fingerprint"] else {}),
        "hyperparameters": dict(config.hyperparameters),
        "validation": validation,
        "training": {**info["budget"], **training},
        "tasks": info["tasks"],
        **read_by_data,
        "provenance": {
            "versions": {"python": platform.python_version(), **{each: version(each) for each in VERSIONED}},
            "time": time,
            "storage": storage,
            "data_sha256": info["fingerprint"]["data"],
        },
    }


def _in_units(info: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The units of the losses, and the weights of losses as they are; nothing where the store has no units."""
    if "units" not in info:
        return {}
    units = {task: info["units"][task] for task in config.task_weights}
    return {"units": units, "raw_task_weights": raw_weights(config.task_weights, units)}


def on_all(best_epoch: int) -> dict[str, Any]:
    """The part of a config that says of which data its parameters are, in a study with folds."""
    return {"parameters": {"trained_on": "train and validation", "epochs": best_epoch + 1}}


def trial_config(info: Mapping[str, Any], trial: FrozenTrial) -> Config:
    """The config of a stored trial; what was not searched comes from the study's default."""
    if "task_weights" not in trial.user_attrs:
        reason = trial.user_attrs.get("reason", "it has no task weights")
        raise StoreError(f"trial {trial.number} cannot be used: {reason}; `--search` shows the best of the search")
    searched = {name: value for name, value in trial.params.items() if name in info["default"]}
    return Config({**info["default"], **searched}, trial.user_attrs["task_weights"])


# Reading.


def read_config(path: Path) -> dict[str, Any]:
    """The exported config in a JSON file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise ConfigError(f"config {path} is empty: export it again with `mtlsearch export`")
        config = read_json(text)
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path} cannot be read: it is not text") from error
    except ValueError as error:
        raise ConfigError(f"config {path} is not whole JSON ({error}): export it again") from error
    check_config(config, str(path))
    return dict(config)


def check_config(config: Any, where: str) -> None:
    """Raise ConfigError unless `config` follows the schema and its task weights sum to 1."""
    import jsonschema

    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise ConfigError(f"config {where} must be of the format {FORMAT!r}, but got {got!r}")
    error = next(iter(jsonschema.Draft202012Validator(schema()).iter_errors(config)), None)
    if error is not None:
        place = ".".join(map(str, error.absolute_path)) or "it"
        raise ConfigError(f"config {where}: {place}: {shortened(error.message, 200)}")
    total = math.fsum(config["task_weights"].values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError(f"config {where}: task_weights must sum to 1, but sum to {total:.6g}")


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of an exported config, as it ships with the package."""
    text = files("mtlsearch.store").joinpath("config.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def config_of(config: Mapping[str, Any], study: "Study") -> Config:
    """The values of an exported config for `study`. Raises ConfigError where it is for other tasks.

    The config of a task that was trained alone gives every other task the weight 0.
    """
    weights = config["task_weights"]
    if config.get("alone") in study.task_names:
        weights = {task: float(task == config["alone"]) for task in study.weighted}
    if set(weights) != set(study.weighted):
        got, due = ", ".join(sorted(weights)), ", ".join(study.weighted)
        raise ConfigError(f"the config is for the tasks {got}, but the study has {due}: name its own with --study")
    missing = [name for name in study.default if name not in config["hyperparameters"]]
    if missing:
        raise ConfigError(f"the config has no hyperparameter {missing[0]!r}, which the study needs")
    return Config(config["hyperparameters"], {task: weights[task] for task in study.weighted})

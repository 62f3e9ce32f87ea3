"""Exported configs: written whole or not at all, and checked by the JSON Schema when read."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlsearch.errors import ConfigError

if TYPE_CHECKING:
    from mtlsearch.study.space import Config
    from mtlsearch.study.study import Study

FORMAT = "mtlsearch/config/1"


def check_writable(*paths: Path | None) -> None:
    """Raise ConfigError where a file cannot be written there, before any work is done for it."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            rule = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise ConfigError(f"{path} cannot be written: {rule}")
        if path is not None and not os.access(path.parent, os.W_OK):
            raise ConfigError(f"{path} cannot be written: the folder {path.parent} may not be written")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or as it was. Raises ConfigError where it cannot be written."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """The exported config in a JSON file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"config {path} cannot be read: {reason}") from error
    if not text.strip():
        raise ConfigError(f"config {path} is empty: export it again with `mtlsearch export`")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        raise ConfigError(f"config {path} is no whole JSON ({error}): export it again") from error
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
        raise ConfigError(f"config {where}: {place}: {_short(error.message)}")
    total = math.fsum(config["task_weights"].values())
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError(f"config {where}: task_weights must sum to 1, but sum to {total:.6g}")


def config_of(config: Mapping[str, Any], study: "Study") -> "Config":
    """The values of an exported config for `study`. Raises ConfigError where it is for other tasks."""
    from mtlsearch.study.space import Config

    weights = config["task_weights"]
    if set(weights) != set(study.task_names):
        got, due = ", ".join(sorted(weights)), ", ".join(study.task_names)
        raise ConfigError(
            f"the config is for the tasks {got}, but the study has {due}: name its own with --study"
        )
    missing = [name for name in study.default if name not in config["hyperparameters"]]
    if missing:
        raise ConfigError(f"the config has no hyperparameter {missing[0]!r}, which the study needs")
    return Config(config["hyperparameters"], {task: weights[task] for task in study.task_names})


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of an exported config, as it ships with the package."""
    text = files("mtlsearch.store").joinpath("config.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _short(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:197]}…"

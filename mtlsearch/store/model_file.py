"""Files of parameters: safetensors with the exported config in their metadata. Nothing is ever unpickled."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mtlsearch.data.data import FittedSource
from mtlsearch.errors import ConfigError, ModelError
from mtlsearch.files import replacing
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.nn.pretrained.shared import load_own_state, shared_digest
from mtlsearch.store.config_file import check_config, config_of
from mtlsearch.store.json_text import read_json
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study

METADATA_KEY = "mtlsearch"


def save_model(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write the parameters `state` with the exported `config`, whole or not at all. Raises ConfigError."""
    with replacing(path) as partial:
        write_model(partial, state, config)


def write_model(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write a file of parameters into `path`. Raises OSError, and then the file may be there in part."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # `save_file` renames a file of its own to `path`: with another mode, and in the place of a device.
    path.write_bytes(save(tensors, {METADATA_KEY: json.dumps(config)}))


def rescue_model(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], error: ConfigError) -> ConfigError:
    """Write a model that `error` kept out of `path` to another place; the error that says where it is."""
    for place in (Path(tempfile.gettempdir()), Path.home()):
        try:
            kept = Path(tempfile.mkdtemp(prefix="mtlsearch-", dir=place)) / path.name
            save_model(kept, state, config)
        except (OSError, ConfigError):
            continue
        return ConfigError(f"{error}; the trained model is in {kept} instead: move it where you want it")
    return ConfigError(f"{error}; no other place could be written either: free some space, then train again")


def read_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The parameters and the exported config in a file. Raises ModelError for a file that is not mtlsearch's."""
    if not path.is_file():
        raise ModelError(f"no file of parameters {path}: `mtlsearch export --checkpoint` or `train -o` writes one")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}): export it again") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"{path} holds no mtlsearch config: it must come from `mtlsearch export` or `train`")
    try:
        config = read_json(metadata[METADATA_KEY])
    except ValueError as error:
        raise ModelError(f"the config in {path} is not JSON ({error}): export it again") from error
    check_config(config, str(path))
    return state, config


def study_of(config: Mapping[str, Any], study: str | None) -> Study:
    """The study of `config`: a shipped one by its name, a user's only where `study` names its file."""
    source = str(config["study"]["source"])
    if study is not None:
        return load_study(study)
    if source in shipped_studies():
        return load_study(source)
    if not source:
        raise ModelError("it belongs to a study that was defined in Python: pass it, load_model(path, study=study)")
    raise ModelError(
        f"it belongs to the study file {source}, whose code runs only when named: add --study PATH, or in Python"
        f" load_model(path, study={source!r})"
    )


def load_model(path: str | Path, study: Study | str | Path | None = None) -> TrainedModel:
    """The trained model in the file at `path`, in evaluation mode on the CPU; its outputs are in the labels' units.

    `study` is needed for a study that is not shipped: the study itself or the path of its file. Raises ModelError.
    """
    state, config = read_model(Path(path))
    named = None if study is None else str(study)
    definition = study if isinstance(study, Study) else study_of(config, named)
    return trained(definition, config, state, str(path))


def trained(study: Study, config: Mapping[str, Any], state: Mapping[str, Tensor], path: str) -> TrainedModel:
    """The model of `config` with the parameters `state`, as people use it. Raises ModelError."""
    return TrainedModel(restore(study, config, state, path), config).eval()


def restore(study: Study, config: Mapping[str, Any], state: Mapping[str, Tensor], path: str) -> nn.Module:
    """The network of `config` with the parameters `state`. Raises ModelError where they do not fit."""
    for task in study.measured:
        if isinstance(task.data, FittedSource):
            task.data.restore(config)
    model = study.build(config_of(config, study), seed=0)
    due = config.get("pretrained")
    if due is not None and due != shared_digest(study.build(study.default_config(), seed=0)):
        raise ModelError(
            f"the parameters in {path} belong to a pretrained module of other parameters than the study's: give the"
            " study the module that it was trained with"
        )
    try:
        load_own_state(model, state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"the parameters in {path} do not fit the study's model: {reason}") from error
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"the parameters in {path} hold NaN or infinity ({name})")
    return model.eval()

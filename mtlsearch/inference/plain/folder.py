"""The folder in which the best model leaves: parameters, config, and the network in forms that need no mtlsearch.

Everything in it is held to what `predict` gives before the folder appears. It is written whole or not at all.
"""

import json
import runpy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mtlsearch.errors import ConfigError, ModelError, UsageError, kind_and_line
from mtlsearch.files import telling
from mtlsearch.inference.plain.programs import FORMATS, Program, Run, check_format
from mtlsearch.inference.plain.samples import samples
from mtlsearch.inference.plain.script import PARAMETERS, script, trained_name
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.nn.plain import Plain, own_network
from mtlsearch.nn.pretrained.shared import load_own_state, own_state, without_mtlsearch
from mtlsearch.nn.task_modules import module_name
from mtlsearch.nn.widening import cut
from mtlsearch.processes import clear_unfinished, unfinished
from mtlsearch.tasks.kinds import kind_named
from mtlsearch.tasks.task import Task

CONFIG, SCRIPT = "config.json", "model.py"
OWN_FILES = {CONFIG, SCRIPT, PARAMETERS, "__pycache__", *(each.file for each in FORMATS.values())}
TOLERANCE = 1e-5


def check_place(folder: Path, format: str | None) -> None:
    """Raise an error where a model cannot be written into `folder`, before any work is done for it."""
    check_format(format)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder} cannot be written: --model names a folder, and that is none")
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"{folder} cannot be written: there is no folder {folder.absolute().parent}")
    others = [] if not folder.exists() else sorted({path.name for path in folder.iterdir()} - OWN_FILES)
    if others:
        raise UsageError(
            f"--model must name a new folder, or one of an earlier export, but {folder} holds {others[0]!r}: name"
            " another one"
        )


def write_folder(model: TrainedModel, own: nn.Module, folder: Path, format: str | None = None) -> list[str]:
    """Write a trained model; the names of the files. `own` is the network as the user's code makes it.

    The parameters have its names. A shipped trunk gets a model.py of plain PyTorch. `format` adds a program. Raises
    ModelError where what is written would not give what `predict` gives, and ConfigError.
    """
    check_place(folder, format)
    given = samples(model)
    due = answers(model, given)
    with whole_folder(folder) as place:
        (place / CONFIG).write_text(json.dumps(model.config, indent=2) + "\n", encoding="utf-8")
        plain = _script(model, place) or _own(model, own, place)
        check_same(due, answers(plain, given), "the network of its own")
        if format is not None:
            program = _program(format, Program(plain, given), place)
            for few in (given, samples(model, rows=1)):  # a batch may have any size
                check_same(answers(model, few), program(few), f"the program of the format {format}")
        return sorted(path.name for path in place.iterdir())


def _program(format: str, program: Program, place: Path) -> Run:
    """Write a program, and give what runs the file. Raises ModelError where the network cannot become one."""
    try:
        return FORMATS[format].write(program, place)
    except Exception as error:  # of any kind: the user's forward is traced, by packages of others
        raise ModelError(
            f"the network cannot become a program of the format {format} ({kind_and_line(error)[:300]}): leave --format"
            " out, or write its forward without branches on values"
        ) from error


def answers(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = model.eval()(inputs)
    return found


def check_same(due: Mapping[str, Tensor], got: Mapping[str, Tensor], what: str) -> None:
    """Raise ModelError unless outputs agree within 1e-5, of numbers above 1 within that part of them."""
    for task, output in due.items():
        if got[task].shape != output.shape or not torch.allclose(got[task], output, TOLERANCE, TOLERANCE):
            gap = float((got[task] - output).abs().max()) if got[task].shape == output.shape else "another shape"
            raise ModelError(f"{what} differs from what predict gives for task {task!r} ({gap}): nothing is written")


def _script(model: TrainedModel, place: Path) -> TrainedModel | None:
    """Write the model.py of a shipped trunk and its parameters; the network that it makes of them. None for others."""
    text = script(own_network(model.model), _title(model.config), _tasks(model), raw_weights(model.config))
    if text is None:
        return None
    path = place / SCRIPT
    path.write_text(text, encoding="utf-8")
    made = runpy.run_path(str(path))
    trunk, state = own_network(model.model), model.state_dict()
    fresh = made["network"]().state_dict()
    _save({name: cut(state[trained_name(trunk, name)], tensor.shape) for name, tensor in fresh.items()}, place)
    network = _Renamed(made["load"](place), {task: module_name(task) for task in model.tasks})
    check_same(answers(model, samples(model)), made["predict"](network.network, samples(model)), SCRIPT)
    return TrainedModel(network, model.config)


def _own(model: TrainedModel, own: nn.Module, place: Path) -> TrainedModel:
    """Write the parameters by the names of the user's own network; the network with them."""
    state = model.state_dict()
    prefix = "net." if isinstance(model.model, Plain) else ""
    load_own_state(own, {name: state[prefix + name] for name in own_state(own)})
    _save(without_mtlsearch(own), place)
    return TrainedModel(Plain(own) if prefix else own, model.config)


def _save(state: Mapping[str, Tensor], place: Path) -> None:
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    (place / PARAMETERS).write_bytes(save(tensors))  # `save_file` would make it unreadable for others


class _Renamed(nn.Module):
    """A network whose tasks have the names that they have among its parameters."""

    def __init__(self, network: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__()
        self.network, self.names = network, dict(names)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self.network({self.names[task]: x for task, x in inputs.items()})
        return {task: outputs[self.names[task]] for task in inputs}


def _title(config: Mapping[str, Any]) -> str:
    trial = "" if config["trial"] is None else f", trial {config['trial']}"
    return f"{config['study']['name']}{trial}"


def _tasks(model: TrainedModel) -> dict[str, Any]:
    """What a model.py says of each task."""
    found = {}
    for task, about in model.tasks.items():
        kind: Any = kind_named(about["kind"]).in_unit
        in_unit = kind.__func__ is not Task.in_unit.__func__  # type: ignore[attr-defined]
        unit = {"mean": list(about["mean"]), "std": list(about["std"])} if in_unit else {}
        found[task] = {"name": module_name(task), "inputs": model.input_kind(task), **unit}
    return found


def raw_weights(config: Mapping[str, Any]) -> dict[str, float]:
    """The factor of each loss as it is; the task weights themselves where a store of earlier days has no units."""
    return dict(config.get("raw_task_weights", config["task_weights"]))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that becomes `folder` at the end, in the place of an earlier export. Raises ConfigError."""
    parent, about = folder.absolute().parent, f".{folder.name.encode()[:100].decode(errors='ignore')}"
    with telling(folder):
        clear_unfinished(parent, about)
        with unfinished(parent, about) as place:
            new = place / "new"
            new.mkdir()
            yield new
            if folder.exists():
                folder.rename(place / "old")
            new.rename(folder)

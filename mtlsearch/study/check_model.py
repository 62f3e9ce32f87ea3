"""Whether a study's model fits its tasks, told before anything is trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mtlsearch.data.parts import as_input
from mtlsearch.errors import ModelError, MtlsearchError, kind_and_line
from mtlsearch.tasks.task import Target, Task

if TYPE_CHECKING:
    from mtlsearch.study.study import LoadedStudy


def check_outputs(loaded: "LoadedStudy") -> None:
    """Run the default model once on two examples and hold its outputs against the tasks. Raises ModelError."""
    study = loaded.study
    config = study.default_config()
    model = study.build(config, seed=0).to(loaded.device).eval()
    inputs = {
        task: as_input(splits.train.inputs[:2], torch.float32)
        for splits in loaded.splits
        for task in splits.tasks
    }
    # A disjoint source is evaluated by itself, so a model must take whichever tasks it is given.
    for splits in loaded.splits:
        _check_given(loaded, model, {task: inputs[task] for task in splits.tasks})
    _check_given(loaded, model, inputs)


def _check_given(loaded: "LoadedStudy", model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except MtlsearchError as error:
        raise ModelError(str(error)) from error
    except Exception as error:
        shapes = ", ".join(f"{task} {tuple(x.shape)}" for task, x in inputs.items())
        raise ModelError(f"the model fails on inputs {shapes}: {kind_and_line(error)}") from error
    if not isinstance(outputs, Mapping):
        raise ModelError(f"the model must give a dict of outputs by task, but got a {type(outputs).__name__}")
    for task in loaded.study.tasks:
        if task.name in inputs and task.name not in outputs:
            given = ", ".join(outputs) or "none"
            raise ModelError(f"the model must give an output for task {task.name!r}, but gave: {given}")
        if task.name in inputs:
            check_shape(task, loaded.targets[task.name], outputs[task.name], len(inputs[task.name]))


def check_shape(task: Task, target: Target, output: Tensor, rows: int) -> None:
    """Raise ModelError where one task's output [B, ...] of B `rows` does not fit its labels."""
    due = (rows, *task.output_shape(target))
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the model's output for task {task.name!r} must be a tensor, but got a {type(output).__name__}"
        )
    if tuple(output.shape) != due:
        raise ModelError(
            f"the model's output for task {task.name!r} must have the shape {due}, but got {tuple(output.shape)}"
        )

"""Predictions of a trained model for inputs from files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtlsearch.data.examples.kinds import as_input
from mtlsearch.errors import DataError, one_line
from mtlsearch.inference.inputs import Inputs, read_inputs
from mtlsearch.tasks.kinds import kind_named
from mtlsearch.tasks.task import Prediction


def predict_files(model: nn.Module, config: Mapping[str, Any], paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """One prediction per example of each file: its name as "input", and {task: prediction} as "tasks"."""
    for inputs in read_inputs(config, paths):
        for name, tasks in zip(inputs.names, predict(model, config, inputs), strict=True):
            yield {"input": name, "tasks": tasks}


def predict(model: nn.Module, config: Mapping[str, Any], inputs: Inputs) -> list[dict[str, Prediction]]:
    """Each task's prediction for each example. Raises DataError where a task's answer is a picture."""
    tasks = config["tasks"]
    batch = as_input(inputs.x, torch.float32, inputs.kind)
    with torch.no_grad():
        try:
            outputs = model.eval()(dict.fromkeys(tasks, batch))
        except IndexError as error:
            raise DataError(f"the inputs hold an id that the model does not know ({one_line(error)})") from error
    found = {}
    for task, about in tasks.items():
        kind = kind_named(about["kind"])
        found[task] = kind.predictions(outputs[task], about)
        if inputs.tokens is not None:
            found[task] = list(map(kind.of_text, found[task], inputs.tokens))
    return [{task: rows[i] for task, rows in found.items()} for i in range(len(batch))]

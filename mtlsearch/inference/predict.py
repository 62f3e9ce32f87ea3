"""Predictions of a trained model for inputs from files: an answer to each example, or a table of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtlsearch.errors import DataError, one_line
from mtlsearch.inference.inputs import Inputs, own_columns, read_inputs
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.tasks.kinds import kind_named
from mtlsearch.tasks.task import Prediction

if TYPE_CHECKING:
    import pandas as pd

INPUT = "input"  # the column with an example's name


def predict_files(model: TrainedModel, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """One prediction per example of each file: its name as "input", and {task: prediction} as "tasks"."""
    for inputs in read_inputs(model.config, paths):
        for name, tasks in zip(inputs.names, predict(model, inputs), strict=True):
            yield {INPUT: name, "tasks": tasks}


def predict(model: TrainedModel, inputs: Inputs) -> list[dict[str, Prediction]]:
    """Each task's prediction for each example. Raises DataError where a task's answer is a picture."""
    outputs, found = _outputs(model, inputs), {}
    for task, about in model.tasks.items():
        kind = kind_named(about["kind"])
        found[task] = kind.predictions(outputs[task], about)
        if inputs.tokens is not None:
            found[task] = list(map(kind.of_text, found[task], inputs.tokens))
    return [{task: rows[i] for task, rows in found.items()} for i in range(len(inputs.x))]


def predict_frame(model: TrainedModel, paths: Sequence[Path]) -> "pd.DataFrame":
    """A row per example: its name, a table's own columns as they are written, and each task's answer.

    The answer's columns are `TASK.prediction`, `TASK.probability` and the like (`Task.answer_columns`); an own
    column of such a name gives way. Raises DataError as `predict` does.
    """
    import pandas as pd

    frames = []
    for path in paths:
        answers = pd.concat([_answers(model, inputs) for inputs in read_inputs(model.config, [path])])
        answers = answers.reset_index(drop=True)
        own = own_columns(model.config, path)
        if own is not None:
            kept = own.drop(columns=[name for name in own.columns if name in answers.columns])
            answers = pd.concat([answers[[INPUT]], kept, answers.drop(columns=INPUT)], axis=1)
        frames.append(answers)
    return pd.concat(frames, ignore_index=True)


def _answers(model: TrainedModel, inputs: Inputs) -> "pd.DataFrame":
    """The names of examples and the answers to them, as columns."""
    import pandas as pd

    outputs = _outputs(model, inputs)
    columns: dict[str, Sequence[Any]] = {INPUT: inputs.names}
    for task, about in model.tasks.items():
        found = kind_named(about["kind"]).answer_columns(outputs[task], about, inputs.tokens)
        columns |= {f"{task}.{name}": values for name, values in found.items()}
    return pd.DataFrame(columns)


def _outputs(model: TrainedModel, inputs: Inputs) -> Mapping[str, Tensor]:
    with torch.no_grad():
        try:
            outputs: Mapping[str, Tensor] = model.eval()(dict.fromkeys(model.tasks, inputs.x))
        except IndexError as error:
            raise DataError(f"the inputs hold an id that the model does not know ({one_line(error)})") from error
    return outputs

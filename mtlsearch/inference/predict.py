"""Predictions of a trained model for files: pictures, `.npy` arrays, `.csv` tables, `.txt` files of a text a line.

Every example is fed to every task whose input has its shape; a picture is read as grey or colour as the
model takes it, and is never resized.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.data.parts import as_input
from mtlsearch.errors import DataError, one_line
from mtlsearch.inference.inputs import BATCH, TABLES, Prediction, _input_of, read_examples

DENSE = ("segmentation", "depth", "normals")


def predict_files(model: nn.Module, config: Mapping[str, Any], paths: Sequence[Path]) -> Iterator[Prediction]:
    """One prediction per example of each file: `input`, and per task its label or values."""
    tasks = config["tasks"]
    shape, dtype = _input_of(tasks)
    for path in paths:
        if path.suffix.lower() == ".txt" and "text" in config:
            yield from _predict_texts(model, config, path, shape)
            continue
        if "table" in config and path.suffix.lower() in TABLES:
            yield from _predict_rows(model, config, path)
            continue
        examples = read_examples(path, shape, dtype)
        many = len(examples) > 1
        for start in range(0, len(examples), BATCH):
            batch = predict(model, config, examples[start : start + BATCH])
            for offset, prediction in enumerate(batch):
                name = f"{path}[{start + offset}]" if many else str(path)
                yield {"input": name, "tasks": prediction}


def _predict_rows(model: nn.Module, config: Mapping[str, Any], path: Path) -> Iterator[Prediction]:
    """One prediction per row of a table that is as its study's was, before it was encoded."""
    from mtlsearch.inference.inputs import read_rows

    inputs, places = read_rows(path, config["table"])
    for start in range(0, len(inputs), BATCH):
        batch = predict(model, config, inputs[start : start + BATCH])
        for place, prediction in zip(places[start : start + BATCH], batch, strict=True):
            yield {"input": place, "tasks": prediction}


def _predict_texts(
    model: nn.Module, config: Mapping[str, Any], path: Path, shape: tuple[int, ...]
) -> Iterator[Prediction]:
    from mtlsearch.inference.inputs import read_texts, with_tokens

    number = 0
    for ids, tokens in read_texts(path, config, shape, BATCH):
        for prediction, words in zip(predict(model, config, ids), tokens, strict=True):
            number += 1
            yield {"input": f"{path}, line {number}", "tasks": with_tokens(prediction, words)}


def predict(model: nn.Module, config: Mapping[str, Any], inputs: Tensor) -> list[Prediction]:
    """Each task's prediction for `inputs` [N, ...] as the study's data are: {task: {...}} per example."""
    tasks = config["tasks"]
    batch = as_input(inputs, torch.float32)
    with torch.no_grad():
        try:
            outputs = model.eval()(dict.fromkeys(tasks, batch))
        except IndexError as error:
            raise DataError(
                f"the inputs hold an id that the model does not know ({one_line(error)})"
            ) from error
    per_task = {task: _readable(about, outputs[task]) for task, about in tasks.items()}
    return [{task: rows[i] for task, rows in per_task.items()} for i in range(len(inputs))]


def _readable(about: Mapping[str, Any], outputs: Tensor) -> list[Prediction]:
    """One task's outputs [N, C] as a person reads them."""
    kind, classes = about["kind"], about["classes"]
    if kind in DENSE:
        raise DataError(
            f"a {kind} task answers with a picture {tuple(outputs.shape[1:])}, which predict does not write: use"
            " mtlsearch.load_model and the model's own output"
        )
    if kind == "tokentagging":
        return [{"tags": [classes[tag] for tag in row]} for row in outputs.argmax(-1).tolist()]
    if kind == "classification":
        return [
            {
                "label": classes[int(row.argmax())],
                "probabilities": dict(zip(classes, row.tolist(), strict=True)),
            }
            for row in outputs.softmax(1)
        ]
    if kind == "multilabel":
        return [{"probabilities": dict(zip(classes, row.tolist(), strict=True))} for row in outputs.sigmoid()]
    if kind == "regression":
        outputs = outputs * torch.tensor(about["std"]) + torch.tensor(about["mean"])
    return [{"values": row.tolist()} for row in outputs]

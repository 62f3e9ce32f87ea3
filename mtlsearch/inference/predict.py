"""Predictions of a trained model for files: pictures, `.npy` arrays, `.csv` tables, `.txt` files of a text a line.

Every example is fed to every task whose input has its shape; a picture is read as grey or colour as the
model takes it, and is never resized.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlsearch.data.parts import as_input
from mtlsearch.errors import DataError, one_line

Prediction = dict[str, Any]
BATCH = 1024
TABLES = (".csv", ".tsv", ".parquet", ".pq")
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
    from mtlsearch.inference.inputs_table import read_rows

    inputs, places = read_rows(path, config["table"])
    for start in range(0, len(inputs), BATCH):
        batch = predict(model, config, inputs[start : start + BATCH])
        for place, prediction in zip(places[start : start + BATCH], batch, strict=True):
            yield {"input": place, "tasks": prediction}


def _predict_texts(
    model: nn.Module, config: Mapping[str, Any], path: Path, shape: tuple[int, ...]
) -> Iterator[Prediction]:
    from mtlsearch.inference.inputs_text import read_texts, with_tokens

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


def read_examples(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The examples [N, *shape] in a file. Raises DataError for a file of another kind or size."""
    if not path.is_file():
        raise DataError(f"no input file {path}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = _read_npy(path)
    elif suffix == ".csv":
        array = _read_csv(path, int(np.prod(shape))).reshape(-1, *shape)
    else:
        array = _read_picture(path, shape)
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape or not len(array):
        raise DataError(f"{path}: the model takes inputs of the shape {shape}, but got {array.shape}")
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise DataError(f"{path}: the inputs must be numbers, but got {array.dtype}")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: the inputs must be finite, but some are NaN or infinite")
    if dtype is torch.uint8 and not ((array >= 0) & (array <= 255)).all():
        raise DataError(f"{path}: pixels must lie in 0 … 255, but some do not")
    if not dtype.is_floating_point and (array != np.round(array)).any():
        raise DataError(f"{path}: the inputs must be whole numbers, as in training, but some are fractions")
    # torch takes neither another machine's byte order nor a picture's read-only memory.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C")).to(dtype)


def _input_of(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[int, ...], torch.dtype]:
    found = {(tuple(about["input_shape"]), about["input_dtype"]) for about in tasks.values()}
    if len(found) > 1:
        shapes = ", ".join(f"{task} {about['input_shape']}" for task, about in tasks.items())
        raise DataError(
            f"the tasks take inputs of different shapes ({shapes}), so one file cannot serve them all"
        )
    shape, dtype = found.pop()
    return shape, getattr(torch, dtype)


def _read_npy(path: Path) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no whole .npy array of numbers ({one_line(error)})") from error


def _read_csv(path: Path, cells: int) -> np.ndarray[Any, Any]:
    """The numbers [N, cells] of a table; its first line may be a header."""
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), 1):
                try:
                    rows.append([float(cell) for cell in row])
                except ValueError:
                    if number > 1:
                        raise DataError(f"{path}, line {number}: every cell must be a number") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{path} is no readable CSV ({one_line(error)})") from error
    wrong = next((len(row) for row in rows if len(row) != cells), None if rows else 0)
    if wrong is not None:
        raise DataError(f"{path}: the model takes {cells} numbers a line, but got {wrong}")
    return np.array(rows)


def _read_picture(path: Path, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            array = np.asarray(
                picture.convert("RGB" if 3 in (shape[0], shape[-1]) and len(shape) == 3 else "L")
            )
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no readable picture, .npy or .csv file ({one_line(error)})") from error
    if len(shape) == 3 and shape[0] in (1, 3):
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array


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

"""Inputs of a trained model: pictures, arrays, tables and texts from files."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlsearch.data.table_encoding import Encoding
from mtlsearch.data.table_file import read_table
from mtlsearch.data.text import IDS, Vocabulary, tokens_of
from mtlsearch.data.text_files import read_lines
from mtlsearch.errors import DataError, ModelError, one_line
from mtlsearch.tasks.tagging import read_spans
from mtlsearch.terminal import notice

Prediction = dict[str, Any]
BATCH = 1024
TABLES = (".csv", ".tsv", ".parquet", ".pq")


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


def read_rows(path: Path, fitted: Mapping[str, Any]) -> tuple[Tensor, list[str]]:
    """The inputs [N, features] of a CSV or Parquet file, and where each row stands; other columns are left alone.

    Raises DataError for a file or cell that the training could not have read, or a missing column.
    """
    encoding = Encoding.from_dict(fitted)
    text = [column.column for column in encoding.categories]
    frame = read_table(path, text=text, decimal=encoding.decimal, missing=encoding.blanks)
    places = [f"{path}, {frame.index.name} {row}" for row in frame.index]
    return torch.from_numpy(encoding.apply(frame)), places


def read_texts(
    path: Path, config: Mapping[str, Any], shape: tuple[int, ...], batch: int
) -> Iterator[tuple[Tensor, list[list[str]]]]:
    """The ids [N, L, K] and the tokens of the texts in a file, `batch` at a time; what is cut is told.

    Raises DataError for a file that is no text or has an empty line.
    """
    vocabulary = Vocabulary.described(config["text"])
    if (vocabulary.length, IDS) != shape:
        found = (vocabulary.length, IDS)
        raise ModelError(f"the model takes inputs of the shape {shape}, but its vocabulary gives {found}")
    if not path.is_file():
        raise DataError(f"no input file {path}")
    lines = read_lines(path)
    if not lines:
        raise DataError(f"{path} is empty: it must hold a text on each line")
    for start in range(0, len(lines), batch):
        tokens = [
            _tokens(path, number, line, vocabulary.length)
            for number, line in enumerate(lines[start : start + batch], start + 1)
        ]
        yield vocabulary.encode(tokens), tokens


def _tokens(path: Path, number: int, line: str, length: int) -> list[str]:
    """The first `length` tokens of one line."""
    tokens = tokens_of(line, length + 1)
    if not tokens:
        raise DataError(f"{path}, line {number}: the text is empty: drop the line, or write a text there")
    if len(tokens) > length:
        notice(f"{path}, line {number}: only the first {length} tokens are read")
    return tokens[:length]


def with_tokens(prediction: Prediction, tokens: list[str]) -> Prediction:
    """One example's prediction {task: {...}}, whose tags are cut to the text's `tokens` and read as spans of them."""
    read = dict(prediction)
    for task, found in prediction.items():
        if "tags" in found:
            tags = found["tags"][: len(tokens)]
            spans = [
                {"type": kind, "text": " ".join(tokens[start:end]), "start": start, "end": end}
                for kind, start, end in read_spans(tags)
            ]
            read[task] = {"tokens": tokens, "tags": tags, "spans": spans}
    return read

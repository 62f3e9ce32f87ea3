"""Inputs of a trained model from files: pictures, `.npy` arrays, tables, and `.txt` files of a text a line.

A picture is read as grey or colour, as the model takes it, and never resized. Everything that is wrong with a file
is a DataError that names the file.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mtlsearch.data.examples.arrays import NUMBERS, read_npy
from mtlsearch.data.examples.kinds import InputKind, former_kind
from mtlsearch.data.pictures import quiet
from mtlsearch.data.table_encoding import Encoding
from mtlsearch.data.table_file import TYPED, read_cells
from mtlsearch.data.table_file import suffix as format_of
from mtlsearch.data.text import IDS, Vocabulary, tokens_of
from mtlsearch.data.text_files import read_lines
from mtlsearch.errors import DataError, ModelError, one_line
from mtlsearch.terminal import notice

if TYPE_CHECKING:
    import pandas as pd

BATCH = 1024
TABLES = (".csv", ".tsv", *TYPED)


@dataclass(frozen=True)
class Inputs:
    """Examples `x` [N, ...] of one file as the study's data are, and the `names` by which they are reported.

    `kind` is that of the inputs; `tokens` are those of texts; `encoding` says how a table's rows became inputs.
    """

    x: Tensor
    names: Sequence[str]
    kind: InputKind | None
    tokens: Sequence[Sequence[str]] | None = None
    encoding: Encoding | None = None


def read_inputs(config: Mapping[str, Any], paths: Sequence[Path]) -> Iterator[Inputs]:
    """The examples in files for the model of `config`, at most `BATCH` at a time; every task takes each of them.

    Raises DataError for a file that the model cannot take, and where the tasks' inputs differ.
    """
    shape, dtype, kind = _input_format(config["tasks"])
    for path in paths:
        suffix = path.suffix.lower()
        if suffix == ".txt" and "text" in config:
            first = 1
            for ids, tokens in read_texts(path, config, shape, BATCH):
                names = [f"{path}, line {line}" for line in range(first, first + len(ids))]
                yield Inputs(ids, names, kind, tokens)
                first += len(ids)
        elif format_of(path) in TABLES and "table" in config:
            encoding = Encoding.from_dict(config["table"])
            yield from _batches(*read_rows(path, encoding), kind, encoding)
        else:
            x = read_examples(path, shape, dtype, kind)
            yield from _batches(x, [f"{path}[{i}]" for i in range(len(x))] if len(x) > 1 else [str(path)], kind)


def _batches(
    x: Tensor, names: Sequence[str], kind: InputKind | None, encoding: Encoding | None = None
) -> Iterator[Inputs]:
    for start in range(0, len(x), BATCH):
        rows = slice(start, start + BATCH)
        yield Inputs(x[rows], names[rows], kind, encoding=encoding)


def _input_format(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[int, ...], torch.dtype, InputKind | None]:
    """The shape, the dtype and the kind of the one input that all tasks take."""
    found = {(tuple(about["input_shape"]), about["input_dtype"], about.get("input_kind")) for about in tasks.values()}
    if len(found) > 1:
        shapes = ", ".join(f"{task} {about['input_shape']}" for task, about in tasks.items())
        raise DataError(f"the tasks take inputs of different shapes ({shapes}), so no file can serve all of them")
    shape, dtype, kind = found.pop()
    return shape, getattr(torch, dtype), kind


def read_examples(path: Path, shape: tuple[int, ...], dtype: torch.dtype, kind: InputKind | None = None) -> Tensor:
    """The examples [N, *shape] in a picture, `.npy` or `.csv` file of numbers; of training's `dtype` and `kind`."""
    if not path.is_file():
        raise DataError(f"no input file {path}")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = read_npy(path)
    elif suffix == ".csv":
        array = _read_csv(path, int(np.prod(shape))).reshape(-1, *shape)
    else:
        array = _read_picture(path, shape)
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape or not len(array):
        raise DataError(f"{path}: the model takes inputs of the shape {shape}, but got {array.shape}")
    if array.dtype.kind not in NUMBERS or array.dtype.itemsize > 8:
        raise DataError(f"{path}: the inputs must be numbers, but got {array.dtype}")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: the inputs must be finite, but some are NaN or infinite")
    kind = kind or former_kind(dtype)
    if kind == "pictures" and dtype is torch.uint8 and not ((array >= 0) & (array <= 255)).all():
        raise DataError(f"{path}: pixels must lie in 0 … 255, but some do not")
    if kind != "numbers" and not dtype.is_floating_point and (array != np.round(array)).any():
        raise DataError(f"{path}: the inputs must be whole numbers, as in training, but some are fractions")
    # torch takes neither a foreign byte order nor a picture's read-only memory.
    examples = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return examples.to(torch.float32 if kind == "numbers" else dtype)


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

    colour = len(shape) == 3 and 3 in (shape[0], shape[-1])
    try:
        with quiet(), Image.open(path) as picture:
            array = np.asarray(picture.convert("RGB" if colour else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no readable picture, .npy or .csv file ({one_line(error)})") from error
    if len(shape) == 3 and shape[0] in (1, 3):
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array


def read_rows(path: Path, encoding: Encoding) -> tuple[Tensor, list[str]]:
    """The inputs [N, features] of a CSV or Parquet file, and the place of each row; other columns are ignored.

    Raises DataError for a missing column, and for a file or cell that training could not have read.
    """
    frame = encoding.read(path)
    places = [f"{path}, {frame.index.name} {row}" for row in frame.index]
    return torch.from_numpy(encoding.apply(frame)), places


def own_columns(config: Mapping[str, Any], path: Path) -> "pd.DataFrame | None":
    """The columns of a table of raw rows as they are written, a row for each of `read_rows`; None of other files."""
    if format_of(path) not in TABLES or "table" not in config:
        return None
    header = Encoding.from_dict(config["table"]).header_of(path)
    return read_cells(path, header).reset_index(drop=True)


def read_texts(
    path: Path, config: Mapping[str, Any], shape: tuple[int, ...], batch: int
) -> Iterator[tuple[Tensor, list[list[str]]]]:
    """The ids [N, L, K] and the tokens of the texts in a file, `batch` at a time; a notice tells of cut texts.

    Raises DataError for a file that is no text or has an empty line.
    """
    vocabulary = Vocabulary.from_dict(config["text"])
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
            _tokens(f"{path}, line {number}", line, vocabulary.length)
            for number, line in enumerate(lines[start : start + batch], start + 1)
        ]
        yield vocabulary.encode(tokens), tokens


def _tokens(place: str, line: str, length: int) -> list[str]:
    """The first `length` tokens of one line."""
    tokens = tokens_of(line, length + 1)
    if not tokens:
        raise DataError(f"{place}: the text is empty: drop the line, or write a text there")
    if len(tokens) > length:
        notice(f"{place}: only the first {length} tokens are read")
    return tokens[:length]

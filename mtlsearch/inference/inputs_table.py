"""The rows of a raw table as a model's inputs, by the encoding that was fitted in its training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlsearch.data.table_encoding import Encoding
from mtlsearch.data.table_file import read_table


def read_rows(path: Path, fitted: Mapping[str, Any]) -> tuple[Tensor, list[str]]:
    """The inputs [N, features] of a CSV or Parquet file, and where each row stands; other columns are left alone.

    Raises DataError for a file or cell that the training could not have read, or a missing column.
    """
    encoding = Encoding.from_dict(fitted)
    text = [column.column for column in encoding.categories]
    frame = read_table(path, text=text, decimal=encoding.decimal, missing=encoding.blanks)
    places = [f"{path}, {frame.index.name} {row}" for row in frame.index]
    return torch.from_numpy(encoding.apply(frame)), places

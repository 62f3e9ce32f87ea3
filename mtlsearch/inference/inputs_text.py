"""Predictions for texts: a file of one text a line, read by the vocabulary that the model's file holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlsearch.data.text import IDS, Vocabulary, tokens_of
from mtlsearch.data.text_files import read_lines
from mtlsearch.errors import DataError, ModelError
from mtlsearch.tasks.tagging import read_spans
from mtlsearch.tuning.progress import notice

Prediction = dict[str, Any]


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

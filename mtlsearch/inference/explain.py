"""Why a model answers as it does: for each input and task, what of the input speaks for the answer and what against.

`explain_files` reads inputs as `predict` does and gives an `Explanation`, which other modules draw or print.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.data.parts import as_input
from mtlsearch.errors import DataError
from mtlsearch.inference.attribution import (
    Explainer,
    Integral,
    captum_method,
    overlaps,
    relied_on,
    use_of,
)
from mtlsearch.inference.inputs import BATCH, TABLES, _input_of, read_examples
from mtlsearch.inference.predict import DENSE
from mtlsearch.inference.questions import Question, questions
from mtlsearch.terminal import notice

MOST_INPUTS = 24  # on one page
FAR = 0.05  # a gap in completeness that is told
BASELINES = {
    "picture": "a picture of zeros (black, or the mean of standardised pixels)",
    "text": "tokens whose embeddings are zero",
    "table": "inputs of zero (of standardised columns: their mean)",
}


@dataclass(frozen=True)
class Example:
    """One input `x` [1, ...] as it is in its file, and what its parts are called: tokens, or columns."""

    name: str
    kind: str  # picture, text or table
    x: Tensor
    parts: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """One thing that a task says of an input, and what each part of the input did for it.

    `weights` is [H, W] for a picture, else one for each of the example's parts; `output` is what was explained:
    the logit of `label`, a value in the target's own unit, or the sum of the logits of a span's tags.
    """

    label: str
    probability: float | None
    output: str
    integral: Integral
    weights: Tensor


@dataclass(frozen=True)
class Explained:
    """An example with each task's answers, and each task's use [U] of the units that all share."""

    example: Example
    answers: Mapping[str, Sequence[Answer]]
    uses: Mapping[str, Tensor]


@dataclass(frozen=True)
class Explanation:
    """What was found for every input of a model."""

    study: str
    tasks: Sequence[str]
    inputs: Sequence[Explained]
    left_out: Sequence[str] = ()  # tasks that answer with a picture
    uses: Mapping[str, Tensor] = field(default_factory=dict)  # means over the inputs

    @property
    def overlap(self) -> Tensor:
        """How alike the tasks' uses of the shared units are, [T, T]."""
        return overlaps(torch.stack(list(self.uses.values())))

    @property
    def relied(self) -> Tensor:
        """Which units each task relies on, [T, U]."""
        return torch.stack([relied_on(use) for use in self.uses.values()])


def explain_files(model: nn.Module, config: Mapping[str, Any], paths: Sequence[Path]) -> Explanation:
    """Explain a model's answers to the examples in files. Raises DataError, and ModelError for an unfit model."""
    captum_method()  # told before anything is read
    about = {task: each for task, each in config["tasks"].items() if each["kind"] not in DENSE}
    left_out = [task for task in config["tasks"] if task not in about]
    if not about:
        raise DataError(
            f"explain attributes labels and values, but {', '.join(left_out)} answer with a picture: use"
            " mtlsearch.load_model and attribute the pixels of interest"
        )
    if left_out:
        notice(f"{', '.join(left_out)}: not explained, since the answer is a picture")
    found = list(islice(read_all(config, paths), MOST_INPUTS + 1))
    if len(found) > MOST_INPUTS:
        notice(f"only the first {MOST_INPUTS} inputs are explained")
    inputs = [explain(model, config, about, example) for example in found[:MOST_INPUTS]]
    for each in inputs:
        if not each.example.x.any():
            notice(f"{each.example.name} equals the baseline, so there is nothing to attribute")
    _tell_gaps(inputs)
    uses = {
        task: torch.stack([each.uses[task] for each in inputs]).mean(0)
        for task in about
        if all(task in each.uses for each in inputs)
    }
    return Explanation(config["study"]["name"], list(about), inputs, left_out, uses)


def read_all(config: Mapping[str, Any], paths: Sequence[Path]) -> Iterator[Example]:
    """Every example of the files, one at a time, as `predict` reads them."""
    shape, dtype = _input_of(config["tasks"])
    for path in paths:
        if path.suffix.lower() == ".txt" and "text" in config:
            yield from _texts(path, config, shape)
        elif path.suffix.lower() in TABLES and "table" in config:
            yield from _rows(path, config["table"])
        else:
            inputs = read_examples(path, shape, dtype)
            kind = "picture" if dtype.is_floating_point or dtype is torch.uint8 else "table"
            kind = kind if is_picture(shape) else "table"
            parts = () if kind == "picture" else [f"input {i + 1}" for i in range(inputs[0].numel())]
            for i, x in enumerate(inputs):
                yield Example(f"{path}[{i}]" if len(inputs) > 1 else str(path), kind, x[None], parts)


def is_picture(shape: Sequence[int]) -> bool:
    """Whether inputs of `shape` are [H, W], or have 1 or 3 channels as their first or last dimension."""
    return len(shape) == 2 or (len(shape) == 3 and (shape[0] in (1, 3) or shape[-1] in (1, 3)))


def _texts(path: Path, config: Mapping[str, Any], shape: tuple[int, ...]) -> Iterator[Example]:
    from mtlsearch.inference.inputs import read_texts

    number = 0
    for ids, tokens in read_texts(path, config, shape, BATCH):
        for row, words in zip(ids, tokens, strict=True):
            number += 1
            yield Example(f"{path}, line {number}", "text", row[None], words)


def _rows(path: Path, fitted: Mapping[str, Any]) -> Iterator[Example]:
    from mtlsearch.inference.inputs import read_rows

    inputs, places = read_rows(path, fitted)
    for x, place in zip(inputs, places, strict=True):
        yield Example(place, "table", x[None], columns_of(x, fitted))


def columns_of(x: Tensor, fitted: Mapping[str, Any]) -> list[str]:
    """What each of a row's inputs [F] stands for: its column with the value in this row, once for each input."""
    from mtlsearch.data.table_encoding import Category, Encoding

    names, start = [], 0
    for column in Encoding.from_dict(fitted).columns:
        mine = x[start : start + column.features].tolist()
        start += column.features
        if isinstance(column, Category):
            levels = [*column.levels, *["missing"] * column.missing, *["a rare one"] * column.rarer]
            value = next((level for level, is_it in zip(levels, mine, strict=True) if is_it), "unknown")
        elif column.missing and mine[1]:
            value = "missing"
        else:
            number = mine[0] * column.std + column.mean
            value = _day(number) if column.date else f"{number:.5g}"
        names += [f"{column.column} = {value}"] * column.features
    return names


def _day(days: float) -> str:
    import numpy as np

    return str(np.datetime64(round(days), "D"))


def explain(
    model: nn.Module, config: Mapping[str, Any], about: Mapping[str, Mapping[str, Any]], example: Example
) -> Explained:
    """Each task's answers to one example, and why."""
    try:
        explainer = Explainer(model, list(config["tasks"]), as_input(example.x, torch.float32))
    except IndexError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{example.name} holds an id that the model does not know ({reason})") from error
    answers: dict[str, list[Answer]] = {}
    uses = {}
    for task, facts in about.items():
        asked = questions(task, facts, explainer.outputs[task], example.parts)
        answers[task] = [_answer(each, explainer.of_input(each.ask), example) for each in asked]
        units = [found for each in asked if (found := explainer.of_units(each.ask)) is not None]
        if units:
            uses[task] = use_of([found.weights for found in units])
    return Explained(example, answers, uses)


def _answer(question: Question, found: Integral, example: Example) -> Answer:
    """The attributions as a person looks at them: per pixel, token, or column."""
    weights = found.weights
    if example.kind == "picture":
        if weights.ndim == 3:
            weights = weights.sum(0 if weights.shape[0] in (1, 3) else -1)
    elif example.kind == "text":
        weights = weights.flatten(1).sum(1)[: len(example.parts)]
    else:
        weights = weights.flatten()
    return Answer(question.label, question.probability, question.output, found, weights)


def _tell_gaps(inputs: Sequence[Explained]) -> None:
    """One notice where attributions do not sum to the change of an output."""
    gaps = [
        (answer.integral.gap, f"{each.example.name}, {task}")
        for each in inputs
        for task, answers in each.answers.items()
        for answer in answers
    ]
    far = [gap for gap in gaps if gap[0] > FAR]
    if far:
        gap, where = max(far)
        notice(
            f"{len(far)} of {len(gaps)} explanations are rough: their attributions miss the output's change by up to"
            f" {gap:.0%} ({where})"
        )


def by_part(answer: Answer, parts: Sequence[str]) -> dict[str, float]:
    """The attribution of each column of a table, its inputs summed."""
    sums: dict[str, float] = {}
    for part, weight in zip(parts, answer.weights.tolist(), strict=True):
        sums[part] = sums.get(part, 0.0) + weight
    return sums

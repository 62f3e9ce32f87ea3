"""Explanations of a model's answers: the parts of an input that speak for an answer, and those against it.

`explain_files` reads the inputs that `predict` reads and gives an `Explanation`, which other modules draw or print.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlsearch.data.examples.kinds import InputKind, as_input
from mtlsearch.errors import DataError, one_line
from mtlsearch.inference.attribution import (
    Explainer,
    Integral,
    captum_method,
    overlaps,
    relied_on,
    use_of,
)
from mtlsearch.inference.inputs import Inputs, read_inputs
from mtlsearch.tasks.kinds import kind_named
from mtlsearch.tasks.task import Description, Question
from mtlsearch.terminal import notice

MOST_INPUTS = 24  # on one page
MOST_ANSWERS = 3  # of one task to one input: labels, spans or values
FAR = 0.05  # a gap in completeness from which on a notice tells of it
BASELINES = {
    "picture": "a picture of zeros (black, or the mean of standardised pixels)",
    "text": "tokens whose embeddings are zero",
    "table": "inputs of zero (of standardised columns: their mean)",
}


@dataclass(frozen=True)
class Example:
    """One input `x` [1, ...] as the study's `inputs` are, and the names of its parts: tokens, or columns."""

    name: str
    kind: str  # picture, text or table
    x: Tensor
    parts: Sequence[str] = ()
    inputs: InputKind | None = None  # pictures, numbers or tokens


@dataclass(frozen=True)
class Answer:
    """One answer of a task to an input, and the attribution of each part of the input.

    `weights` is [H, W] for a picture, else one for each of the example's parts. `output` names the number that is
    attributed: a logit, a value in the label's unit, or the sum of the logits of a span's tags.
    """

    label: str
    probability: float | None
    output: str
    integral: Integral
    weights: Tensor


@dataclass(frozen=True)
class Explained:
    """An example with each task's answers, and each task's use [U] of the units that all tasks share."""

    example: Example
    answers: Mapping[str, Sequence[Answer]]
    uses: Mapping[str, Tensor]


@dataclass(frozen=True)
class Explanation:
    """The explained inputs of a model."""

    study: str
    tasks: Sequence[str]
    inputs: Sequence[Explained]
    left_out: Sequence[str] = ()  # tasks that answer with a picture
    uses: Mapping[str, Tensor] = field(default_factory=dict)  # means over the inputs

    @property
    def overlap(self) -> Tensor:
        """The cosines [T, T] between the tasks' uses of the shared units."""
        return overlaps(torch.stack(list(self.uses.values())))

    @property
    def relied(self) -> Tensor:
        """Masks [T, U] of the units that each task relies on."""
        return torch.stack([relied_on(use) for use in self.uses.values()])


def explain_files(model: nn.Module, config: Mapping[str, Any], paths: Sequence[Path]) -> Explanation:
    """Explain a model's answers to the examples in files.

    Raises DataError for inputs that the model cannot take or where every answer is a picture, UsageError without
    Captum, and ModelError for a model whose inputs cannot be attributed.
    """
    captum_method()  # before any file is read
    tasks = config["tasks"]
    left_out = [task for task in tasks if kind_named(tasks[task]["kind"]).answers_with_a_picture]
    about = {task: each for task, each in tasks.items() if task not in left_out}
    if not about:
        raise DataError(
            f"explain attributes labels and values, but {', '.join(left_out)} answer with a picture: use"
            " mtlsearch.load_model and attribute the pixels of interest"
        )
    if left_out:
        notice(f"{', '.join(left_out)}: not explained, since the answer is a picture")
    examples = chain.from_iterable(map(examples_of, read_inputs(config, paths)))
    found = list(islice(examples, MOST_INPUTS + 1))
    if len(found) > MOST_INPUTS:
        notice(f"only the first {MOST_INPUTS} inputs are explained")
    inputs = [explain(model, config, about, example) for example in found[:MOST_INPUTS]]
    for each in inputs:
        if not each.example.x.any():
            notice(f"{each.example.name} equals the baseline, so there is nothing to attribute")
    _warn_of_gaps(inputs)
    uses = {
        task: torch.stack([each.uses[task] for each in inputs]).mean(0)
        for task in about
        if all(task in each.uses for each in inputs)
    }
    return Explanation(config["study"]["name"], list(about), inputs, left_out, uses)


def examples_of(inputs: Inputs) -> Iterator[Example]:
    """The examples one by one, with the names of their parts."""
    for i, (name, x) in enumerate(zip(inputs.names, inputs.x, strict=True)):
        if inputs.tokens is not None:
            yield Example(name, "text", x[None], inputs.tokens[i], inputs.kind)
        elif inputs.encoding is not None:
            yield Example(name, "table", x[None], inputs.encoding.names(x.tolist()), inputs.kind)
        elif is_picture(x):
            yield Example(name, "picture", x[None], inputs=inputs.kind)
        else:
            yield Example(name, "table", x[None], [f"input {i + 1}" for i in range(x.numel())], inputs.kind)


def is_picture(x: Tensor) -> bool:
    """Whether an input is real or in bytes, and [H, W] or of 1 or 3 channels, first or last."""
    channels = x.ndim == 3 and (x.shape[0] in (1, 3) or x.shape[-1] in (1, 3))
    return (x.is_floating_point() or x.dtype is torch.uint8) and (x.ndim == 2 or channels)


def explain(
    model: nn.Module, config: Mapping[str, Any], about: Mapping[str, Description], example: Example
) -> Explained:
    """The answers of the tasks in `about` to one example, with the attribution of each."""
    try:
        explainer = Explainer(model, list(config["tasks"]), as_input(example.x, torch.float32, example.inputs))
    except IndexError as error:
        raise DataError(f"{example.name} holds an id that the model does not know ({one_line(error)})") from error
    answers, uses = {}, {}
    for task, each in about.items():
        questions = kind_named(each["kind"]).questions(explainer.outputs[task], each, example.parts)
        asked = questions[:MOST_ANSWERS]
        answers[task] = [_answer(q, explainer.of_input(task, q.ask), example) for q in asked]
        units = [found for q in asked if (found := explainer.of_units(task, q.ask)) is not None]
        if units:
            uses[task] = use_of([found.weights for found in units])
    return Explained(example, answers, uses)


def _answer(question: Question, found: Integral, example: Example) -> Answer:
    """The answer with its attributions summed per pixel, token, or input of a table."""
    weights = found.weights
    if example.kind == "text":
        weights = weights.flatten(1).sum(1)[: len(example.parts)]
    elif example.kind == "table":
        weights = weights.flatten()
    elif weights.ndim == 3:
        weights = weights.sum(0 if weights.shape[0] in (1, 3) else -1)
    return Answer(question.label, question.probability, question.output, found, weights)


def _warn_of_gaps(inputs: Sequence[Explained]) -> None:
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
    """The attribution of each part of an example, summed over the inputs of one column."""
    sums: dict[str, float] = {}
    for part, weight in zip(parts, answer.weights.tolist(), strict=True):
        sums[part] = sums.get(part, 0.0) + weight
    return sums

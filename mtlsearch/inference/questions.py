"""What there is to explain in a task's output: a label, the likeliest labels, spans, or values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtlsearch.inference.attribution import Ask

MOST_ANSWERS = 3  # labels, spans or values of one task


@dataclass(frozen=True)
class Question:
    """What is asked of a task's outputs."""

    label: str
    probability: float | None
    output: str
    ask: Ask


def questions(task: str, about: Mapping[str, Any], output: Tensor, tokens: Sequence[str]) -> list[Question]:
    """What is explained of a task's output [1, ...]: its label, its likeliest labels, its spans, or its values."""
    kind, classes = about["kind"], about["classes"]
    if kind == "classification":
        probabilities = output.softmax(1)[0]
        best = int(probabilities.argmax())
        return [Question(classes[best], float(probabilities[best]), "logit", _entry(task, best))]
    if kind == "multilabel":
        likely = output.sigmoid()[0]
        order = likely.argsort(descending=True, stable=True).tolist()
        kept = [i for i in order if likely[i] >= 0.5][:MOST_ANSWERS] or order[:1]
        return [Question(classes[i], float(likely[i]), "logit", _entry(task, i)) for i in kept]
    if kind == "tokentagging":
        return _spans(task, classes, output, tokens)
    return _values(task, about, output)


def _values(task: str, about: Mapping[str, Any], output: Tensor) -> list[Question]:
    """The values of a regression in the target's own unit, or of a user's own kind of task as they are."""
    if output.ndim != 2:
        return [Question("the sum of its outputs", None, "sum", lambda o: o[task].flatten(1).sum(1))]
    size = output.shape[1]
    scales, shifts = [1.0] * size, [0.0] * size
    if about["kind"] == "regression":
        scales, shifts = list(about["std"]), list(about["mean"])
    found = []
    for i in range(min(size, MOST_ANSWERS)):
        value = float(output[0, i]) * scales[i] + shifts[i]
        label = f"{value:.4g}" if size == 1 else f"value {i + 1}: {value:.4g}"
        found.append(Question(label, None, "value", _entry(task, i, scales[i], shifts[i])))
    return found


def _entry(task: str, i: int, scale: float = 1.0, shift: float = 0.0) -> Ask:
    return lambda outputs: outputs[task][:, i] * scale + shift


def _spans(task: str, tags: Sequence[str], output: Tensor, tokens: Sequence[str]) -> list[Question]:
    """The first spans that the tags [1, L, C] spell, or where there is none all tokens' being outside."""
    from mtlsearch.tasks.tagging import read_spans

    likely = output.softmax(-1)[0]
    length = len(tokens) or len(likely)
    best = likely.argmax(-1)[:length]
    spans = read_spans([tags[i] for i in best.tolist()])[:MOST_ANSWERS]
    asked = [(f"{' '.join(tokens[a:b]) or f'tokens {a + 1} to {b}'} ({kind})", a, b) for kind, a, b in spans]
    found = []
    for label, start, end in asked or [("no span", 0, length)]:
        rows, columns = torch.arange(start, end), best[start:end]

        def ask(outputs: Mapping[str, Tensor], rows: Tensor = rows, columns: Tensor = columns) -> Tensor:
            return outputs[task][:, rows, columns].sum(1)

        probability = float(likely[rows, columns].prod())
        found.append(Question(label, probability, "sum of its tags' logits", ask))
    return found

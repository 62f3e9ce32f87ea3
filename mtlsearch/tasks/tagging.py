"""Token tagging: a tag for every token of a text (BIO), scored by the spans that the tags spell.

Legend: B texts, L tokens, C tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.parts import Data
from mtlsearch.errors import DataError, StudyError
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.tasks.task import Target, Task

OUTSIDE = "O"


@dataclass(frozen=True)
class TagTarget(Target):
    """A target whose texts have `length` tokens, padding among them."""

    length: int = 0


@dataclass(frozen=True)
class TokenTagging(Task):
    """A tag for each token; cross-entropy; labels [N, L] are whole numbers, −1 where there is no token.

    The classes are the tags, named by the data's source: "O" first, then "B-" and "I-" with a span's type. Most tokens
    are outside; `outside_weight` is what one of them counts in the loss beside a token of a span.
    """

    outside_weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.outside_weight <= 1:
            raise StudyError(
                f"task {self.name!r}: outside_weight must lie in (0, 1], but got {self.outside_weight}"
            )

    def target(self, data: Data) -> Target:
        labels, tags = data.column(data.train, self.name), data.class_names(self.name)
        if labels.ndim != 2:
            raise DataError(
                f"task {self.name!r}: labels must have the shape [N, L], but got {tuple(labels.shape)}"
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(f"task {self.name!r}: tags must be whole numbers, but got {labels.dtype}")
        check_tags(self.name, tags)
        begins = torch.tensor([i for i, tag in enumerate(tags) if tag.startswith("B-")])
        if not bool(torch.isin(labels, begins).any()):
            raise DataError(f"task {self.name!r} needs spans in its training data, but no token has a B- tag")
        return TagTarget(len(tags), tags, length=labels.shape[1])

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        labels = labels.long()
        outside = labels[(labels < -1) | (labels >= target.size)]
        if len(outside):
            raise DataError(
                f"task {self.name!r}: tags must lie in 0 … {target.size - 1} (or be −1 where missing),"
                f" but got {int(outside[0])}"
            )
        return labels

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The weighted mean over the labelled tokens of a batch, 0 where there is none."""
        labels = labels.flatten()
        valid = labels >= 0
        losses = F.cross_entropy(
            outputs.flatten(0, 1),
            torch.where(valid, labels, 0),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        weight = torch.where(labels > 0, torch.ones_like(losses), self.outside_weight)
        weight = torch.where(valid, weight, 0)
        # Selected: neither a missing token's loss nor a sum of no weights may come into it as NaN.
        return torch.where(valid, weight * losses, 0).sum() / torch.where(valid.any(), weight.sum(), 1)

    def metric(self, target: Target) -> Metric:
        return span_f1(target.classes)

    def output_shape(self, target: Target) -> tuple[int, ...]:
        assert isinstance(target, TagTarget)
        return target.length, target.size


def check_tags(task: str, tags: tuple[str, ...]) -> None:
    """Raise DataError unless `tags` are BIO tags, O first, with a B- for every I-."""
    wrong = [tag for tag in tags if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and len(tag) > 2)]
    if wrong or tags[:1] != (OUTSIDE,):
        got = repr(wrong[0]) if wrong else ", ".join(tags) or "none"
        raise DataError(
            f"task {task!r}: its classes must be the BIO tags O (first), B-… and I-…, but got {got}"
        )
    alone = [tag for tag in tags if tag.startswith("I-") and f"B-{tag[2:]}" not in tags]
    if alone:
        raise DataError(f"task {task!r}: the tag {alone[0]!r} needs a B-{alone[0][2:]} too")


def span_f1(tags: tuple[str, ...]) -> CountedMetric:
    """F1 of the spans, all types together: a span counts where its type and both ends are right.

    A span begins at a B- tag; an I- tag that continues none of its type is outside. It is seqeval's
    `f1_score(mode="strict", scheme=IOB2)`, counted on the device. A token of label −1 is outside in both.
    """
    types = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    kinds = ["OBI".index(tag[0]) for tag in tags]
    of = [0 if tag == OUTSIDE else 1 + types.index(tag[2:]) for tag in tags]

    def count(outputs: Tensor, labels: Tensor) -> Tensor:
        kind, type_ = (torch.tensor(table, device=labels.device) for table in (kinds, of))
        truth = torch.where(labels >= 0, labels, 0)
        guess = torch.where(labels >= 0, outputs.argmax(-1), 0)
        begins, ends, same = [], [], []
        for ids in (guess, truth):
            begin, end = spans(kind[ids], type_[ids])
            begins.append(begin)
            ends.append(end)
            same.append(type_[ids])
        both = begins[0] & begins[1] & (ends[0] == ends[1]) & (same[0] == same[1])
        return torch.stack([both.sum(), begins[0].sum(), begins[1].sum()]).double()

    def finish(sums: Tensor) -> Tensor:
        both, guessed, true = sums.unbind(-1)
        # Without a span on either side there is no F1; seqeval counts it as 0.
        return 2 * both / (guessed + true).clamp(min=1)

    return CountedMetric("span_f1", count, finish)


def spans(kind: Tensor, type_: Tensor) -> tuple[Tensor, Tensor]:
    """Where spans begin [B, L], and where a span that begins there would end (exclusive) [B, L].

    `kind` is 0, 1 or 2 for O, B or I, and `type_` the span's type. No loop over tokens: a span goes on up to the
    next token that is not an I- of the type before it.
    """
    length = kind.shape[-1]
    place = torch.arange(length, device=kind.device)
    linked = F.pad((kind[:, 1:] == 2) & (type_[:, 1:] == type_[:, :-1]), (1, 0))
    breaks = torch.where(linked, length, place)
    # The first break at or after each place, from the right; the end of the span at i is the one after i.
    following = breaks.flip(-1).cummin(-1).values.flip(-1)
    return kind == 1, F.pad(following[:, 1:], (0, 1), value=length)


def read_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans that one text's tags spell, as (type, first token, token after the last), read token by token."""
    found: list[tuple[str, int, int]] = []
    going = ""
    for place, tag in enumerate(tags):
        if tag.startswith("B-"):
            going = tag[2:]
            found.append((going, place, place + 1))
        elif tag != OUTSIDE and tag[2:] == going:
            found[-1] = (going, found[-1][1], place + 1)
        else:
            going = ""
    return found

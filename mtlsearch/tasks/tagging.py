"""Token tagging: a tag for every token of a text (BIO), scored by the spans that the tags spell.

Shapes: B texts, L tokens, C tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlsearch.data.data import Data
from mtlsearch.errors import StudyError
from mtlsearch.tasks.class_labels import in_range, whole_labels
from mtlsearch.tasks.metrics import CountedMetric, Metric
from mtlsearch.tasks.task import Description, Prediction, Question, Target, Task, check_smoothing

OUTSIDE = "O"


@dataclass(frozen=True)
class TokenTagging(Task):
    """A tag for each token; cross-entropy; labels [N, L] are whole numbers, −1 where there is no token.

    The classes are the tags, named by the data's source: "O" first, then "B-" and "I-" with a span's type. Most tokens
    are outside; `outside_weight` is the weight of such a token in the loss, where a token of a span has 1.
    """

    natural_unit: ClassVar[float | None] = 1.0

    outside_weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_smoothing(self, self.label_smoothing)
        if not 0 < self.outside_weight <= 1:
            raise StudyError(f"task {self.name!r}: outside_weight must lie in (0, 1], but got {self.outside_weight}")

    def target(self, data: Data) -> Target:
        labels = whole_labels(self, self.training_labels(data, "N", "L"))
        tags = data.class_names(self.name)
        check_tags(self, tags)
        begins = torch.tensor([i for i, tag in enumerate(tags) if tag.startswith("B-")])
        if not bool(torch.isin(labels, begins).any()):
            raise self.error("the training data must hold spans, but no token has a B- tag")
        return Target(len(tags), tags, shape=(labels.shape[1], len(tags)))

    def prepare(self, labels: Tensor, target: Target) -> Tensor:
        return in_range(self, labels, target)

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
        # Selected by `where`: a missing token's loss, or a sum of no weights, may be NaN.
        return torch.where(valid, weight * losses, 0).sum() / torch.where(valid.any(), weight.sum(), 1)

    def metric(self, target: Target) -> Metric:
        return span_f1(target.classes)

    @classmethod
    def predictions(cls, outputs: Tensor, about: Description) -> list[Prediction]:
        """The tag of each token, padding included."""
        return [{"tags": [about["classes"][tag] for tag in row]} for row in outputs.argmax(-1).tolist()]

    @classmethod
    def of_text(cls, prediction: Prediction, tokens: Sequence[str]) -> Prediction:
        """The tags of a text's own tokens, and the spans that they spell."""
        tags = prediction["tags"][: len(tokens)]
        spans = [
            {"type": kind, "text": " ".join(tokens[start:end]), "start": start, "end": end}
            for kind, start, end in read_spans(tags)
        ]
        return {"tokens": tokens, "tags": tags, "spans": spans}

    @classmethod
    def in_words(cls, prediction: Prediction) -> tuple[str, str]:
        if "spans" not in prediction:
            return " ".join(prediction["tags"]), ""
        return ", ".join(f"{span['text']} ({span['type']})" for span in prediction["spans"]) or "none", ""

    @classmethod
    def questions(cls, output: Tensor, about: Description, tokens: Sequence[str]) -> list[Question]:
        """The logits of the tags of each span; where there is none, of all tokens."""
        likely = output.softmax(-1)[0]
        length = len(tokens) or len(likely)
        best = likely.argmax(-1)[:length]
        spans = read_spans([about["classes"][i] for i in best.tolist()])

        def question(label: str, start: int, end: int) -> Question:
            rows, columns = torch.arange(start, end), best[start:end]
            probability = float(likely[rows, columns].prod())
            return Question(label, probability, "sum of its tags' logits", lambda o: o[:, rows, columns].sum(1))

        if not spans:
            return [question("no span", 0, length)]
        return [
            question(f"{' '.join(tokens[start:end]) or f'tokens {start + 1} to {end}'} ({kind})", start, end)
            for kind, start, end in spans
        ]


def check_tags(task: Task, tags: tuple[str, ...]) -> None:
    """Raise DataError unless `tags` are BIO tags, O first, with a B- for every I-."""
    wrong = [tag for tag in tags if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and len(tag) > 2)]
    if wrong or tags[:1] != (OUTSIDE,):
        got = repr(wrong[0]) if wrong else ", ".join(tags) or "none"
        raise task.error(f"its classes must be the BIO tags O (first), B-… and I-…, but got {got}")
    alone = [tag for tag in tags if tag.startswith("I-") and f"B-{tag[2:]}" not in tags]
    if alone:
        raise task.error(f"the tag {alone[0]!r} needs a B-{alone[0][2:]} too")


def span_f1(tags: tuple[str, ...]) -> CountedMetric:
    """F1 of the spans, all types together: a span counts where its type and both ends are right.

    A span begins at a B- tag; an I- tag that continues no span of its type is outside, and so is a token of label −1.
    Equal to seqeval's `f1_score(mode="strict", scheme=IOB2)`, counted on the device.
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
        # Without any span F1 is undefined; seqeval counts it as 0.
        return 2 * both / (guessed + true).clamp(min=1)

    return CountedMetric("span_f1", count, finish)


def spans(kind: Tensor, type_: Tensor) -> tuple[Tensor, Tensor]:
    """Masks [B, L] of the tokens that begin spans, and the ends [B, L] (exclusive) of spans that begin there.

    `kind` is 0, 1 or 2 for O, B or I, and `type_` the span's type. There is no loop over tokens: a span ends at the
    next token that is not an I- of the type before it.
    """
    length = kind.shape[-1]
    place = torch.arange(length, device=kind.device)
    linked = F.pad((kind[:, 1:] == 2) & (type_[:, 1:] == type_[:, :-1]), (1, 0))
    breaks = torch.where(linked, length, place)
    # The first break at or after each place; the span at i ends at the first break after i.
    following = breaks.flip(-1).cummin(-1).values.flip(-1)
    return kind == 1, F.pad(following[:, 1:], (0, 1), value=length)


def read_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans that one text's tags spell, as (type, first token, token after the last)."""
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

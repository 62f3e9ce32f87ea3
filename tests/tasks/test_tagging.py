"""Token tagging: spans are seqeval's, whatever the tags; the loss is torch's over the labelled tokens."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtlsearch import Data, TokenTagging
from mtlsearch.errors import DataError, StudyError
from mtlsearch.tasks.tagging import read_spans, span_f1

TAGS = ("O", "B-a", "I-a", "B-b", "I-b", "I-c", "B-c")
C, L = len(TAGS), 9
METRIC = span_f1(TAGS)
TASK = TokenTagging("t", lambda directory: pytest.fail("a task does not load data by itself"))

# Ill-formed ones too: an I- after O, after another type, at the beginning.
rows = st.lists(
    st.lists(st.tuples(st.integers(0, C - 1), st.integers(-1, C - 1)), min_size=L, max_size=L), min_size=1, max_size=6
)  # fmt: skip


def outputs_of(guesses: Tensor) -> Tensor:
    return F.one_hot(guesses, C).float()


def f1(guesses: Tensor, labels: Tensor) -> float:
    return float(METRIC.finish(METRIC.count(outputs_of(guesses), labels)))


def tags_of(ids: Tensor, labels: Tensor) -> list[list[str]]:
    """Tags as a person writes them; a token without a label is outside."""
    return [
        [TAGS[i] if label >= 0 else "O" for i, label in zip(row, known, strict=True)]
        for row, known in zip(ids.tolist(), labels.tolist(), strict=True)
    ]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows=rows)
def test_span_f1_is_seqevals_whatever_the_tags(rows: list[list[tuple[int, int]]]) -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    guesses, labels = torch.tensor(rows).unbind(-1)
    truth, guess = tags_of(labels, labels), tags_of(guesses, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a span it warns, and gives 0 as we do
        due = f1_score(truth, guess, mode="strict", scheme=IOB2)
    assert f1(guesses, labels) == pytest.approx(due, abs=1e-12)
    counts = METRIC.count(outputs_of(guesses), labels)
    assert counts[1:].tolist() == [sum(len(read_spans(tags)) for tags in side) for side in (guess, truth)]


def ids(*tags: str) -> list[int]:
    return [TAGS.index(tag) for tag in tags]


@pytest.mark.parametrize(
    ("truth", "guess", "both", "guessed", "true"),
    [
        (ids("B-a", "I-a", "O"), ids("B-a", "I-a", "O"), 1, 1, 1),
        (ids("B-a", "I-a", "O"), ids("B-a", "O", "O"), 0, 1, 1),
        (ids("B-a", "I-a", "O"), ids("B-b", "I-b", "O"), 0, 1, 1),
        (ids("B-a", "I-a", "O"), ids("O", "I-a", "O"), 0, 0, 1),
        (ids("B-a", "B-a", "I-b"), ids("B-a", "B-a", "I-a"), 1, 2, 2),
        (ids("O", "O", "B-a"), ids("O", "O", "B-a"), 1, 1, 1),
        ([*ids("B-a"), -1, *ids("I-a")], ids("B-a", "I-a", "I-a"), 1, 1, 1),
    ],
)
def test_a_span_counts_where_its_type_and_both_ends_are_right(
    truth: list[int], guess: list[int], both: int, guessed: int, true: int
) -> None:
    counts = METRIC.count(outputs_of(torch.tensor([guess])), torch.tensor([truth]))
    assert counts.tolist() == [both, guessed, true]


def random_tags(seed: int, rows: int = 50) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, L, C, generator=random)
    labels = torch.randint(0, C, (rows, L), generator=random)
    lengths = torch.randint(1, L + 1, (rows, 1), generator=random)
    return outputs, torch.where(torch.arange(L) < lengths, labels, -1)


def test_counts_of_chunks_and_of_members_add_up() -> None:
    outputs, labels = random_tags(0)
    whole = METRIC.count(outputs, labels)
    assert whole.min() > 0
    chunks = [METRIC.count(outputs[i : i + 16], labels[i : i + 16]) for i in range(0, 50, 16)]
    assert torch.equal(torch.stack(chunks).sum(0), whole)
    members = torch.stack([outputs, -outputs])
    side_by_side = torch.func.vmap(METRIC.count, in_dims=(0, None))(members, labels)
    assert torch.equal(side_by_side, torch.stack([whole, METRIC.count(-outputs, labels)]))


def test_outputs_at_tokens_without_a_label_change_neither_loss_nor_metric() -> None:
    outputs, labels = random_tags(1)
    changed = torch.where((labels >= 0).unsqueeze(-1), outputs, 100 * torch.randn(C))
    assert torch.equal(TASK.loss(changed, labels), TASK.loss(outputs, labels))
    assert torch.equal(METRIC.count(changed, labels), METRIC.count(outputs, labels))


@pytest.mark.parametrize(("smoothing", "outside"), [(0.0, 1.0), (0.1, 1.0), (0.0, 0.1)])
def test_loss_and_gradient_are_torchs_over_the_labelled_tokens(smoothing: float, outside: float) -> None:
    outputs, labels = random_tags(2)
    ours, plain = outputs.double().requires_grad_(), outputs.double().requires_grad_()
    task = TokenTagging("t", TASK.data, outside_weight=outside, label_smoothing=smoothing)
    loss = task.loss(ours, labels)
    weight = torch.tensor([outside] + [1.0] * (C - 1), dtype=torch.double)
    reference = F.cross_entropy(plain.transpose(1, 2), labels, weight, ignore_index=-1, label_smoothing=smoothing)
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, ours)
    assert torch.allclose(gradient, torch.autograd.grad(reference, plain)[0], rtol=1e-9, atol=1e-15)
    assert (gradient[labels < 0] == 0).all()


def test_a_batch_without_labels_has_the_loss_and_the_gradient_zero() -> None:
    outputs = random_tags(3)[0].requires_grad_()
    loss = TASK.loss(outputs, torch.full((50, L), -1))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert float(loss.detach()) == 0
    assert (gradient == 0).all()


X = torch.ones(4, 3, 4, dtype=torch.int32)
LABELS = torch.tensor([[0, 1, 2], [0, 0, -1], [1, 2, 2], [-1, -1, -1]])
BIO = ("O", "B-a", "I-a")


@pytest.mark.parametrize(
    ("labels", "tags", "message"),
    [
        (LABELS[:, 0], BIO, "task 't': labels must have the shape [N, L], but got (4,)"),
        (LABELS + 0.5, BIO, "task 't': class labels must be whole numbers (or NaN where missing), but got 0.5"),
        (LABELS.clamp(max=0), BIO, "task 't': the training data must hold spans, but no token has a B- tag"),
        (LABELS + 1, BIO, "task 't': labels must lie in 0 … 2 (or be −1 where missing), but got 3"),
        (LABELS - 1, BIO, "task 't': labels must lie in 0 … 2 (or be −1 where missing), but got -2"),
        (LABELS, (), "task 't': its classes must be the BIO tags O (first), B-… and I-…, but got none"),
        (LABELS, ("B-a", "I-a"), "task 't': its classes must be the BIO tags O (first), B-… and I-…, but got B-a, I-a"),
        (LABELS, ("B-a", "O", "I-a"), "task 't': its classes must be the BIO tags O (first), B-… and I-…, but got B-a, O, I-a"),
        (LABELS, ("O", "S-a", "I-a"), "task 't': its classes must be the BIO tags O (first), B-… and I-…, but got 'S-a'"),
        (LABELS, ("O", "B-a", "I-b"), "task 't': the tag 'I-b' needs a B-b too"),
    ],
)  # fmt: skip
def test_labels_that_are_no_tags_are_refused(labels: Tensor, tags: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as error:
        TASK.prepare(labels, TASK.target(Data((X, labels), (X, labels), classes=tags)))
    assert str(error.value) == message


def test_the_output_of_a_text_is_one_row_a_token() -> None:
    data = Data((X, LABELS), (X, LABELS), classes=BIO)
    target = TASK.target(data)
    assert (target.size, target.classes, target.output_shape) == (3, BIO, (3, 3))
    assert TASK.metric(target).name == "span_f1"
    assert TASK.options == {"outside_weight": 1.0, "label_smoothing": 0.0}


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.5, float("nan")])
def test_a_weight_that_makes_no_sense_is_refused(weight: float) -> None:
    with pytest.raises(StudyError, match=rf"^task 't': outside_weight must lie in \(0, 1\], but got {weight}$"):
        TokenTagging("t", TASK.data, outside_weight=weight)

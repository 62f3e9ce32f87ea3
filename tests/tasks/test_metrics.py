"""Metrics are scikit-learn's numbers, missing labels left out, added up over chunks."""

from collections.abc import Callable

import pytest
import torch
from sklearn import metrics as sklearn
from torch import Tensor

from mtlsearch.tasks.metrics import (
    CountedMetric,
    Metric,
    WholeMetric,
    accuracy,
    auroc,
    average_precision,
    average_precisions,
    macro_f1,
    mae,
    multilabel_macro_auroc,
    multilabel_macro_f1,
    r2,
)

N, C = 211, 4
SCALE = torch.tensor([2.0, 0.5, 10.0, 1.0])
Case = tuple[Metric, Tensor, Tensor, Callable[[Tensor, Tensor], float]]


def per_column(outputs: Tensor, labels: Tensor, score: Callable[[Tensor, Tensor], float]) -> float:
    """The mean over the columns of `score(labels, outputs)` where there is a label."""
    numbers = []
    for output, label in zip(outputs.T, labels.T, strict=True):
        known = ~label.isnan()
        numbers.append(score(label[known], output[known]))
    return sum(numbers) / len(numbers)


def against_the_rest(score: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], float]:
    """The mean of a score over each class against the rest."""
    return lambda y, p: sum(score((y == c).long(), p[:, c]) for c in range(C)) / C


def average_precisions_mean() -> Metric:
    return WholeMetric("average_precision", lambda outputs, labels: average_precisions(outputs, labels).mean())


def case(name: str, missing: float) -> Case:
    random = torch.Generator().manual_seed(3)
    outputs = torch.randn(N, C, generator=random)
    gone = torch.rand(N, C, generator=random) < missing
    classes = torch.where(gone[:, 0], -1, torch.randint(0, C, (N,), generator=random))
    yes_no = torch.where(gone, torch.nan, (outputs + torch.randn(N, C, generator=random) > 0.3).float())
    reals = torch.where(gone, torch.nan, outputs + torch.randn(N, C, generator=random))

    def of_classes(score: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], float]:
        return lambda o, y: score(y[y >= 0], o.argmax(1)[y >= 0])

    def of_probabilities(score: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], float]:
        return lambda o, y: score(y[y >= 0], o.double().softmax(1)[y >= 0])

    def of_columns(score: Callable[[Tensor, Tensor], float]) -> Callable[[Tensor, Tensor], float]:
        return lambda o, y: per_column(o, y, score)

    def f1(y: Tensor, guess: Tensor) -> float:
        return float(sklearn.f1_score(y, guess, average="macro", labels=range(C)))

    cases: dict[str, Case] = {
        "accuracy": (accuracy(), outputs, classes, of_classes(sklearn.accuracy_score)),
        "macro_f1": (macro_f1(C), outputs, classes, of_classes(f1)),
        "multilabel_f1": (
            multilabel_macro_f1(),
            outputs,
            yes_no,
            of_columns(lambda y, o: float(sklearn.f1_score(y, o > 0))),
        ),
        "auroc": (multilabel_macro_auroc(), outputs, yes_no, of_columns(sklearn.roc_auc_score)),
        "average_precision": (average_precisions_mean(), outputs, yes_no, of_columns(sklearn.average_precision_score)),
        "class_auroc": (auroc(C), outputs, classes, of_probabilities(against_the_rest(sklearn.roc_auc_score))),
        "class_precision": (
            average_precision(C),
            outputs,
            classes,
            of_probabilities(against_the_rest(sklearn.average_precision_score)),
        ),
        "r2": (r2(), outputs, reals, of_columns(sklearn.r2_score)),
        "mae": (
            mae(SCALE),
            outputs,
            reals,
            lambda o, y: per_column(o * SCALE, y * SCALE, sklearn.mean_absolute_error),
        ),
    }
    return cases[name]


CLASS_NAMES = ["class_auroc", "class_precision"]
NAMES = ["accuracy", "macro_f1", "multilabel_f1", "auroc", "average_precision", *CLASS_NAMES, "r2", "mae"]


def number(metric: Metric, outputs: Tensor, labels: Tensor) -> float:
    if isinstance(metric, CountedMetric):
        return float(metric.finish(metric.count(outputs, labels)))
    return float(metric.compute(outputs, labels))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_metric_is_scikit_learns(name: str, missing: float) -> None:
    metric, outputs, labels, reference = case(name, missing)
    assert number(metric, outputs, labels) == pytest.approx(reference(outputs, labels), rel=1e-5)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "multilabel_f1", "r2", "mae"])
def test_counts_of_chunks_add_up(name: str) -> None:
    metric, outputs, labels, _ = case(name, 0.3)
    assert isinstance(metric, CountedMetric)
    chunks = [slice(start, start + 50) for start in range(0, N, 50)]
    summed = torch.stack([metric.count(outputs[rows], labels[rows]) for rows in chunks]).sum(0)
    assert float(metric.finish(summed)) == pytest.approx(number(metric, outputs, labels), rel=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "multilabel_f1", "r2", "mae"])
def test_members_are_counted_side_by_side(name: str) -> None:
    metric, outputs, labels, _ = case(name, 0.3)
    assert isinstance(metric, CountedMetric)
    members = torch.stack([outputs, -outputs, outputs.flip(1)])
    sums = torch.func.vmap(metric.count, in_dims=(0, None))(members, labels)
    together = metric.finish(sums).tolist()
    assert together == pytest.approx([number(metric, member, labels) for member in members], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_where_labels_are_missing_do_not_count(name: str) -> None:
    metric, outputs, labels, _ = case(name, 0.3)
    missing = labels.isnan() if labels.is_floating_point() else (labels == -1).unsqueeze(1).expand_as(outputs)
    changed = torch.where(missing, 100.0, outputs)
    assert number(metric, changed, labels) == number(metric, outputs, labels)


def test_f1_of_a_class_that_is_neither_guessed_nor_there_is_zero() -> None:
    outputs = torch.eye(4)[torch.tensor([0, 1, 0, 1])]
    assert number(macro_f1(4), outputs, torch.tensor([0, 1, 0, 1])) == 0.5


def test_auroc_tells_outputs_apart_that_the_sigmoid_cannot() -> None:
    outputs, labels = (
        torch.tensor([[30.0], [40.0], [50.0], [60.0]]),
        torch.tensor([[0.0], [1.0], [0.0], [1.0]]),
    )
    assert number(multilabel_macro_auroc(), outputs, labels) == pytest.approx(0.75)


def test_auroc_counts_ties_by_half() -> None:
    outputs, labels = torch.tensor([[1.0], [1.0], [2.0], [0.0]]), torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    assert number(multilabel_macro_auroc(), outputs, labels) == pytest.approx(
        sklearn.roc_auc_score(labels[:, 0], outputs[:, 0])
    )


@pytest.mark.parametrize("made", [auroc, average_precision])
def test_two_classes_are_scored_by_the_second(made: Callable[[int], Metric]) -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 2, (N,), generator=random)
    outputs = torch.randn(N, 2, generator=random).mul(2).round()  # with ties
    score = {"auroc": sklearn.roc_auc_score, "average_precision": sklearn.average_precision_score}[made(2).name]
    known = labels >= 0
    due = score(labels[known], (outputs[:, 1] - outputs[:, 0])[known])
    assert number(made(2), outputs, labels) == pytest.approx(due)


def test_probabilities_that_round_to_one_keep_their_order() -> None:
    outputs = torch.tensor([[0.0, 40.0], [0.0, 50.0], [0.0, 60.0], [0.0, 70.0]])
    assert number(auroc(2), outputs, torch.tensor([0, 1, 0, 1])) == pytest.approx(0.75)
    three = torch.tensor([[0.0, 0.0, 40.0], [0.0, 0.0, 50.0], [0.0, 0.0, 60.0], [0.0, 0.0, 70.0]])
    assert number(auroc(3), three, torch.tensor([1, 2, 0, 2])) == pytest.approx(torch.tensor([1 / 3, 1.0, 0.75]).mean())


@pytest.mark.parametrize("made", [auroc, average_precision])
def test_outputs_of_nan_have_no_score(made: Callable[[int], Metric]) -> None:
    outputs = torch.randn(6, 3).masked_fill(torch.eye(6, 3) > 0, torch.nan)
    assert torch.tensor(number(made(3), outputs, torch.arange(6) % 3)).isnan()


def test_auroc_leaves_out_labels_of_one_outcome() -> None:
    outputs = torch.tensor([[0.1, 5.0], [0.2, 1.0]])
    assert number(multilabel_macro_auroc(), outputs, torch.tensor([[0.0, 1.0], [1.0, 1.0]])) == 1.0
    assert number(multilabel_macro_auroc(), outputs, torch.ones(2, 2)) != 0
    assert torch.tensor(number(multilabel_macro_auroc(), outputs, torch.ones(2, 2))).isnan()


def test_only_mae_is_better_lower() -> None:
    directions = {name: case(name, 0.0)[0].higher_is_better for name in NAMES}
    assert [name for name, higher in directions.items() if not higher] == ["mae"]


def test_metric_names_are_the_documented_words() -> None:
    assert [case(name, 0.0)[0].name for name in NAMES] == [
        "accuracy", "macro_f1", "macro_f1", "macro_auroc", "average_precision", "auroc", "average_precision", "r2",
        "mae",
    ]  # fmt: skip

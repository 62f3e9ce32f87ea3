"""Tasks: rules for their labels, and losses equal to torch's own over the labelled examples."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import multiprocessing
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from problems import closeness, inputs, squared
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from mtlsearch import Classification, CustomTask, Data, Depth, MultiLabel, Regression, Segmentation, TokenTagging
from mtlsearch.errors import DataError, StudyError
from mtlsearch.tasks.metrics import WholeMetric
from mtlsearch.tasks.task import Target, Task

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

N, C = 24, 3
X = inputs(N, 0)
CLASS_LABELS = torch.arange(N) % C
YES_NO = (inputs(N, 1)[:, :C] > 0).float()
REALS = inputs(N, 2)[:, :C] * 4 + 7
POS = (1.0, 2.0, 0.5)


def unused(directory: object) -> Data:
    raise AssertionError("a task does not load data by itself")


def data(labels: Any, **options: Any) -> Data:
    return Data((X, labels), (X, labels), **options)


def refused(task: Task, labels: Tensor, **options: Any) -> str:
    with pytest.raises(DataError) as error:
        task.prepare(labels, task.target(data(labels, **options)))
    return str(error.value)


@pytest.mark.parametrize(
    ("task", "labels", "options", "message"),
    [
        (Classification, CLASS_LABELS * 0 + 2, {}, "task 'a': the training data must hold two classes or more, but hold 1"),
        (Classification, CLASS_LABELS * 0 - 1, {}, "task 'a': the training data must hold two classes or more, but hold 0"),
        (Classification, CLASS_LABELS, {"classes": ["x", "y"]}, "task 'a': labels must lie in 0 … 1 (or be −1 where missing), but got 2"),
        (Classification, CLASS_LABELS - 2, {"classes": ["x", "y"]}, None),
        (Classification, CLASS_LABELS + 0.5, {}, "task 'a': class labels must be whole numbers (or NaN where missing), but got 0.5"),
        (Classification, CLASS_LABELS.float() * torch.inf, {}, "task 'a': class labels must be whole numbers (or NaN where missing), but got inf"),
        (Classification, torch.stack([CLASS_LABELS] * 2, 1), {}, "task 'a': labels must have the shape [N] or [N, 1], but got (24, 2)"),
        (MultiLabel, YES_NO[:, 0], {}, "task 'a': labels must have the shape [N, C], but got (24,)"),
        (MultiLabel, YES_NO * 2, {}, "task 'a': labels must be 0, 1 or NaN, but got 2.0"),
        (MultiLabel, YES_NO, {"classes": ["x"]}, "task 'a': 3 labels need as many names, but got 1"),
        (Regression, REALS * 0 + 0.1, {}, "task 'a': the training data must hold two different values or more of each target"),
        (Regression, REALS * torch.nan, {}, "task 'a': the training data must hold two different values or more of each target"),
        (Regression, torch.where(X[:, :1] > 1, torch.inf, REALS), {}, "task 'a': labels must be finite, or NaN where missing, but got infinity"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_learned_are_refused(
    task: Any, labels: Tensor, options: dict[str, Any], message: str | None
) -> None:
    said = refused(task("a", unused), labels, **options)
    assert said == (message or said)
    assert said.startswith("task 'a'")


def told_in_little_memory(task: Task, labels: Tensor, answers: "Connection", memory: int) -> None:
    """Refuse labels in a process that may take so many bytes more; what it says."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    try:
        answers.send(refused(task, labels))
    except BaseException as error:
        answers.send(f"{type(error).__name__}: {error}"[:200])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it needs the memory of a process, as Linux tells it")
@pytest.mark.parametrize(
    ("task", "shape", "rule"),
    [
        (Classification, (), "class labels must lie in 0 … 999999"),
        (Segmentation, (2, 2), "class labels must lie in 0 … 999999"),
    ],
)
@pytest.mark.parametrize("label", [10**12, 10**12 + 0.0, 2**62], ids=str)
def test_class_labels_of_a_million_millions_take_no_memory(
    task: Any, shape: tuple[int, ...], rule: str, label: float
) -> None:
    """Names of all classes up to such a label would take terabytes."""
    labels = torch.zeros(N, *shape, dtype=torch.float64 if isinstance(label, float) else torch.int64)
    labels[-1] = label
    there, here = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=told_in_little_memory, args=(task("a", unused), labels, here, 64 << 20)
    )
    process.start()
    here.close()
    assert there.recv() == f"task 'a': {rule}, but got {int(label)}: number the classes from 0"
    process.join()


def test_a_label_outside_the_range_in_the_test_data_is_refused() -> None:
    task = Classification("a", unused)
    target = task.target(data(CLASS_LABELS))
    with pytest.raises(DataError, match=r"labels must lie in 0 … 2 \(or be −1 where missing\), but got 7$"):
        task.prepare(torch.tensor([0, 7]), target)
    with pytest.raises(DataError, match=r"but got -2$"):
        task.prepare(torch.tensor([0, -2]), target)


def test_multilabel_columns_and_weights_must_fit() -> None:
    task = MultiLabel("a", unused)
    with pytest.raises(DataError, match=r"labels must have 3 columns, but got the shape \(24, 2\)$"):
        task.prepare(YES_NO[:, :2], task.target(data(YES_NO)))
    with pytest.raises(StudyError, match=r"pos_weight must have 3 entries, but got 2$"):
        MultiLabel("a", unused, pos_weight=(1.0, 1.0)).target(data(YES_NO))


def test_targets_know_sizes_and_names() -> None:
    assert Classification("a", unused).target(data(CLASS_LABELS)).classes == ("0", "1", "2")
    named = Classification("a", unused).target(data(CLASS_LABELS, classes=["x", "y", "z", "u"]))
    assert (named.size, named.classes) == (4, ("x", "y", "z", "u"))
    assert MultiLabel("a", unused).target(data(YES_NO)).size == C
    assert Regression("a", unused).target(data(REALS[:, 0])).size == 1
    custom = CustomTask("a", unused, size=(2, 5), loss_fn=squared, metric_fn=closeness)
    assert custom.target(data(REALS)).output_shape == (2, 5)


def test_bytes_are_class_labels() -> None:
    task = Classification("a", unused)
    labels = CLASS_LABELS.to(torch.uint8)
    assert torch.equal(task.prepare(labels, task.target(data(labels))), CLASS_LABELS)


def test_regression_targets_are_standardised_by_the_labelled_training_data() -> None:
    task = Regression("a", unused)
    labels = REALS.clone()
    labels[3, 0] = torch.nan
    target = task.target(data(labels))
    prepared = task.prepare(labels, target)
    known = prepared[~prepared[:, 0].isnan(), 0]
    assert len(known) == N - 1
    assert float(known.mean()) == pytest.approx(0, abs=1e-5)
    assert float(known.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(prepared * target.std + target.mean, labels, equal_nan=True)


def test_large_targets_of_small_spread_keep_their_spread() -> None:
    labels = torch.linspace(1e6, 1e6 + 4, N, dtype=torch.float64)
    assert float(Regression("a", unused).target(data(labels)).std) == pytest.approx(
        float(labels.float().double().std(correction=0)), rel=1e-6
    )


def torch_loss(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Plain torch over the labelled entries."""
    if isinstance(task, Classification):
        known = labels >= 0
        return F.cross_entropy(outputs[known], labels[known], label_smoothing=task.label_smoothing)
    if isinstance(task, MultiLabel):
        weight = torch.tensor(task.pos_weight or [1.0] * C, dtype=outputs.dtype).expand_as(outputs)
        known = ~labels.isnan()
        return F.binary_cross_entropy_with_logits(
            outputs[known], labels[known].to(outputs.dtype), pos_weight=weight[known]
        )
    assert isinstance(task, Regression)
    known = ~labels.isnan()
    loss = F.mse_loss if task.loss_name == "mse" else F.huber_loss
    return loss(outputs[known], labels[known].to(outputs.dtype))


LOSSES = [
    (Classification("a", unused), CLASS_LABELS),
    (Classification("a", unused, label_smoothing=0.1), CLASS_LABELS),
    (MultiLabel("a", unused), YES_NO),
    (MultiLabel("a", unused, pos_weight=POS), YES_NO),
    (Regression("a", unused), REALS),
    (Regression("a", unused, loss_name="huber"), REALS),
]


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize(("task", "labels"), LOSSES)
def test_loss_and_gradient_are_torchs_over_the_labelled(task: Task, labels: Tensor, missing: float) -> None:
    gone = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < missing
    labels = torch.where(gone, torch.nan if labels.is_floating_point() else -1, labels)
    ours = inputs(N, 5)[:, :C].double().requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    loss, reference = task.loss(ours, labels), torch_loss(task, plain, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    reference.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-6)
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-6, atol=1e-9)
    entries = gone if gone.ndim == 2 else gone.unsqueeze(1).expand_as(ours)
    assert (ours.grad[entries] == 0).all()


CUSTOM = CustomTask("a", unused, size=1, loss_fn=squared, metric_fn=closeness)


@pytest.mark.parametrize(("task", "labels"), [*LOSSES, (CUSTOM, REALS[:, 0])])
def test_a_batch_without_labels_has_the_loss_and_the_gradient_zero(task: Task, labels: Tensor) -> None:
    labels = torch.full_like(labels, torch.nan if labels.is_floating_point() else -1)
    outputs = inputs(N, 5)[:, : 1 if isinstance(task, CustomTask) else C].clone().requires_grad_()
    loss = task.loss(outputs, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


def test_regression_keeps_the_labels_precision_where_outputs_are_bf16() -> None:
    outputs, labels = torch.zeros(1, 1, dtype=torch.bfloat16), torch.full((1, 1), 1.001)
    assert float(Regression("a", unused).loss(outputs, labels)) == pytest.approx(1.001**2, rel=1e-6)


def test_custom_task_takes_its_own_loss_and_metric_over_the_labelled() -> None:
    labels = REALS[:, 0].clone()
    labels[::3] = torch.nan
    known = ~labels.isnan()
    outputs = inputs(N, 5)[:, :1].clone().requires_grad_()
    loss = CUSTOM.loss(outputs, labels)
    error = outputs.detach()[known, 0] - labels[known]
    assert float(loss.detach()) == pytest.approx(float(error.square().mean()))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert gradient.isfinite().all()
    assert (gradient[~known] == 0).all()
    metric = CUSTOM.metric(Target(1))
    assert isinstance(metric, WholeMetric)
    assert float(metric.compute(outputs.detach(), labels)) == pytest.approx(-float(error.abs().mean()))


def test_class_labels_may_be_a_column_flags_or_reals_with_gaps() -> None:
    task, yes = Classification("a", unused), CLASS_LABELS > 0
    target = task.target(data(yes))
    assert (target.size, target.classes) == (2, ("0", "1"))
    for labels in (yes, yes.unsqueeze(1), yes.float(), yes.to(torch.uint16), yes.float().unsqueeze(1)):
        assert torch.equal(task.prepare(labels, task.target(data(labels))), yes.long())
    gaps = torch.where(torch.arange(N) < 5, torch.nan, yes.float())
    assert task.prepare(gaps, target)[:6].tolist() == [-1, -1, -1, -1, -1, 1 if yes[5] else 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_class_weights_are_torchs(missing: float, smoothing: float) -> None:
    task = Classification("a", unused, class_weights=POS, label_smoothing=smoothing)
    labels = torch.where(torch.rand(N, generator=torch.Generator().manual_seed(0)) < missing, -1, CLASS_LABELS)
    ours = inputs(N, 5)[:, :C].double().requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    loss = task.loss_of(task.target(data(CLASS_LABELS)), torch.device("cpu"))(ours, labels)
    reference = F.cross_entropy(
        plain, labels, torch.tensor(POS, dtype=plain.dtype), ignore_index=-1, label_smoothing=smoothing
    )
    loss.backward()  # type: ignore[no-untyped-call]
    reference.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-6)
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-6, atol=1e-9)


def test_balanced_class_weights_are_scikit_learns() -> None:
    labels = torch.tensor([0] * 12 + [1] * 8 + [2] * 3 + [-1])
    target = Classification("a", unused, class_weights="balanced").target(data(labels))
    due = compute_class_weight("balanced", classes=np.arange(3), y=labels[:-1].numpy())
    assert target.balanced.tolist() == pytest.approx(due.tolist())


def test_a_batch_without_labels_has_a_weighted_loss_of_zero() -> None:
    task = Classification("a", unused, class_weights="balanced")
    loss = task.loss_of(task.target(data(CLASS_LABELS)), torch.device("cpu"))
    outputs = inputs(N, 5)[:, :C].clone().requires_grad_()
    found = loss(outputs, torch.full((N,), -1))
    found.backward()  # type: ignore[no-untyped-call]
    assert float(found.detach()) == 0
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


KNOWN_METRICS = "accuracy or macro_f1 or auroc or average_precision"


@pytest.mark.parametrize(
    ("kind", "options", "rule"),
    [
        (Classification, {"metric_name": "auc"}, f"metric_name must be {KNOWN_METRICS}, but got 'auc'"),
        (Classification, {"metric_name": "rubbish"}, f"metric_name must be {KNOWN_METRICS}, but got 'rubbish'"),
        (Classification, {"label_smoothing": 1.0}, "label_smoothing must lie in [0, 1), but got 1.0"),
        (Classification, {"class_weights": "auto"}, "class_weights must be balanced or a tuple of numbers, but got 'auto'"),
        (Classification, {"class_weights": (1.0, 0.0)}, "class_weights must be finite numbers above 0, but got 0.0"),
        (MultiLabel, {"metric_name": "auroc"}, "metric_name must be macro_auroc or macro_f1, but got 'auroc'"),
        (MultiLabel, {"pos_weight": (1.0, -1.0)}, "pos_weight must be finite numbers above 0, but got -1.0"),
        (Regression, {"loss_name": "l1"}, "loss_name must be mse or huber, but got 'l1'"),
        (Regression, {"metric_name": "rmse"}, "metric_name must be r2 or mae, but got 'rmse'"),
        (Depth, {"metric_name": "mae"}, "metric_name must be abs_err or rel_err, but got 'mae'"),
        (TokenTagging, {"label_smoothing": -0.1}, "label_smoothing must lie in [0, 1), but got -0.1"),
    ],
)  # fmt: skip
def test_an_unknown_option_is_refused_when_the_task_is_made(kind: Any, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(StudyError) as error:
        kind("a", unused, **options)
    assert str(error.value) == f"task 'a': {rule}"


def test_class_weights_must_fit_the_classes() -> None:
    with pytest.raises(StudyError, match=r"class_weights must have 3 entries, but got 2$"):
        Classification("a", unused, class_weights=(1.0, 1.0)).target(data(CLASS_LABELS))


def test_options_that_earlier_versions_did_not_know_are_recorded_only_where_they_are_used() -> None:
    assert Classification("a", unused).options == {"metric_name": "accuracy", "label_smoothing": 0.0}
    assert Classification("a", unused, class_weights="balanced").options["class_weights"] == "balanced"


def test_options_tell_two_definitions_of_a_task_apart() -> None:
    assert Regression("a", unused).options != Regression("a", unused, loss_name="huber").options
    assert MultiLabel("a", unused, pos_weight=POS).options["pos_weight"] == list(POS)
    assert CUSTOM.options["loss_fn"] == "squared"


def test_every_label_is_answered_by_its_name_and_probability() -> None:
    one = MultiLabel("toxic", unused)
    target = one.target(data(YES_NO[:, :1]))
    assert target.classes == ("toxic",)
    outputs = torch.tensor([[2.0], [-2.0]])
    yes, no = one.predictions(outputs, {"classes": ["toxic"]})  # type: ignore[typeddict-item]
    likely = float(torch.tensor(2.0).sigmoid())
    assert (yes["labels"], no["labels"]) == (["toxic"], [])
    assert one.in_lines(yes) == [("toxic: yes", f"{likely:.4f}")]
    assert one.in_lines(no) == [("toxic: no", f"{likely:.4f}")]
    assert one.in_words(no) == ("toxic: no", f"{likely:.4f}")
    columns = one.answer_columns(outputs, {"classes": ["toxic"]}, None)  # type: ignore[typeddict-item]
    assert columns["prediction.toxic"] == ["yes", "no"]
    assert columns["probability.toxic"] == pytest.approx([likely, 1 - likely])


def test_values_become_a_column_each() -> None:
    outputs = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    about: Any = {}
    assert Regression.answer_columns(outputs, about, None) == {"prediction.1": (1.0, 3.0), "prediction.2": (2.0, 4.0)}
    assert Regression.answer_columns(outputs[:, :1], about, None) == {"prediction": (1.0, 3.0)}

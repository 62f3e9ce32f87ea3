"""The weighting methods: each follows its paper's equations, and gives the same in a population as alone."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import known_weights as known
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from population_asserts import (
    TOLERANCE,
    FailsOnce,
    alone,
    assert_as_alone,
    assert_population_equals_solo,
    double,
)
from problems import NOWHERE, compiles, config, disjoint, joint, loaded
from torch import Tensor, nn

from mtlsearch import Config, CustomTask, Data, Study
from mtlsearch.errors import UsageError
from mtlsearch.study.loaded import load_data
from mtlsearch.training import gradient_weighting
from mtlsearch.training.batches import epoch_batches
from mtlsearch.training.gradient_weighting import GRADIENT_BASED, aggregator, project
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Captured, Compiled, Eager, Fused, Steps, has_compiler
from mtlsearch.training.seeds import epoch_keys
from mtlsearch.training.solo import SoloMember
from mtlsearch.training.trainer import Training
from mtlsearch.training.weighting import LOG_VARIANCE, METHODS, normals

Array = NDArray[np.float64]
LOSS_BASED = tuple(name for name in METHODS if name != "static")
EPOCHS = 6  # of 9 steps
RATE = 0.05


# The papers' equations on a quadratic problem: mean squares of one map θ for two tasks.


def circle() -> tuple[Array, list[Array]]:
    """The inputs [N, 2] and each task's labels [N] of the problem."""
    data = known.circle(NOWHERE)
    x = data.train.inputs.double().numpy()
    return x, [data.column(data.train, task).double().numpy() for task in ("clean", "noisy")]


class ByHand:
    """Gradient descent on θ, batch by batch, with the losses and gradients in closed form."""

    def __init__(self, training: Training, theta: Array) -> None:
        self.training, self.theta = training, theta
        self.x, self.labels = circle()

    def batches(self) -> list[list[Array]]:
        """The rows of each step of each epoch."""
        study = self.training.loaded.study
        loaded, seed = self.training.loaded, self.training.seed
        epochs = [epoch_batches(loaded, seed, epoch)[0] for epoch in range(study.epochs)]
        return [[rows.numpy() for rows in batches] for batches in epochs]

    def losses(self, rows: Array) -> Array:
        errors = [self.x[rows] @ self.theta - y[rows] for y in self.labels]
        return np.array([np.mean(e**2) for e in errors])

    def gradients(self, rows: Array) -> Array:
        """[T, 2]"""
        return np.array([2 * np.mean((self.x[r] @ self.theta - y[r]) * self.x[r].T, 1) for r, y in
                         ((rows, y) for y in self.labels)])  # fmt: skip

    def move(self, weights: Array, rows: Array) -> None:
        self.theta = self.theta - RATE * weights @ self.gradients(rows)


def softmax(x: Array) -> Array:
    raised = np.exp(x - x.max())
    return np.asarray(raised / raised.sum())


def uncertainty(run: ByHand) -> None:
    s = np.zeros(2)
    for epoch in run.batches():
        for rows in epoch:
            losses = run.losses(rows)
            run.move(np.exp(-s), rows)
            s = s - RATE * (1 - np.exp(-s) * losses)


def random_weights(run: ByHand) -> None:
    for number, epoch in enumerate(run.batches()):
        key = epoch_keys(run.training.seed, [number])[0]
        for step, rows in enumerate(epoch):
            run.move(softmax(normals(key, torch.tensor(step), 2).numpy()), rows)


def dynamic_average(run: ByHand) -> None:
    means: list[Array] = []
    for epoch in run.batches():
        weights = 2 * softmax(means[-1] / means[-2] / 2) if len(means) >= 2 else np.ones(2)
        seen = []
        for rows in epoch:
            seen.append(run.losses(rows))
            run.move(weights, rows)
        means.append(np.mean(seen, axis=0))


def famo(run: ByHand) -> None:
    xi, m, v, t = np.zeros(2), np.zeros(2), np.zeros(2), 0
    for epoch in run.batches():
        for rows in epoch:
            z, before = softmax(xi), run.losses(rows)
            c = 1 / np.sum(z / (before + 1e-8))
            run.move(c * z / (before + 1e-8), rows)
            delta = np.log(before + 1e-8) - np.log(run.losses(rows) + 1e-8)
            jacobian = np.diag(z) - np.outer(z, z)
            gradient = jacobian.T @ delta + 0.001 * xi
            t, m, v = t + 1, 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            xi = xi - 0.025 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def geometric(run: ByHand) -> None:
    for epoch in run.batches():
        for rows in epoch:
            losses = run.losses(rows)
            run.move(np.sqrt(losses.prod()) / (2 * losses), rows)


def scale_invariant(run: ByHand) -> None:
    for epoch in run.batches():
        for rows in epoch:
            run.move(1 / run.losses(rows), rows)


def pcgrad(run: ByHand) -> None:
    for epoch in run.batches():
        for rows in epoch:
            first, second = run.gradients(rows)
            conflict = min(first @ second, 0.0)
            own = first - conflict / (second @ second) * second, second - conflict / (first @ first) * first
            run.theta = run.theta - RATE * (own[0] + own[1])


def mgda(run: ByHand) -> None:
    for epoch in run.batches():
        for rows in epoch:
            first, second = run.gradients(rows)
            apart = first - second
            share = np.clip(second @ -apart / (apart @ apart), 0, 1)
            run.theta = run.theta - RATE * (share * first + (1 - share) * second)


BY_HAND: dict[str, Callable[[ByHand], None]] = {
    "uncertainty": uncertainty,
    "rlw": random_weights,
    "dwa": dynamic_average,
    "famo": famo,
    "geometric": geometric,
    "scale-invariant": scale_invariant,
    "pcgrad": pcgrad,
    "mgda": mgda,
}


def quadratic(**changes: Any) -> Study:
    default = {"optimizer": "sgd", "learning_rate": RATE, "momentum": 0.0}
    tasks = known.study.tasks
    values = {"default": default, "epochs": 15, "batch_size": 64, **changes}
    return Study(tasks=tasks, model=lambda config: known.OneMap(), space={}, **values)


@pytest.mark.parametrize("method", BY_HAND)
def test_method_follows_its_papers_equations(method: str) -> None:
    """After 60 steps in 15 epochs, θ is where the equations lead."""
    if method in GRADIENT_BASED:
        pytest.importorskip("torchjd")
    study = quadratic()
    training = double(study, method=method)
    member = SoloMember(training, 0, study.default_config(), entry_epoch=0, seed=training.seed)
    run = ByHand(training, member.model.get_parameter("map.weight").detach().numpy()[0].copy())
    BY_HAND[method](run)
    start = member.model.get_parameter("map.weight").detach().clone()
    for _ in range(study.epochs):
        result = member.advance()
        assert result.reason is None
    end = member.model.get_parameter("map.weight").detach()
    assert float((end - start).abs().max()) > 0.1
    np.testing.assert_allclose(end.numpy()[0], run.theta, rtol=0, atol=TOLERANCE)


def test_log_variances_settle_where_the_variance_is_the_loss() -> None:
    """∂/∂s (e^−s L + s) = 0 at s = log L."""
    method, losses = METHODS["uncertainty"], torch.tensor([0.3, 4.0], dtype=torch.float64)
    s = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        (gradient,) = torch.autograd.grad(method.total(losses, losses, {LOG_VARIANCE: s}), s)
        s = (s - 0.1 * gradient).detach().requires_grad_()
    torch.testing.assert_close(s.detach(), losses.log(), rtol=0, atol=1e-9)


def test_random_weights_are_softmax_of_standard_normal_numbers() -> None:
    key = torch.tensor(5, dtype=torch.int32)
    drawn = torch.stack([normals(key, torch.tensor(step), 4) for step in range(2000)])
    assert drawn.mean(0).abs().max() < 4 / math.sqrt(2000)
    assert (drawn.std(0) - 1).abs().max() < 4 / math.sqrt(2 * 2000)
    assert (drawn.T.corrcoef() - torch.eye(4)).abs().max() < 4 / math.sqrt(2000)
    weights = METHODS["rlw"].draw(key, torch.tensor(7), torch.ones(4, dtype=torch.float64))
    assert torch.equal(weights, drawn[7].softmax(0))
    assert not torch.equal(normals(key + 1, torch.tensor(7), 4), drawn[7])


def test_geometric_and_scale_invariant_point_in_one_direction() -> None:
    losses = torch.tensor([0.2, 3.0, 1.5], dtype=torch.float64, requires_grad=True)
    slopes = [
        torch.autograd.grad(METHODS[name].total(losses, losses, {}), losses)[0]
        for name in ("geometric", "scale-invariant")
    ]
    mean = losses.detach().prod() ** (1 / 3)
    torch.testing.assert_close(slopes[0], slopes[1] * mean / 3)


def test_famo_step_is_a_convex_combination_of_the_gradients() -> None:
    losses = torch.tensor([0.2, 3.0, 1.5], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([0.4, -1.0, 0.1], dtype=torch.float64)
    (weights,) = torch.autograd.grad(METHODS["famo"].total(losses, losses, {"logits": logits}), losses)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    z = logits.softmax(0) / losses.detach()
    torch.testing.assert_close(weights, z / z.sum(), rtol=1e-6, atol=0)


# A population gives what each member gives alone.


def mixed(study: Study) -> list[Config]:
    return [
        config(study, optimizer="adam", hidden=12, norm="batch", dropout=0.3),
        config(study, optimizer="sgd", hidden=5, norm="layer", clip_norm=0.5),
        config(study, optimizer="adamw", weight_decay=0.05, hidden=9),
        config(study, optimizer="rmsprop", hidden=16, learning_rate=1e-3, momentum=0.5),
    ]


def clipped(**changes: Any) -> Study:
    """The disjoint study with clipping of gradients."""
    study = disjoint(epochs=EPOCHS, **changes)
    return disjoint(epochs=EPOCHS, default={**study.default, "clip_norm": 10.0}, **changes)


@pytest.mark.parametrize("steps", [Eager, Fused])
@pytest.mark.parametrize("method", LOSS_BASED)
def test_population_equals_solo(method: str, steps: type[Steps]) -> None:
    """54 steps, mixed optimizers, norms, widths and dropout rates in one lane."""
    study = clipped()
    assert_population_equals_solo(study, mixed(study), steps(), method=method)


@pytest.mark.parametrize("method", [name for name in LOSS_BASED if not METHODS[name].positive])
def test_population_equals_solo_on_joint_tasks_with_missing_labels(method: str) -> None:
    study = joint(missing=0.2, epochs=3)
    configs = [config(study, hidden=7), config(study, norm="batch")]
    assert_population_equals_solo(study, configs, method=method)


@pytest.mark.parametrize("method", ["uncertainty", "dwa", "famo"])
def test_refilled_slot_forgets_the_methods_state(method: str) -> None:
    study = clipped()
    trainer = PopulationTrainer(double(study, method=method), 1, Eager(), pytest.fail)
    trainer.add(0, config(study, learning_rate=0.05))
    for _ in range(3):
        trainer.advance()
    trainer.drop(0)
    second = config(study, hidden=11, norm="batch")
    entry = trainer.add(1, second)
    results = [trainer.advance()[0] for _ in range(EPOCHS)]
    assert entry == 3
    assert_as_alone(trainer, 1, second, results, entry)


@pytest.mark.parametrize("method", ["uncertainty", "dwa", "famo"])
def test_members_that_move_between_lanes_take_the_methods_state_along(method: str) -> None:
    study = clipped()
    trainer = PopulationTrainer(double(study, method=method), 3, FailsOnce(slots=3, at=23))
    configs = mixed(study)[:3]
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(EPOCHS) for result in trainer.advance()]
    assert [lane.slots for lane in trainer.lanes] == [2, 2]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


def test_static_weights_keep_no_state_and_learn_nothing() -> None:
    study = disjoint()
    trainer = PopulationTrainer(Training(loaded(study)), 1, Eager())
    trainer.add(0, study.default_config())
    (lane,) = trainer.lanes
    assert lane.state.weighting == {}
    assert lane.state.params.keys() == dict(lane.program.base.named_parameters()).keys()


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, so nothing is compiled here")
@pytest.mark.parametrize("method", ["uncertainty", "rlw", "dwa", "famo"])
def test_compiled_step_equals_solo(method: str) -> None:
    study = disjoint(epochs=EPOCHS, space={})  # without norms there is less to compile
    configs = [config(study, dropout=0.3), config(study, optimizer="sgd")]
    notices: list[str] = []
    assert_population_equals_solo(study, configs, Compiled(notices.append), method=method)
    assert [notice for notice in notices if "compiling the training step" not in notice] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("steps", ["fused", "compiled"])
@pytest.mark.parametrize("method", LOSS_BASED)
def test_captured_step_equals_solo_on_cuda(method: str, steps: str) -> None:
    study = clipped()
    training = Training(load_data(study, NOWHERE, "cuda"), 3, dtype=torch.float64, method=method)
    configs = mixed(study)[:2]
    inner = Fused(torch.device("cuda")) if steps == "fused" else Compiled(compiles)
    trainer = PopulationTrainer(training, 2, Captured(inner), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(EPOCHS) for result in trainer.advance()]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


class Scaled(nn.Module):
    """A head per task; the outputs of one are multiplied by a number that differs between members."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({task: nn.Linear(6, 1) for task in ("a", "b")})
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scale = {"a": 1.0, "b": self.get_buffer("scale")}
        return {task: self.heads[task](x) * scale[task] for task, x in inputs.items()}


def magnitudes() -> Study:
    """Two tasks whose loss is the size of their outputs."""

    def source(directory: Path) -> Data:
        x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
        return Data((x, {"a": x[:, 0], "b": x[:, 1]}), (x, {"a": x[:, 0], "b": x[:, 1]}), validation=32)

    def size(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.abs().squeeze(1)

    def metric(outputs: Tensor, labels: Tensor) -> Tensor:
        return -outputs.abs().mean()

    return Study(
        tasks=[CustomTask(name, source, size=1, loss_fn=size, metric_fn=metric) for name in ("a", "b")],
        model=lambda config: Scaled(config.number("scale", 1.0)),
        space={},
        default={"scale": 1.0},
        epochs=2,
        batch_size=16,
    )


@pytest.mark.parametrize("method", ["geometric", "scale-invariant"])
def test_loss_of_zero_fails_its_trial_alone_and_says_why(method: str) -> None:
    study = magnitudes()
    trainer = PopulationTrainer(double(study, method=method), 3, Eager(), pytest.fail)
    configs = [config(study, learning_rate=1e-4, scale=scale) for scale in (1.0, 0.0, 2.0)]
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(2) for result in trainer.advance()]
    reason = f"the loss of b was not positive and finite, as {method} needs it, in epoch 0, step 0"
    assert next(r.reason for r in results if r.number == 1) == reason
    assert alone(trainer.training, configs[1])[0][0].reason == reason
    for number in (0, 2):
        assert_as_alone(trainer, number, configs[number], results)


# Gradient-based methods.


def test_projection_onto_the_dual_cone_conflicts_with_no_gradient() -> None:
    """The projection of each row u has no negative product with any gradient."""
    matrix = np.random.default_rng(0).normal(size=(4, 9))
    gramian = matrix @ matrix.T
    found = project(np.eye(4), gramian)
    regular = gramian / np.trace(gramian) + 1e-4 * np.eye(4)
    assert (found @ regular >= -1e-9).all()
    assert (found >= np.eye(4) - 1e-12).all()
    # Complementary slackness: what is added to u lies where the product is zero.
    assert np.abs((found - np.eye(4)) * (found @ regular)).max() < 1e-9


def test_upgrad_gives_what_its_documentation_says() -> None:
    pytest.importorskip("torchjd")
    rows = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    found = aggregator("upgrad", 2)(rows)
    torch.testing.assert_close(found, torch.tensor([0.2929, 1.9004, 1.9004]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", GRADIENT_BASED)
def test_gradient_based_method_trains_heads_by_their_own_task_alone(method: str) -> None:
    pytest.importorskip("torchjd")
    study = disjoint()
    try:
        aggregator(method, 2)
    except UsageError as error:
        pytest.skip(str(error))
    training = double(study, method=method)
    member = SoloMember(training, 0, config(study, dropout=0.0), entry_epoch=0, seed=0)
    batches = epoch_batches(training.loaded, 0, 0)
    same = SoloMember(double(study, method="static"), 0, config(study, dropout=0.0), entry_epoch=0, seed=0)
    member.step(batches, 0)
    same.step(batches, 0, torch.ones(2, dtype=torch.float64))
    by_sum = dict(same.model.named_parameters())
    shared = []
    for name, param in member.model.named_parameters():
        assert param.grad is not None
        if name.startswith("heads"):
            torch.testing.assert_close(param.grad, by_sum[name].grad)
        else:
            shared.append(param.grad)
    assert all(grad.isfinite().all() for grad in shared)
    assert any(grad.abs().max() > 0 for grad in shared)
    assert member.advance().reason is None


def test_gradient_based_method_fails_on_nan_with_the_task_named() -> None:
    pytest.importorskip("torchjd")
    from problems import broken

    study = broken("b", after=3)
    (result,) = alone(double(study, method="upgrad"), study.default_config())[0]
    assert result.reason == "the loss of b was not finite in epoch 0, step 3"


def test_missing_extra_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_weighting, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"upgrad needs TorchJD: pip install 'mtlsearch\[jd\]'"):
        aggregator("upgrad", 2)

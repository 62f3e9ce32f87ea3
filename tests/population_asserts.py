"""Small studies, and the assertion that a trial in a population gives what it gives alone."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtlsearch import (
    Classification,
    Config,
    Data,
    MultiLabel,
    Regression,
    SharedTrunk,
    Study,
    choice,
    integer,
)
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.lane import Lane, plain_step
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

EPOCHS = 3
ROWS = 400  # 25 steps of 16 an epoch: 75 steps in all
TOLERANCE = 1e-8
FEATURES = 12
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
NORMS = ("none", "batch", "layer")


def random_inputs(seed: int, rows: int = ROWS) -> Tensor:
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(seed))


def classes(seed: int, rows: int = ROWS, missing: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    labels = (random_inputs(seed, rows)[:, :3] + 0.3 * torch.randn(rows, 3, generator=generator)).argmax(1)
    return torch.where(torch.rand(rows, generator=generator) < missing, -1, labels)


def disjoint_a(directory):
    return Data((random_inputs(0), classes(0)), (random_inputs(1), classes(1)), validation=100)


def disjoint_b(directory):
    small = ROWS // 3  # it goes round
    return Data((random_inputs(2, small), classes(2, small)), (random_inputs(3), classes(3)), validation=40)


def joint(directory):
    def labels(seed):
        x = random_inputs(seed)
        many = (x[:, :4] > 0).float()
        many[::7, 1] = torch.nan
        price = x @ torch.linspace(-1, 1, FEATURES)
        price[::5] = torch.nan
        return {"kind": classes(seed, missing=0.2), "tags": many, "price": price}

    return Data((random_inputs(4), labels(4)), (random_inputs(5), labels(5)), validation=100)


def disjoint_study(model=SharedTrunk, **changes) -> Study:
    def build(config):
        names = ("hidden", "dropout", "norm", "depth")
        return model(FEATURES, {"a": 3, "b": 3}, **{name: config[name] for name in names})

    default = {"hidden": 8, "dropout": 0.0, "norm": "none", "depth": 1, "clip_norm": 5.0}
    study = Study(
        tasks=[Classification("a", disjoint_a), Classification("b", disjoint_b)],
        model=build,
        space={"hidden": integer(4, 24), "norm": choice(*NORMS)},
        default=default,
        epochs=EPOCHS,
        batch_size=16,
    )
    return replace(study, **changes)


def joint_study() -> Study:
    def build(config):
        heads = {"kind": 3, "tags": 4, "price": 1}
        return SharedTrunk(FEATURES, heads, hidden=config["hidden"], dropout=0.3, norm=config["norm"])

    return Study(
        tasks=[
            Classification("kind", joint),
            MultiLabel("tags", joint, metric_name="macro_f1"),
            Regression("price", joint),
        ],
        model=build,
        space={"hidden": integer(4, 24), "norm": choice(*NORMS)},
        default={"hidden": 8, "norm": "layer"},
        epochs=EPOCHS,
        batch_size=16,
    )


def config(study: Study, weights: Sequence[float] | None = None, **values) -> Config:
    weights = weights or [1 / len(study.tasks)] * len(study.tasks)
    return Config({**study.default, **values}, dict(zip(study.task_names, weights, strict=True)))


def double(study: Study, **options) -> Training:
    return Training(load_data(study, None), seed=3, dtype=torch.float64, **options)


def alone(training: Training, config: Config, entry_epoch: int = 0):
    """The results and the best parameters of a trial that is trained alone."""
    trainer = SoloTrainer(training)
    trainer.add(0, config, entry_epoch=entry_epoch)
    results = [trainer.advance()[0]]
    while not results[-1].finished:
        results.append(trainer.advance()[0])
    return results, trainer.state(0)


def assert_same_trial(training: Training, config: Config, results, state, entry_epoch: int = 0):
    expected, expected_state = alone(training, config, entry_epoch)
    assert [r.epoch for r in results] == [r.epoch for r in expected]
    for got, due in zip(results, expected, strict=True):
        assert got.score == pytest.approx(due.score, abs=TOLERANCE)
        assert got.best_epoch == due.best_epoch
    assert state.keys() == expected_state.keys()
    for name, tensor in expected_state.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


def assert_as_alone(trainer: PopulationTrainer, number: int, config: Config, results, entry_epoch: int = 0):
    """Assert that trial `number` of a population is what it is alone, by all `results` of the population."""
    own = [result for result in results if result.number == number]
    assert_same_trial(trainer.training, config, own, trainer.state(number), entry_epoch)


def assert_population_equals_solo(
    study: Study, configs: Sequence[Config], steps=None, size: int | None = None, method: str = "static"
):
    training = double(study, method=method)
    trainer = PopulationTrainer(training, size or len(configs), steps or Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    results = [result for _ in range(study.epochs) for result in trainer.advance()]
    for number, member in enumerate(configs):
        assert_as_alone(trainer, number, member, results)


class FailsOnce:
    """Steps that run out of memory at one step of lanes with many slots, as a device does."""

    name, by_kernels = "eager", False

    def __init__(self, slots: int, at: int):
        self.slots, self.at, self.calls = slots, at, 0

    def of(self, program, slots):
        def step(lane: Lane, tick: int) -> None:
            self.calls += 1
            if slots >= self.slots and self.calls == self.at:
                raise torch.OutOfMemoryError("out of memory")
            plain_step(lane, tick)

        return step

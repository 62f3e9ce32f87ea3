"""A config's optimizer and schedule: torch's optimizers with torch's defaults, and values that are refused."""

import math
from typing import Any

import pytest
import torch
from problems import inputs
from torch import nn

from mtlsearch import Config
from mtlsearch.errors import StudyError
from mtlsearch.training.optim import OPTIMIZERS, OptimizerSettings

TORCHS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": lambda p, **options: torch.optim.AdamW(p, **{"weight_decay": 0.0, **options}),
    "rmsprop": lambda p, **options: torch.optim.RMSprop(p, **{"lr": 1e-3, **options}),
    "sgd": lambda p, **options: torch.optim.SGD(p, **{"momentum": 0.9, **options}),
}


def settings(**values: Any) -> OptimizerSettings:
    return OptimizerSettings.of(Config(values, {"a": 1.0}))


def trained(build: Any, steps: int = 12) -> torch.Tensor:
    """The weights of a small regression after some steps."""
    torch.manual_seed(0)
    model, x = nn.Linear(6, 3), inputs(32, 0)
    optimizer = build(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - x[:, :3].abs()).square().mean().backward()
        optimizer.step()
    return model.weight.detach().clone()


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_are_torchs_with_torchs_defaults(optimizer: str, options: dict[str, float]) -> None:
    ours = trained(settings(optimizer=optimizer, **options).build)
    assert torch.allclose(ours, trained(lambda p: TORCHS[optimizer](p, **options)), rtol=1e-5, atol=1e-7)


def test_learning_rate_and_momentum_are_read() -> None:
    ours = trained(settings(optimizer="rmsprop", learning_rate=0.01, momentum=0.5).build)
    assert torch.allclose(ours, trained(lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5)))


def test_an_empty_config_is_adam_at_a_thousandth() -> None:
    assert settings() == OptimizerSettings("adam", 1e-3, 0.0, 0.0, "constant", 0.0, math.inf)
    assert settings(optimizer="sgd").momentum == 0.9
    assert settings(clip_norm=None).clip_norm == math.inf


def test_a_constant_schedule_is_constant() -> None:
    assert {settings().rate_factor(step, 100) for step in range(100)} == {1.0}


def test_a_cosine_schedule_falls_from_one_to_nearly_zero() -> None:
    rule = settings(schedule="cosine")
    factors = [rule.rate_factor(step, 100) for step in range(100)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert factors == sorted(factors, reverse=True)
    assert 0 < factors[-1] < 1e-3


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_linearly_and_then_the_schedule_starts(schedule: str) -> None:
    rule = settings(schedule=schedule, warmup=0.1)
    factors = [rule.rate_factor(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1
    assert max(factors) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "lion"}, "optimizer must be one of adam, adamw, rmsprop, sgd, but got 'lion'"),
        ({"schedule": "step"}, "schedule must be one of constant, cosine, but got 'step'"),
        ({"learning_rate": "fast"}, "hyperparameter 'learning_rate' must be a number, but got 'fast'"),
        ({"momentum": 1.0}, "momentum and warmup must lie in [0, 1), but got 1.0 and 0.0"),
        ({"warmup": -0.1}, "momentum and warmup must lie in [0, 1), but got 0.0 and -0.1"),
        *(
            (
                {name: value},
                "learning_rate and clip_norm must be above 0 and weight_decay at least 0, but got"
                f" {value if name == 'learning_rate' else 0.001},"
                f" {value if name == 'clip_norm' else math.inf}"
                f" and {value if name == 'weight_decay' else 0.0}",
            )
            for name, value in [
                ("learning_rate", 0.0),
                ("learning_rate", math.nan),
                ("learning_rate", math.inf),
                ("weight_decay", -0.1),
                ("weight_decay", math.nan),
                ("clip_norm", 0.0),
                ("clip_norm", math.nan),
            ]
        ),
    ],
)
def test_values_that_no_optimizer_takes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as error:
        settings(**values)
    assert str(error.value) == message

"""TPE over many dimensions gives what plain TPE gives, up to the digits of its draws."""

import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from mtlsearch.tuning.samplers.crowds import MANY, CrowdEstimator, quantiles
from mtlsearch.tuning.samplers.density import CrowdDensity
from mtlsearch.tuning.samplers.tpe import SharedTPESampler

SPACE: dict[str, BaseDistribution] = {
    "hidden": IntDistribution(16, 128, log=True),
    **{f"ratio {i}": FloatDistribution(-1.0, 1.0) for i in range(MANY // 2)},
    "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "clip": FloatDistribution(0.0, 1.0, step=0.25),
    **{f"wide {i}": FloatDistribution(0.0, 5.0) for i in range(MANY // 2)},
}


def params_of(sampler: TPESampler) -> list[dict[str, Any]]:
    """The params of a search in which a trial is often still in training while the next ones are asked."""
    study, chance = optuna.create_study(direction="maximize", sampler=sampler), random.Random(2)
    flying: list[optuna.Trial] = []
    for _ in range(30):
        flying.append(study.ask(SPACE))
        if chance.random() < 0.8 or len(flying) > 3:
            study.tell(flying.pop(chance.randrange(len(flying))), chance.random())
    return [trial.params for trial in study.trials]


def test_suggestions_are_those_of_plain_tpe_to_seven_digits() -> None:
    plain, crowd = params_of(TPESampler(seed=1)), params_of(SharedTPESampler(seed=1))
    assert len(plain) == 30
    for one, other in zip(crowd, plain, strict=True):
        assert one.pop("optimizer") == other.pop("optimizer")
        assert one == pytest.approx(other, rel=1e-6, abs=1e-7)


def observed(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    found = {}
    for name, d in SPACE.items():
        if isinstance(d, CategoricalDistribution):
            found[name] = generator.integers(0, 3, rows).astype(float)
        else:
            step = 0.25 if name == "clip" else 0.0
            value = d.low + (d.high - d.low) * generator.random(rows)
            found[name] = np.round(value / step) * step if step else value
    return found


@pytest.mark.parametrize("rows", [0, 1, 2, 40])
def test_kernels_are_optunas(rows: int) -> None:
    parameters = TPESampler(seed=0)._parzen_estimator_parameters
    plain, crowd = (kind(observed(rows), SPACE, parameters) for kind in (_ParzenEstimator, CrowdEstimator))
    np.testing.assert_allclose(crowd._mixture_distribution.weights, plain._mixture_distribution.weights)
    for one, other in zip(
        crowd._mixture_distribution.distributions, plain._mixture_distribution.distributions, strict=True
    ):
        assert type(one) is type(other)
        for mine, due in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, due, rtol=1e-12)


def test_densities_are_optunas_up_to_rounding() -> None:
    parameters = TPESampler(seed=0)._parzen_estimator_parameters
    crowd = CrowdEstimator(observed(40), SPACE, parameters)
    samples = crowd.sample(np.random.RandomState(0), 50)
    found = CrowdDensity(crowd._mixture_distribution).log(crowd._transform(samples))
    np.testing.assert_allclose(found, crowd.log_pdf(samples), rtol=1e-9)


@pytest.mark.parametrize("ends", [(-1e-3, 2e-3), (-100.0, 0.0), (0.0, 100.0), (-6.0, 40.0), (-1.0, 1.0)])
def test_quantiles_are_optunas(ends: tuple[float, float]) -> None:
    q = np.linspace(0.001, 0.999, 101)
    a, b = (np.full_like(q, end) for end in ends)
    np.testing.assert_allclose(quantiles(q, a, b), _truncnorm.ppf(q, a, b), rtol=1e-6, atol=1e-9)

"""Spaces, configs, and task weights that are uniform on the simplex."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from mtlsearch import Config, choice, integer, real
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.study.space import Space, fixed_value, quantiles_from_weights, weights_from_quantiles

SPACE = Space(
    {
        "hidden": integer(32, 512, log=True),
        "dropout": real(0.0, 0.7),
        "norm": choice("none", "batch", None, 3),
    },
    ("a", "b", "c"),
)
quantile = st.floats(0, 1)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_uniform_quantiles_give_weights_uniform_on_the_simplex(tasks: int) -> None:
    random = np.random.default_rng(0)
    weights = np.array([weights_from_quantiles(q) for q in random.random((4000, tasks - 1))])
    # Every weight, every sum of two and the largest weight are distributed as a flat Dirichlet's.
    for i in range(tasks):
        assert stats.kstest(weights[:, i], stats.beta(1, tasks - 1).cdf).pvalue > 1e-3
    if tasks > 2:
        assert stats.kstest(weights[:, 0] + weights[:, -1], stats.beta(2, tasks - 2).cdf).pvalue > 1e-3
    flat = random.dirichlet(np.ones(tasks), 4000)
    assert stats.ks_2samp(weights.max(1), flat.max(1)).pvalue > 1e-3


@given(st.lists(quantile, max_size=6))
def test_any_quantiles_give_weights_that_are_not_negative_and_sum_to_one(quantiles: list[float]) -> None:
    weights = weights_from_quantiles(quantiles)
    assert len(weights) == len(quantiles) + 1
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=5))
def test_weights_come_back_from_their_quantiles(shares: list[float]) -> None:
    weights = [share / sum(shares) for share in shares]
    quantiles = quantiles_from_weights(weights)
    assert all(0 <= q <= 1 for q in quantiles)
    assert weights_from_quantiles(quantiles) == pytest.approx(weights, abs=1e-6)


@given(quantile)
def test_with_two_tasks_the_quantile_is_the_first_weight(q: float) -> None:
    assert weights_from_quantiles([q]) == [q, 1 - q]
    assert quantiles_from_weights([q, 1 - q]) == [q]


@pytest.mark.parametrize("weights", [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0]])
def test_corners_of_the_simplex_come_back(weights: list[float]) -> None:
    assert weights_from_quantiles(quantiles_from_weights(weights)) == pytest.approx(weights)


def test_a_config_comes_back_from_its_params() -> None:
    config = Config({"hidden": 64, "dropout": 0.25, "norm": None, "extra": 1}, {"a": 0.2, "b": 0.3, "c": 0.5})
    params = SPACE.params(config)
    assert list(params) == ["hidden", "dropout", "norm", "weight:a", "weight:b"]
    back = SPACE.config(params, {"extra": 1, "hidden": 1})
    assert back.hyperparameters == config.hyperparameters
    assert back.task_weights == pytest.approx(config.task_weights)


def test_a_config_is_a_mapping_of_its_hyperparameters() -> None:
    config = Config({"rate": 0.1, "norm": "batch"}, {"a": 1.0})
    assert dict(config) == {"rate": 0.1, "norm": "batch"}
    assert len(config) == 2
    assert config.number("rate", 1.0) == 0.1
    assert config.number("absent", 1.5) == 1.5
    with pytest.raises(StudyError, match=r"^hyperparameter 'norm' must be a number, but got 'batch'$"):
        config.number("norm", 1.0)


@pytest.mark.parametrize(
    ("name", "text", "distribution"),
    [
        ("hidden", "128", IntDistribution(128, 128)),
        ("dropout", "0.5", FloatDistribution(0.5, 0.5)),
        ("dropout", "0", FloatDistribution(0.0, 0.0)),
        ("norm", "batch", CategoricalDistribution(["batch"])),
        ("norm", "None", CategoricalDistribution([None])),
        ("norm", "3", CategoricalDistribution([3])),
        ("weight:a", "0.25", FloatDistribution(0.25, 0.25)),
    ],
)
def test_set_fixes_a_dimension(name: str, text: str, distribution: object) -> None:
    fixed = SPACE.fixed(name, text)
    assert fixed.distributions[name] == distribution
    others = {other: d for other, d in SPACE.distributions.items() if other != name}
    assert {other: d for other, d in fixed.distributions.items() if other != name} == others
    assert str(fixed_value(fixed.distributions[name])) == str(fixed_value(distribution))  # type: ignore[arg-type]


def test_set_of_two_dimensions_keeps_both() -> None:
    fixed = SPACE.fixed("weight:b", "1").fixed("hidden", "64").fixed("weight:a", "0")
    assert fixed_value(fixed.distributions["weight:a"]) == 0
    assert fixed_value(fixed.distributions["weight:b"]) == 1
    assert fixed_value(fixed.distributions["hidden"]) == 64


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("width", "1", "--set width=1: the space has no 'width'; it has hidden, dropout, norm, weight:a, weight:b"),
        ("weight:c", "1", "--set weight:c=1: the space has no 'weight:c'; it has hidden, dropout, norm, weight:a, weight:b"),
        ("hidden", "31", "--set hidden=31: it must lie in [32, 512]"),
        ("hidden", "64.0", "--set hidden=64.0: it must be a whole number"),
        ("hidden", "", "--set hidden=: it must be a whole number"),
        ("dropout", "0.71", "--set dropout=0.71: it must lie in [0.0, 0.7]"),
        ("dropout", "nan", "--set dropout=nan: it must lie in [0.0, 0.7]"),
        ("dropout", "half", "--set dropout=half: it must be a number"),
        ("norm", "group", "--set norm=group: it must be one of none, batch, None, 3"),
        ("weight:a", "1.5", "--set weight:a=1.5: it must lie in [0.0, 1.0]"),
    ],
)  # fmt: skip
def test_set_of_a_name_or_value_outside_the_space_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        SPACE.fixed(name, text)
    assert str(error.value) == message


def test_description_names_every_dimension_with_its_bounds() -> None:
    described = SPACE.describe()
    assert list(described) == ["hidden", "dropout", "norm", "weight:a", "weight:b"]
    assert described["hidden"]["attributes"] == {"low": 32, "high": 512, "log": True, "step": 1}
    assert described["norm"]["attributes"]["choices"] == ["none", "batch", None, 3]

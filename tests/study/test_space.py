"""Spaces and configs; `test_task_weights.py` has the weights."""

# ruff: noqa: E501 (tables of messages, each in one line as its user sees it)

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mtlsearch import Config, choice, integer, real
from mtlsearch.errors import StudyError, UsageError
from mtlsearch.study.space import Space, fixed_value
from mtlsearch.study.weights.task_weights import LogRatios

SPACE = Space(
    {
        "hidden": integer(32, 512, log=True),
        "dropout": real(0.0, 0.7),
        "norm": choice("none", "batch", None, 3),
    },
    LogRatios(("a", "b", "c")),
)


def test_a_config_comes_back_from_its_params() -> None:
    config = Config({"hidden": 64, "dropout": 0.25, "norm": None, "extra": 1}, {"a": 0.2, "b": 0.3, "c": 0.5})
    params = SPACE.params(config)
    assert list(params) == ["hidden", "dropout", "norm", "log_ratio:a", "log_ratio:b"]
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
    single = SPACE.single(name, text)
    assert single == distribution
    assert str(fixed_value(single)) == str(fixed_value(distribution))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("width", "1", "--set width=1: the space has no 'width'; it has hidden, dropout, norm, weight:a, weight:b, weight:c"),
        ("weight:d", "1", "--set weight:d=1: the space has no 'weight:d'; it has hidden, dropout, norm, weight:a, weight:b, weight:c"),
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
        SPACE.single(name, text)
    assert str(error.value) == message


def test_description_names_every_dimension_with_its_bounds() -> None:
    described = SPACE.describe()
    assert list(described) == ["hidden", "dropout", "norm", "log_ratio:a", "log_ratio:b"]
    assert described["hidden"]["attributes"] == {"low": 32, "high": 512, "log": True, "step": 1}
    assert described["norm"]["attributes"]["choices"] == ["none", "batch", None, 3]

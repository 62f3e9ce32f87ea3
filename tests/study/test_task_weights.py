"""Task weights as dimensions: log ratios centred on equal weights, auxiliary tasks that may be dropped, the simplex."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from mtlsearch.errors import UsageError
from mtlsearch.study.weights.task_weights import (
    LogRatios,
    Simplex,
    log_ratios_from_weights,
    quantiles_from_weights,
    raw_weights,
    weights_from_log_ratios,
    weights_from_quantiles,
)

quantile = st.floats(0, 1)
ratio = st.floats(-4, 4)
ABC = ("a", "b", "c")


def drawn(space: LogRatios, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Weights [count, tasks] of params drawn from the prior."""
    random, names = np.random.default_rng(0), space.distributions
    made = []
    for _ in range(count):
        params = {}
        for name, d in names.items():
            params[name] = random.uniform(d.low, d.high) if isinstance(d, FloatDistribution) else random.random() < 0.5
        made.append(list(space.weights(params).values()))
    return np.array(made)


# Log ratios.


@given(st.lists(ratio, max_size=7))
def test_any_log_ratios_give_weights_above_zero_that_sum_to_one(ratios: list[float]) -> None:
    weights = weights_from_log_ratios(ratios)
    assert len(weights) == len(ratios) + 1
    assert min(weights) > 0
    assert math.fsum(weights) == pytest.approx(1, abs=1e-15)
    assert log_ratios_from_weights(weights) == pytest.approx(ratios, abs=1e-9)


@given(st.lists(ratio, min_size=1, max_size=7))
def test_log_ratios_are_an_orthonormal_basis(ratios: list[float]) -> None:
    """Their squares sum to those of the centred logarithms of the weights (Aitchison's norm)."""
    logs = np.log(weights_from_log_ratios(ratios))
    assert np.square(ratios).sum() == pytest.approx(np.square(logs - logs.mean()).sum(), abs=1e-9)


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_zero_stands_for_equal_weights(tasks: int) -> None:
    assert weights_from_log_ratios([0.0] * (tasks - 1)) == pytest.approx([1 / tasks] * tasks)


@pytest.mark.parametrize("reach", [100.0, 7.5])
def test_the_ratio_of_two_tasks_covers_the_range_exactly(reach: float) -> None:
    space = LogRatios(("a", "b"), reach)
    for end, wanted in ((space.bound, reach), (-space.bound, 1 / reach)):
        weights = space.weights({"log_ratio:a": end})
        assert weights["a"] / weights["b"] == pytest.approx(wanted)


def test_every_pair_of_tasks_has_the_same_prior() -> None:
    logs = np.log(drawn(LogRatios(tuple("abcde")), 4000))
    spreads = [np.std(logs[:, i] - logs[:, j]) for i in range(5) for j in range(i)]
    assert max(spreads) / min(spreads) < 1.07
    # A uniform between ±ln 100 has ln 100 / √3; five tasks crowd nearer together.
    assert spreads[0] == pytest.approx(math.log(100) / math.sqrt(3) / 4**0.25, rel=0.05)


@given(st.lists(st.floats(0.02, 1), min_size=3, max_size=3))
def test_a_config_comes_back_from_its_log_ratios(shares: list[float]) -> None:
    weights = dict(zip(ABC, (share / sum(shares) for share in shares), strict=True))
    space = LogRatios(ABC)
    assert space.weights(space.params(weights)) == pytest.approx(weights)


# Fixed weights.


def test_a_fixed_weight_stays_and_the_others_share_the_rest() -> None:
    space = LogRatios(ABC).with_fixed("b", 0.3)
    assert list(space.distributions) == ["log_ratio:a", "weight:b"]
    weights = space.weights({"log_ratio:a": space.bound, "weight:b": 0.3})
    assert weights["b"] == 0.3
    assert weights["a"] / weights["c"] == pytest.approx(100)
    assert sum(weights.values()) == pytest.approx(1)
    assert space.default() == pytest.approx({"a": 0.35, "b": 0.3, "c": 0.35})


def test_weights_that_are_all_fixed_leave_nothing_to_search() -> None:
    space = LogRatios(("a", "b")).with_fixed("a", 0.25)
    assert list(space.distributions) == ["weight:a"]
    assert space.default() == {"a": 0.25, "b": 0.75}
    assert LogRatios(("a", "b")).with_fixed("a", 1.0).default() == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"a": 0.7, "b": 0.4}, "--set weight:b=0.4: fixed weights must sum to 1 at most, but they sum to 1.1"),
        (
            {"a": 0.2, "b": 0.2, "c": 0.2},
            "--set weight:c=0.2: all weights are fixed, so they must sum to 1, but they sum to 0.6",
        ),
    ],
)
def test_fixed_weights_that_cannot_sum_to_one_are_refused(fixed: dict[str, float], message: str) -> None:
    *first, (task, weight) = fixed.items()
    space = LogRatios(ABC, fixed=dict(first))
    with pytest.raises(UsageError) as error:
        space.with_fixed(task, weight)
    assert str(error.value) == message


# Auxiliary tasks.


def test_an_auxiliary_task_is_dropped_as_often_as_it_is_kept() -> None:
    weights = drawn(LogRatios(ABC, auxiliary=("b", "c")), 2000)
    assert (weights[:, 0] > 0).all()
    for column in (1, 2):
        assert np.mean(weights[:, column] == 0) == pytest.approx(0.5, abs=0.04)
    np.testing.assert_allclose(weights.sum(1), 1)


def test_a_dropped_task_leaves_the_others_their_ratio() -> None:
    space = LogRatios(ABC, auxiliary=("b",))
    params = {"log_ratio:a": 1.0, "log_ratio:b": -0.5, "keep:b": True}
    kept, dropped = space.weights(params), space.weights({**params, "keep:b": False})
    assert dropped["b"] == 0
    assert dropped["a"] / dropped["c"] == pytest.approx(kept["a"] / kept["c"])
    assert space.weights(space.params(dropped)) == pytest.approx(dropped)


def test_one_task_always_stays() -> None:
    assert LogRatios(("a", "b"), auxiliary=("a", "b")).droppable == []


# The edge and raw weights.


def test_weights_at_an_end_of_the_range_lie_at_the_edge() -> None:
    space = LogRatios(("a", "b"))
    assert space.at_edge({"a": 0.99, "b": 0.01}) == [("a", "b")]
    assert space.at_edge({"a": 0.9, "b": 0.1}) == []
    assert space.at_edge({"a": 1.0, "b": 0.0}) == []  # dropped, which is no edge


def test_raw_weights_give_the_same_total_loss() -> None:
    weights, units, losses = {"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 2e4}, {"a": 0.7, "b": 3e4}
    raw = raw_weights(weights, units)
    total = sum(weights[t] * losses[t] / units[t] for t in weights)
    assert sum(raw[t] * losses[t] for t in weights) == pytest.approx(total)


# The simplex, with which older searches go on.


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


def test_a_simplex_keeps_its_names_and_fixed_quantiles() -> None:
    space = Simplex(ABC).with_fixed("a", 0.75)
    assert list(space.distributions) == ["weight:a", "weight:b"]
    assert space.default()["a"] == 0.5  # the third quartile of Beta(1, 2)
    assert Simplex(("a", "b")).default() == {"a": 0.5, "b": 0.5}

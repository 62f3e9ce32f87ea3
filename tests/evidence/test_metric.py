"""How tasks are measured: bounds of their intervals."""

import math

import pytest

from mtlsearch.evidence.metric import TaskMetric, estimates, score_bounds
from mtlsearch.evidence.sentences import shown


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("accuracy", [0.965, 0.935], "95 % (76 to 100)"),
        ("auroc", [0.065, 0.035], "5 % (0 to 24)"),
        ("mae", [0.98, 0.5], "1 (-2 to 4)"),
    ],
)
def test_interval_ends_at_what_the_metric_can_reach(name: str, values: list[float], told: str) -> None:
    metric = TaskMetric(name)
    found = estimates({"a": values}, {"a": metric}, 0.95)["a"]
    assert shown(found, metric.scale, metric.unit) == told


def test_interval_of_r2_has_no_lower_bound() -> None:
    found = estimates({"a": [0.98, 0.5]}, {"a": TaskMetric("r2")}, 0.95)["a"]
    assert found.low is not None
    assert found.low < -1
    assert found.high == 1


def test_score_is_bounded_where_all_metrics_are_fractions() -> None:
    fractions, mixed = {"a": TaskMetric(), "b": TaskMetric("r2")}, {"a": TaskMetric(), "b": TaskMetric("mae")}
    assert score_bounds({"a": TaskMetric()}, "mean") == (0.0, 1.0)
    assert score_bounds(fractions, "min") == (-math.inf, 1.0)
    assert score_bounds(mixed, "mean") == score_bounds(fractions, lambda values: 2.0) == (-math.inf, math.inf)

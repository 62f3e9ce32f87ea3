"""Shares of a score's variation: right on functions whose shares are known, undetermined on noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mtlsearch import choice, integer, real
from mtlsearch.evidence.importance.shares import place, shares_of

SPACE = {
    "log_ratio:a": real(-1.0, 1.0),
    "log_ratio:b": real(-1.0, 1.0),
    "rate": real(1e-4, 1e-1, log=True),
    "hidden": integer(16, 128, log=True),
    "norm": choice("none", "batch"),
}
GROUPS = {"weights": ["log_ratio:a", "log_ratio:b"], "rate": ["rate"], "hidden": ["hidden"], "norm": ["norm"]}


def drawn(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)

    def one() -> dict[str, Any]:
        return {
            "log_ratio:a": random.uniform(-1, 1),
            "log_ratio:b": random.uniform(-1, 1),
            "rate": 10 ** random.uniform(-4, -1),
            "hidden": round(2 ** random.uniform(4, 7)),
            "norm": ["none", "batch"][random.integers(2)],
        }

    return [one() for _ in range(count)]


def sums(params: dict[str, Any]) -> float:
    """Variances: weights (9 + 4)/12, rate 16/12, hidden 1/12, norm 1/12 · 3 · 4/3."""
    at = {name: place(d, params[name]) for name, d in SPACE.items()}
    return 3 * at["log_ratio:a"] + 2 * at["log_ratio:b"] + 4 * at["rate"] + at["hidden"]


def products(params: dict[str, Any]) -> float:
    """Centred factors: the variance 4/144 of a product belongs to both, beside 1/12 of the rate alone."""
    at = {name: place(d, params[name]) - 0.5 for name, d in SPACE.items()}
    return 2 * at["log_ratio:a"] * at["rate"] + at["rate"]


def cliffs(params: dict[str, Any]) -> float:
    """A step of height 1 at four fifths of the rate, variance 0.16, and a choice of 0.4, variance 0.04."""
    return float(place(SPACE["rate"], params["rate"]) < 0.8) + 0.4 * (params["norm"] == "batch")


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (sums, {"weights": 13 / 30, "rate": 16 / 30, "hidden": 1 / 30, "norm": 0}),
        (products, {"weights": 0.25, "rate": 1, "hidden": 0, "norm": 0}),
        (cliffs, {"weights": 0, "rate": 0.8, "hidden": 0, "norm": 0.2}),
    ],
)
def test_shares_are_right_within_5_points(function: Callable[[dict[str, Any]], float], known: dict[str, float]) -> None:
    trials = drawn(150)
    found = shares_of(trials, [function(params) for params in trials], SPACE, GROUPS)
    assert found is not None
    assert found.determined
    assert found.shares == pytest.approx(known, abs=0.05)


def test_noise_is_undetermined() -> None:
    values = np.random.default_rng(1).normal(size=100).tolist()
    found = shares_of(drawn(100), values, SPACE, GROUPS)
    assert found is not None
    assert not found.determined


def test_few_trials_and_equal_scores_give_no_shares() -> None:
    assert shares_of(drawn(10), [float(i) for i in range(10)], SPACE, GROUPS) is None
    assert shares_of(drawn(40), [1.0] * 40, SPACE, GROUPS) is None

"""Shares of a score's variation: right on functions whose shares are known, undetermined on noise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mtlsearch import choice, integer, real
from mtlsearch.evidence.importance.mattered import sentence
from mtlsearch.evidence.importance.shares import LEAST_R2, Shares, place, shares_of

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


def test_a_fit_with_more_features_than_trials_does_not_pass_for_knowledge() -> None:
    """Ten dimensions have 65 squares and products: they fit any forty scores without an error."""
    random = np.random.default_rng(0)
    space = {f"x{i}": real(0.0, 1.0) for i in range(10)}
    trials = [dict(zip(space, row, strict=True)) for row in random.random((40, 10)).tolist()]
    found = shares_of(trials, random.standard_t(2, size=40).tolist(), space, {name: [name] for name in space})
    assert found is not None
    assert found.r2 < 0.3


def searched(count: int, apart: float, seed: int = 0) -> list[dict[str, Any]]:
    """Trials of a search that found a good region: but for `apart` of them all rates lie in their lowest fifth."""
    random = np.random.default_rng(seed)
    trials = drawn(count, seed)
    for params in trials[round(apart * count) :]:
        params["rate"] = 10 ** random.uniform(-4, -3.4)
    return trials


def test_a_search_that_left_regions_out_tells_no_wrong_share() -> None:
    """The rate has four fifths of the variation; these trials say a third, with an R² above 0.5."""
    trials = searched(100, 0.08, seed=1)
    found = shares_of(trials, [cliffs(params) for params in trials], SPACE, GROUPS)
    assert found is not None
    assert found.r2 > LEAST_R2
    assert found.shares["rate"] < 0.5
    assert not found.determined
    assert "the search left parts of the space out, so over all of it R² may be as low as 0." in sentence(found)


def test_a_cliff_that_no_trial_saw_is_undetermined() -> None:
    """Below four fifths of the rate the function is a choice alone, which every model predicts without an error."""
    trials = [params for params in drawn(150) if place(SPACE["rate"], params["rate"]) < 0.7]
    found = shares_of(trials, [cliffs(params) for params in trials], SPACE, GROUPS)
    assert found is not None
    assert found.least_r2 > 0.9
    assert not found.determined
    assert sentence(found).endswith("the search left 30 % of a range out)")


def test_a_search_that_saw_everything_tells_the_shares() -> None:
    """A sum is predicted as well where few trials lie, so they are enough."""
    trials = searched(100, 0.12)
    found = shares_of(trials, [sums(params) for params in trials], SPACE, GROUPS)
    assert found is not None
    assert found.determined
    assert found.shares == pytest.approx({"weights": 13 / 30, "rate": 16 / 30, "hidden": 1 / 30, "norm": 0}, abs=0.05)


def test_models_that_predict_as_well_and_disagree_leave_the_shares_undetermined() -> None:
    found = Shares({"rate": 0.9, "hidden": 0.1}, r2=0.9, least_r2=0.8, apart=0.3, empty=0.1, trials=100)
    assert not found.determined
    assert sentence(found) == (
        "what moved the score: undetermined (out-of-bag R² 0.90, 100 trials;"
        " another fit that may be as good differs by 30 points)"
    )
    assert replace(found, apart=0.05).determined


def test_few_trials_and_equal_scores_give_no_shares() -> None:
    assert shares_of(drawn(10), [float(i) for i in range(10)], SPACE, GROUPS) is None
    assert shares_of(drawn(40), [1.0] * 40, SPACE, GROUPS) is None

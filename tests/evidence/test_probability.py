"""The probability that tuned weights beat equal ones in one more pair, its interval, and its line in a verdict."""

import math

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from mtlsearch.evidence.arms import Confirmed
from mtlsearch.evidence.judge import judge
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.probability import probability


def test_the_share_of_pairs_has_clopper_and_pearsons_interval() -> None:
    found = probability([0.1, 0.2, -0.1, 0.3, math.nan])
    assert found is not None
    exact = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert (found.mean, found.pairs) == (0.75, 4)
    np.testing.assert_allclose([found.low, found.high], [exact.low, exact.high])


def test_a_tie_counts_half_and_no_pair_gives_nothing() -> None:
    tied = probability([0.0, 1.0])
    assert tied is not None
    assert tied.mean == 0.75
    assert tied.sentence.endswith("better in 1.5 of 2 pairs, ties count half")
    assert probability([math.nan]) is None


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("true", [0.02, 0.3, 0.5, 0.8, 0.98])
def test_the_interval_covers_the_probability_on_a_fresh_seed(true: float, level: float) -> None:
    rng = np.random.default_rng(0)
    draws = stats.norm.ppf(true) + rng.normal(size=(400, 5))
    found = [probability(pairs, level) for pairs in draws]
    assert np.mean([each is not None and each.low <= true <= each.high for each in found]) > level - 0.01


def test_pairs_on_divisions_that_share_data_count_for_fewer() -> None:
    alone, shared = probability([1.0] * 5), probability([1.0] * 5, overlap=1 / 3)
    assert alone is not None
    assert shared is not None
    assert shared.low < alone.low == pytest.approx(0.025 ** (1 / 5))
    assert "on new data of this kind" in shared.sentence


def test_the_verdict_tells_the_probability_of_its_winner() -> None:
    tuned, twin = [0.92, 0.91, 0.93, 0.90, 0.94], [0.90] * 5
    config = Confirmed({"a": 0.3, "b": 0.7}, [0.9] * 5, {"a": tuned, "b": twin}, {"a": twin, "b": twin})
    verdict = judge([config], {"a": TaskMetric(), "b": TaskMetric()})
    stored = verdict.to_dict()["probability"]
    assert (stored["wins"], stored["pairs"], stored["mean"]) == (4.5, 5, 0.9)
    (line,) = [line for line in verdict.lines() if line.startswith("P(")]
    assert line == "P(tuned > equal) = 90 % (37 to 100) on a fresh seed: better in 4.5 of 5 pairs, ties count half"

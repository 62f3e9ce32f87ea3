"""The performance profile of many tasks: its curve, its band, and its line."""

import numpy as np
import pytest

from mtlsearch.evidence.arms import Confirmed
from mtlsearch.evidence.judge import judge
from mtlsearch.evidence.metric import TaskMetric
from mtlsearch.evidence.verdict import Verdict
from mtlsearch.wording import MANY_TASKS

GAINS = [0.01] * 4 + [0.004] * 3 + [0.0005] * 2 + [-0.001] * 2 + [-0.02]  # of 12 tasks
NOISE = np.random.default_rng(0).normal(0, 0.0003, (len(GAINS), 5))


def verdict_of(
    gains: list[float] = GAINS, metric: TaskMetric | None = None, scale: float = 1.0, overlap: float = 0.0
) -> Verdict:
    metric = metric or TaskMetric(overlap=overlap)
    twin = {f"t{i}": [0.8 * scale] * 5 for i in range(len(gains))}
    tuned = {
        task: [scale * (0.8 + metric.sign * (gain + noise)) for noise in NOISE[i]]
        for i, (task, gain) in enumerate(zip(twin, gains, strict=True))
    }
    weights = {task: (1 + i) / 78 for i, task in enumerate(twin)}
    return judge([Confirmed(weights, [0.9] * 5, tuned, twin)], dict.fromkeys(twin, metric))


def test_the_curve_is_the_share_of_tasks_above_each_threshold() -> None:
    found = verdict_of().to_dict()["profile"]
    assert found["unit"] == "points"
    assert len(found["threshold"]) == len(found["share"]) == len(found["low"]) == len(found["high"])
    assert found["threshold"][0] < -2 < 1 < found["threshold"][-1]
    assert (found["share"][0], found["share"][-1]) == (1, 0)
    means = 100 * (np.array(GAINS) + NOISE.mean(1))
    assert found["share"] == [pytest.approx((means > tau).mean()) for tau in found["threshold"]]
    assert all(np.diff(found["share"]) <= 0)
    assert 0 in found["threshold"]


def test_the_line_counts_tasks_in_words() -> None:
    verdict = verdict_of()
    assert (
        "tuned weights over 12 tasks: better on 9, worse by more than the margin on 1 (means over 5 pairs);"
        " proven better on 7 and worse on 1" in verdict.lines()
    )
    better = verdict_of([0.01] * MANY_TASKS)
    assert any("worse by more than the margin on none" in line for line in better.lines())


def test_few_tasks_have_no_profile() -> None:
    verdict = verdict_of(GAINS[:8])
    assert verdict.profile is None
    assert not any("tuned weights over" in line for line in verdict.lines())
    assert verdict_of(GAINS[:9]).profile is not None


def test_the_band_holds_the_curve_and_is_wider_where_divisions_share_data() -> None:
    plain, shared = verdict_of().profile, verdict_of(overlap=1 / 3).profile
    assert plain is not None
    assert shared is not None
    for found in (plain, shared):
        low, share, high = (np.array(found[name]) for name in ("low", "share", "high"))
        assert (low <= share).all()
        assert (share <= high).all()
    widths = [np.subtract(found["high"], found["low"]).sum() for found in (plain, shared)]
    assert widths[1] > widths[0] > 0


def test_other_metrics_are_told_in_margins_and_lower_may_be_better() -> None:
    found = verdict_of(metric=TaskMetric("mae", higher_is_better=False), scale=50.0).profile
    assert found is not None
    assert (found["unit"], found["better"], found["worse_by_margin"]) == ("margins", 9, 1)


def test_band_covers_what_fresh_seeds_would_give() -> None:
    """A share that is read at one τ lies in the band of other seeds about as often as it says."""
    rng, inside = np.random.default_rng(1), []
    for _ in range(60):
        noise = rng.normal(0, 0.003, (len(GAINS), 5))
        twin = {f"t{i}": [0.8] * 5 for i in range(len(GAINS))}
        tuned = {t: list(0.8 + GAINS[i] + noise[i]) for i, t in enumerate(twin)}
        weights = {task: (1 + i) / 78 for i, task in enumerate(twin)}
        found = judge([Confirmed(weights, [0.9] * 5, tuned, twin)], dict.fromkeys(twin, TaskMetric())).profile
        assert found is not None
        at = int(np.searchsorted(found["threshold"], 0.25))  # between the gains 0.05 and 0.4 points
        inside.append(found["low"][at] <= 7 / 12 <= found["high"][at])
    assert np.mean(inside) > 0.9

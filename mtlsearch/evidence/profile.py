"""The performance profile of many tasks: the share of tasks whose gain exceeds τ, as a function of τ.

Profiles are those of Dolan and Moré 2002 (Benchmarking optimization software with performance profiles), of the mean
gain over seeds (Agarwal et al. 2021, Deep RL at the edge of the statistical precipice, section 4: average-score
distributions). A gain is tuned minus equal weights: in points where all metrics are fractions, else in margins, the
difference in a task that does not matter.

The pointwise 95 % band is a percentile bootstrap over the pairs, all tasks of a pair together. Of few pairs a bootstrap
varies too little, and on new divisions too: its deviations are widened so that their variance is that of `statistics`,
σ² (1/R + overlap).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlsearch.evidence.arms import Comparison
from mtlsearch.evidence.effects import Effect
from mtlsearch.evidence.statistics import ALPHA, Array

FEW = 8  # tasks, of which each has a line of its own
GRID, RESAMPLES = 60, 1000
POINTS, MARGINS = "points", "margins"


def profile(comparisons: Sequence[Comparison], effects: Mapping[str, Effect]) -> dict[str, Any] | None:
    """The profile of the tasks' gains as a verdict stores it; None of few tasks, or without two pairs of seeds.

    `effects` are those of the same tasks, with their p-values after Holm's correction.
    """
    unit = POINTS if all(each.unit.word == POINTS for each in comparisons) else MARGINS
    scales = [each.unit.scale if unit == POINTS else 1 / each.margin for each in comparisons if each.margin > 0]
    if len(comparisons) <= FEW or len(scales) < len(comparisons):
        return None
    gains = np.array([each.difference for each in comparisons]) * np.array(scales)[:, None]
    gains = gains[:, np.isfinite(gains).all(0)]
    if gains.shape[1] < 2:
        return None
    means, margins = gains.mean(1), np.array([each.margin for each in comparisons]) * np.array(scales)
    thresholds = _thresholds(means)
    low, high = _band(gains, max(each.overlap for each in comparisons), thresholds)
    kinds = [effects[each.task].kind for each in comparisons if each.task is not None]
    return {
        "unit": unit,
        "tasks": len(means),
        "pairs": gains.shape[1],
        "better": int((means > 0).sum()),
        "worse_by_margin": int((means < -margins).sum()),
        "proven_better": kinds.count("better"),
        "proven_worse": kinds.count("worse"),
        "threshold": thresholds.tolist(),
        "share": _share(means, thresholds).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def _thresholds(means: Array) -> Array:
    """Values of τ from where all tasks exceed it to where none does, zero among them."""
    reach = 1.15 * max(float(np.abs(means).max()), 1e-12)
    steps = np.arange(-GRID // 2, GRID // 2 + 1) * (2 * reach / GRID)
    digits = 3 - math.floor(math.log10(reach))
    return np.round(steps, digits)


def _share(means: Array, thresholds: Array) -> Array:
    """The share of tasks above each τ [G], of means [T] or of resampled ones [B, T]."""
    return np.asarray((means[..., None] > thresholds).mean(-2))


def _band(gains: Array, overlap: float, thresholds: Array) -> tuple[Array, Array]:
    """The ends of the pointwise band [G], of gains [T, S]."""
    pairs = gains.shape[1]
    chosen = np.random.default_rng(0).integers(pairs, size=(RESAMPLES, pairs))
    mean = gains.mean(1)
    widened = math.sqrt((1 / pairs + overlap) * pairs**2 / (pairs - 1))
    counts = np.stack([np.bincount(row, minlength=pairs) for row in chosen]) / pairs  # [B, S]
    resampled = mean + widened * (counts @ gains.T - mean)
    shares = _share(resampled, thresholds)
    low, high = np.quantile(shares, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return low, high


def profile_line(found: Mapping[str, Any]) -> str:
    """`tuned minus equal over 12 tasks: better on 9, …`."""
    proven = f"proven better on {_many(found['proven_better'])} and worse on {_many(found['proven_worse'])}"
    return (
        f"tuned weights over {found['tasks']} tasks: better on {_many(found['better'])}, worse by more than the margin"
        f" on {_many(found['worse_by_margin'])} (means over {found['pairs']} pairs); {proven}"
    )


def _many(count: int) -> str:
    return str(count) if count else "none"

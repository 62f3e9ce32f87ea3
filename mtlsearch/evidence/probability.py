"""The probability that one arm beats another in one more pair: on a fresh seed, or on new data of this kind.

Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks, section 4: P(A > B) is estimated by the
share of pairs in which A is better; a tie counts half. Its interval is Clopper and Pearson's: a bootstrap of five pairs
that agree has no width, and Wilson's interval of five pairs covers down to 83 % where P is near 0 or 1. Pairs on new
divisions share most of their data: as for the mean (`statistics`), the variance of the share is taken as
P (1 − P) (1/R + overlap), so that R pairs count as R / (1 + R · overlap).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtlsearch.evidence.statistics import ALPHA


@dataclass(frozen=True)
class Probability:
    """The share of pairs that are better, a tie as a half, with its interval; `wins` of `pairs`."""

    wins: float
    pairs: int
    low: float
    high: float
    overlap: float = 0.0

    @property
    def mean(self) -> float:
        return self.wins / self.pairs

    def stored(self) -> dict[str, Any]:
        """The probability in a stored verdict."""
        return {"mean": self.mean, **asdict(self)}

    @property
    def sentence(self) -> str:
        """The line on tuned weights against equal ones."""
        return probability_line(self.stored())


def probability_line(stored: Mapping[str, Any]) -> str:
    """`P(tuned > equal) = 80 % (28 to 99) on a fresh seed: better in 4 of 5 pairs`."""
    mean, low, high = (100 * stored[end] for end in ("mean", "low", "high"))
    where = "on new data of this kind" if stored["overlap"] else "on a fresh seed"
    ties = ", ties count half" if stored["wins"] % 1 else ""
    wins = f"{stored['wins']:g} of {stored['pairs']} pairs"
    return f"P(tuned > equal) = {mean:.0f} % ({low:.0f} to {high:.0f}) {where}: better in {wins}{ties}"


def probability(differences: ArrayLike, level: float = 1 - ALPHA, overlap: float = 0.0) -> Probability | None:
    """The probability that a difference of one more pair is above zero; None without a pair. NaN is left out."""
    from scipy import special  # type: ignore[import-untyped, unused-ignore]

    found = np.asarray(differences, dtype=np.float64)
    found = found[np.isfinite(found)]
    if not found.size:
        return None
    wins = float((found > 0).sum() + 0.5 * (found == 0).sum())
    pairs = found.size / (1 + found.size * overlap)
    counted, tail = wins / found.size * pairs, (1 - level) / 2
    low = float(special.betaincinv(counted, pairs - counted + 1, tail)) if counted > 0 else 0.0
    high = float(special.betaincinv(counted + 1, pairs - counted, 1 - tail)) if counted < pairs else 1.0
    return Probability(wins, int(found.size), low, high, overlap)

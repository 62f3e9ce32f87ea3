"""Shares of simulations with their intervals, in percent, and the limits that a calibrated rule keeps."""

from scipy import special  # type: ignore[import-untyped, unused-ignore]

MOST_FALSE, COVERAGE = 5.0, (93.0, 97.0)  # percent

Share = tuple[float, float, float]  # a share of the simulations and its interval, in percent


def binomial_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    tail = (1 - level) / 2
    low = special.betaincinv(hits, n - hits + 1, tail) if hits else 0.0
    high = special.betaincinv(hits + 1, n - hits, 1 - tail) if hits < n else 1.0
    return float(low), float(high)


def percent(hits: int, n: int) -> Share:
    """A share with Clopper and Pearson's interval."""
    low, high = binomial_interval(hits, n)
    return 100 * hits / n, 100 * low, 100 * high


def told(found: Share) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*found)

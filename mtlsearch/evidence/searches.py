"""The evidence over searches: how much of the gain of tuned weights is the luck of one search.

K searches of one study, each with a seed of its own, give a winner each, whose score minus its twin's is confirmed in
S pairs. These gains are a one-way random-effects model (Searle, Casella and McCulloch 1992, Variance Components,
chapter 3), gain = mean + search + pair:

- The mean gain has a t interval over the K searches, with K − 1 degrees of freedom. On new divisions of the data all
  searches share those data, so `overlap` times the variance between pairs is added (`statistics`); the degrees of
  freedom are then Satterthwaite's.
- With F the mean square between searches over that between pairs, 1 − 1/F is the share of the variance of the K gains
  that is the search's own luck; the rest is that of the pairs. Its interval follows from the F distribution.

Nothing here needs torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from mtlsearch.evidence.effects import TUNING, Effect
from mtlsearch.evidence.sentences import Unit, digits_of, number
from mtlsearch.evidence.statistics import ALPHA, Claim, Estimate
from mtlsearch.store.database.damage import damage, fault_of_searches
from mtlsearch.terminal import notice
from mtlsearch.wording import few, listed, weight_in_words

SEARCHES_FORMAT = "mtlsearch/searches/1"
MOST_SHOWN = 6  # tasks whose weights a line has
EVEN = 1.1  # a weight within this factor of the equal share is about equal


@dataclass(frozen=True)
class Searched:
    """One search: its study's name, seed and number of trials, and its winner with the winner's gain."""

    study: str
    seed: int
    trials: int
    trial: int
    weights: Mapping[str, float]
    gain: Estimate


class Luck(NamedTuple):
    """The share of the variance of the gains that is the search's own, with its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Split:
    """The gain over searches, with its p-value; sds of one search and of one pair; None where they are unknown."""

    gain: Estimate
    p: float | None
    between: float | None = None
    within: float | None = None
    luck: Luck | None = None


def split(gains: Sequence[Estimate], floor: float = 0.0, overlap: float = 0.0) -> Split:
    """The gains of K searches split into what searches and what pairs differ in.

    `floor` is the least sd of one pair to believe. A search without a gain, all of whose pairs failed, is left out.
    """
    from scipy import special  # type: ignore[import-untyped, unused-ignore]

    known = [gain for gain in gains if math.isfinite(gain.mean)]
    means, pairs = np.array([gain.mean for gain in known]), np.array([gain.n for gain in known], dtype=np.float64)
    k = len(known)
    if k < 2:
        return Split(Estimate(float(means[0]) if k else math.nan, None, None, None, k), None)
    df_within = float((pairs - 1).sum())
    squares = math.fsum((gain.n - 1) * max(gain.sd or 0.0, floor) ** 2 for gain in known)
    within = squares / df_within if df_within else floor**2
    size = k / float((1 / pairs).sum())  # of unlike numbers of pairs, the harmonic mean
    spread = max(float(means.var(ddof=1)), floor**2 / size)
    between_part, shared_part = spread / k, overlap * within
    error = math.sqrt(between_part + shared_part)
    below = between_part**2 / (k - 1) + (shared_part**2 / df_within if shared_part and df_within else 0.0)
    df = error**4 / below if below else k - 1.0
    mean = float(means.mean())
    half = float(special.stdtrit(df, 1 - ALPHA / 2)) * error
    p = 2 * float(special.stdtr(df, -abs(mean) / error)) if error else float(mean == 0)
    gain = Estimate(mean, mean - half, mean + half, math.sqrt(spread), k)
    between = math.sqrt(max(0.0, spread - within / size))
    luck = _luck(spread * size / within, k - 1, df_within) if within and df_within else None
    return Split(gain, p, between, math.sqrt(within), luck)


def _luck(f: float, between: float, within: float) -> Luck:
    from scipy import special

    def share(ratio: float) -> float:
        return max(0.0, 1 - 1 / ratio) if ratio > 0 else 0.0

    low, high = (f / float(special.fdtri(between, within, 1 - tail)) for tail in (ALPHA / 2, 1 - ALPHA / 2))
    return Luck(share(f), share(low), share(high))


def evidence_over(
    found: Sequence[Searched], margin: float, unit: Unit, floor: float = 0.0, overlap: float = 0.0
) -> dict[str, Any]:
    """The evidence over two searches or more as it is stored; `margin` and `floor` are those of the score."""
    over = split([each.gain for each in found], floor, overlap)
    # The overlap only makes an effect speak of divisions, and here it is searches.
    effect = Effect(TUNING, None, Claim(over.gain, over.p, over.p), margin, unit)
    return {
        "format": SEARCHES_FORMAT,
        "trials": max(each.trials for each in found),
        "gain": asdict(over.gain),
        "kind": effect.kind,
        "p": over.p,
        "margin": margin,
        "between_sd": over.between,
        "within_sd": over.within,
        "luck": None if over.luck is None else over.luck._asdict(),
        "found": [asdict(each) for each in found],
        "lines": [_gain_line(found, effect, bool(overlap)), _luck_line(found, over, unit), _weights_line(found)],
    }


def _gain_line(found: Sequence[Searched], effect: Effect, divided: bool) -> str:
    trials = sorted({each.trials for each in found})
    many = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    over = f"over {len(found)} searches of {many} trials" + (", on new data of this kind" if divided else "")
    if effect.difference.low is None:
        return f"{over}: undecided what tuned weights do: fewer than two searches have a result"
    if all(map(_is_equal, found)):
        return f"{over}: equal weights are those of the best config of each: keep them"
    if effect.kind == "better":
        return f"{over}: tuned weights beat equal ones {effect.gain}"
    if effect.kind == "worse":
        return f"{over}: equal weights are better {effect.gain}"
    ends = {"same": "equal weights are as good", "not better": "equal weights are as good or better"}
    return f"{over}: tuned minus equal is {effect.span}: {ends.get(effect.kind, 'undecided')}"


def _luck_line(found: Sequence[Searched], over: Split, unit: Unit) -> str:
    """The gain of each search, their spread, and the part of it that is luck of the search."""
    digits = max(digits_of(each.gain, unit.scale, 2 if unit.scale > 1 else 4) for each in found)
    gains = few([_shown(each.gain.mean * unit.scale, digits) for each in found], 10)
    line = f"tuned minus equal of each search: {gains} {unit.word}"
    if over.gain.sd is None or over.luck is None or all(map(_is_equal, found)):
        return line
    spread = number(over.gain.sd * unit.scale, max(digits, 2))
    share, low, high = (f"{100 * part:.0f}" for part in over.luck)
    return (
        f"{line} (sd {spread}); {share} % ({low} to {high}) of that variance is the search's own luck, the rest noise"
    )


def _is_equal(search: Searched) -> bool:
    """Whether the winner is its own twin, which has no gain in any pair."""
    weights = search.weights.values()
    return search.gain.mean == 0 and math.isclose(min(weights), max(weights), rel_tol=1e-6)


def _shown(value: float, digits: int) -> str:
    return number(value, digits) if math.isfinite(value) else "failed"


def _weights_line(found: Sequence[Searched]) -> str:
    """The weights of the winners side by side, and on which tasks the searches agree."""
    first = found[0].weights
    tasks = list(first) if len(first) <= MOST_SHOWN else sorted(first, key=lambda task: -first[task])[: MOST_SHOWN - 1]
    each = "; ".join(f"{task} {few([weight_in_words(s.weights[task]) for s in found], 10)}" for task in tasks)
    more = "" if len(tasks) == len(first) else f"; … {len(first) - len(tasks)} more"
    return f"weights of each winner: {each}{more}: {agreement([s.weights for s in found])}"


def agreement(weights: Sequence[Mapping[str, float]]) -> str:
    """The tasks that all searches weigh more, or less, than equally, and those on which they disagree."""
    raised, lowered, even, apart = [], [], [], []
    for task in weights[0]:
        relative = [found[task] * len(found) for found in weights]
        if all(value > EVEN for value in relative):
            raised.append(task)
        elif all(value < 1 / EVEN for value in relative):
            lowered.append(task)
        elif all(1 / EVEN <= value <= EVEN for value in relative):
            even.append(task)
        else:
            apart.append(task)
    told = [f"all raise {listed(raised)}"] if raised else []
    told += [f"all lower {listed(lowered)}"] if lowered else []
    told += [f"all leave {listed(even)} about equal"] if even else []
    told += [f"they disagree on {listed(apart)}"] if apart else []
    return ", ".join(told)


def stored_evidence(attrs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The evidence over searches among the user attributes of a study, None where there is none that can be read."""
    evidence = attrs.get("searches")
    if not (isinstance(evidence, Mapping) and evidence.get("format") == SEARCHES_FORMAT and evidence.get("found")):
        return None
    wrong = fault_of_searches(evidence)
    if wrong is not None:
        notice(f"the evidence over searches is left out: {damage(wrong)}")
        return None
    return evidence


def older_evidence(config: Mapping[str, Any]) -> str | None:
    """A notice where a config's evidence over searches is of an earlier confirmation than its verdict, else None."""
    if "searches" not in config:
        return None
    found, now = config["searches"]["found"], config["verdict"]["difference"]
    if all(found[0]["gain"].get(part) == now.get(part) for part in ("mean", "n")):
        return None
    return (
        "the evidence over searches is of an earlier confirmation: `mtlsearch run` with"
        f" --searches {len(found)} and the options of this one renews it"
    )

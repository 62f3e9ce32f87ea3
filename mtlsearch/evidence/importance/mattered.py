"""What mattered in a search: which dimensions moved the score and each task, and whether the winner lies at an edge.

Complete trials count with their score, pruned ones with what they were expected to reach (`store/foresight.py`): they
show where the space is bad. PED-ANOVA tells which dimensions decide whether a trial is among the best tenth (Watanabe
et al. 2023), the shares which account for the score's variation (`shares`).
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.evidence.importance.shares import LEAST_R2, LEAST_TRIALS, MOST_EMPTY, Shares, place, shares_of
from mtlsearch.evidence.questions.asking import metrics_of, value_of
from mtlsearch.store.foresight import Foresight
from mtlsearch.store.record import Record
from mtlsearch.store.trials import ranked, score_of
from mtlsearch.study.weights.task_weights import PREFIXES
from mtlsearch.wording import few, plain

WEIGHTS = "weights"
SCORE = "score"
BEST_SHARE, LEAST_BEST = 0.1, 3  # the best trials of a search
EDGE, LEANS = 0.1, 0.25  # of a range: where a winner lies at its end, and where most of the best trials lean to it
MOST_SAID, LEAST_SAID = 4, 0.03  # shares in a sentence
SMALLEST = 2.0  # by which factor a range is moved


@dataclass(frozen=True)
class Mattered:
    """What mattered: the `shares` of the score and of each task, and by PED-ANOVA what the best tenth needed."""

    shares: Mapping[str, Shares]
    needed: Mapping[str, Mapping[str, float]]

    def lines(self) -> list[str]:
        """What `best` says of the score, in a sentence."""
        found = self.shares.get(SCORE)
        return [] if found is None else [sentence(found)]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON holds them."""
        shares = {
            name: {
                "r2": found.r2,
                "least_r2": found.least_r2,
                "apart": found.apart,
                "empty": found.empty,
                "trials": found.trials,
                "determined": found.determined,
                "shares": dict(found.shares),
            }
            for name, found in self.shares.items()
        }
        return {"shares": shares, "best_tenth": {name: dict(found) for name, found in self.needed.items()}}


def sentence(found: Shares) -> str:
    """`what moved the score: weights 12 %, learning_rate 70 % (out-of-bag R² 0.81, 100 trials)`."""
    about = f"out-of-bag R² {found.r2:.2f}, {found.trials} trials"
    if not found.determined:
        return f"what moved the score: undetermined ({about}; {_why(found)})"
    said = [name for name, share in found.shares.items() if share >= LEAST_SAID][:MOST_SAID]
    if WEIGHTS in found.shares and WEIGHTS not in said:
        said.append(WEIGHTS)
    return f"what moved the score: {', '.join(f'{n} {100 * found.shares[n]:.0f} %' for n in said)} ({about})"


def _why(found: Shares) -> str:
    """Why the shares are undetermined."""
    if found.r2 < LEAST_R2:
        return f"from {LEAST_R2:g} on it is told"
    if found.least_r2 < LEAST_R2:
        low = f"as low as {found.least_r2:.2f}" if found.least_r2 > 0 else "0"
        return f"the search left parts of the space out, so over all of it R² may be {low}"
    if found.empty > MOST_EMPTY:
        return f"the search left {100 * found.empty:.0f} % of a range out"
    return f"another fit that may be as good differs by {100 * found.apart:.0f} points"


def mattered(record: Record, *, score_alone: bool = False) -> Mattered:
    """What mattered in a study's search; without numbers where it has fewer than LEAST_TRIALS trials to tell from.

    With `score_alone` only the shares of the score are found, in a fraction of the time.
    """
    space = {name: d for name, d in space_of(record.info).items() if not d.single()}
    trials = [trial for trial in record.trials() if space.keys() <= trial.params.keys()]
    if not space or len(trials) < LEAST_TRIALS:
        return Mattered({}, {})
    weights = [name for name in space if name.startswith(PREFIXES)]
    groups = {name: [name] for name in space if name not in weights} | ({WEIGHTS: weights} if weights else {})
    metrics = metrics_of(record.info)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    known: dict[str, tuple[Sequence[FrozenTrial], Sequence[float]]] = {
        SCORE: _scored(trials),
    }
    if len(metrics) > 1 and not score_alone:
        known |= {task: (complete, [m.sign * value_of(t, task, m) for t in complete]) for task, m in metrics.items()}
    shares = {n: shares_of([t.params for t in each], found, space, groups) for n, (each, found) in known.items()}
    enough = {n: found for n, found in known.items() if len(found[0]) >= LEAST_TRIALS and not score_alone}
    return Mattered(
        {name: found for name, found in shares.items() if found is not None},
        {name: _needed(each, found, space) for name, (each, found) in enough.items()},
    )


def space_of(info: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The dimensions of a study's search."""
    space: Mapping[str, Any] = info["fingerprint"]["space"]
    return {name: json_to_distribution(json.dumps(dimension)) for name, dimension in space.items()}


def _scored(trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[float]]:
    """The trials with a score, and it; of pruned ones what they were expected to reach."""
    foresight = Foresight()
    foresight.learn(trials)
    found = [(t, score_of(t)) for t in trials if t.state is TrialState.COMPLETE]
    expected = ((t, foresight.expected(t)) for t in trials if t.state is TrialState.PRUNED)
    found += [(trial, float(np.mean(values))) for trial, values in expected if values is not None]
    return [trial for trial, _ in found], [value for _, value in found]


def _needed(
    trials: Sequence[FrozenTrial], values: Sequence[float], space: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """By PED-ANOVA the share of each dimension in what sets the best tenth apart, Σ = 1."""
    study = optuna.create_study(direction="maximize")
    for trial, value in zip(trials, values, strict=True):
        if np.isfinite(value):
            params = {name: trial.params[name] for name in space}
            study.add_trial(create_trial(value=value, params=params, distributions=dict(space)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few trials, whose importances are equal
        return dict(optuna.importance.get_param_importances(study))


def edges(record: Record, best: FrozenTrial) -> list[str]:
    """A line for each dimension whose end the best trial lies at, and which end to move.

    Said only where most of the best tenth lean to that end too: one trial of a dozen dimensions lies near some end by
    chance.
    """
    lines = []
    complete = ranked(record.trials(TrialState.COMPLETE))
    leading = complete[: max(LEAST_BEST, round(BEST_SHARE * len(complete)))]
    for name, distribution in space_of(record.info).items():
        if not isinstance(distribution, FloatDistribution | IntDistribution) or distribution.single():
            continue
        if name not in best.params or len(complete) < LEAST_TRIALS:
            continue
        at = place(distribution, best.params[name])
        middle = float(np.median([place(distribution, t.params[name]) for t in leading if name in t.params]))
        upper = at > 1 - EDGE and middle > 1 - LEANS
        if upper or (at < EDGE and middle < LEANS):
            lines.append(_edge(name, distribution, best.params[name], upper))
    return lines


def _edge(name: str, distribution: FloatDistribution | IntDistribution, value: float, upper: bool) -> str:
    low, high = distribution.low, distribution.high
    if name.startswith(PREFIXES):
        what = f"the {name.replace(':', ' of ')} lies at an end of its range, as do most of the best trials"
        return f"edge: {what}: a larger weight_range= of the study would let it go on"
    end, ends = (high, "most") if upper else (low, "least")
    further: float
    if distribution.log:
        further = end * SMALLEST if upper else end / SMALLEST
    else:
        further = end + (high - low) / 2 if upper else end - (high - low) / 2
    if isinstance(distribution, IntDistribution):
        further = round(further) if upper else int(further)
    if not upper and low >= 0 and further <= 0 and not distribution.log:
        return f"edge: {name} {plain(value)} lies near its least, {plain(low)}, as do most of the best trials"
    return (
        f"edge: {name} {plain(value)} of at {ends} {plain(end)}, as most of the best trials: search it"
        f" {'up' if upper else 'down'} to {plain(further)}"
    )


def said(record: Record, best: FrozenTrial | None) -> list[str]:
    """The lines that `best` adds on what mattered and on edges; none of a search that tells nothing."""
    if best is None:
        return []
    lines = [*mattered(record, score_alone=True).lines(), *edges(record, best)]
    return lines if len(lines) <= MOST_SAID else [*lines[: MOST_SAID - 1], f"more edges: {few(lines[MOST_SAID - 1 :])}"]

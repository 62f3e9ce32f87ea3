"""Simulated confirmations: false *tuned* verdicts and coverage, the power of S seeds, and whole verdicts.

True scores are known, with noise around them; `calibration.py` says how it is drawn, and what the tables hold.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from shares import COVERAGE, MOST_FALSE, percent, told

from mtlsearch.evidence.judge import contest, decide
from mtlsearch.evidence.metric import FRACTION_MARGIN
from mtlsearch.evidence.statistics import POWER, Array, detectable, rounding_sd

COUNTS = 720  # right answers of two tasks with 360 test examples each, as in the digits study


@dataclass(frozen=True)
class Setting:
    """One kind of confirmation; `noise`, a config's sd over seeds, is the unit of the effects and the gap."""

    seeds: int = 5
    configs: int = 2
    noise: float = 0.003
    twins: float = 0.5  # correlation of a config's test score with its twin's
    trained: float = 0.5  # correlation of a model's validation and test scores
    shared: float = 0.0  # correlation of different configs under the same seed
    effect: float = 0.0  # tuned minus equal of the last config
    others: float = 0.0  # tuned minus equal of all other configs
    gap: float = 0.0  # how much better than the others the last config is
    tail: str = "normal"


@dataclass(frozen=True)
class Outcome:
    """Counts over the simulations of one setting."""

    simulations: int
    tuned: int
    false_tuned: int
    covered: int
    equal: int


def _noise(rng: np.random.Generator, shape: tuple[int, ...], tail: str) -> Array:
    """Noise of variance 1."""
    return rng.standard_t(4, shape) / np.sqrt(2) if tail == "heavy" else rng.standard_normal(shape)


def draw(setting: Setting, simulations: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Validation scores and differences (simulations, configs, seeds), and the true differences (configs)."""
    shape = (simulations, setting.configs, setting.seeds)
    common = _noise(rng, (simulations, 1, setting.seeds), setting.tail)
    tuned = _mix(common, _noise(rng, shape, setting.tail), setting.shared)
    twin = _mix(tuned, _noise(rng, shape, setting.tail), setting.twins)
    validation = _mix(tuned, _noise(rng, shape, setting.tail), setting.trained)
    last = np.arange(setting.configs) == setting.configs - 1
    truth = np.where(last, setting.effect, setting.others) * setting.noise
    level = 0.9 + truth + np.where(last, setting.gap * setting.noise, 0)
    test = level[:, None] + setting.noise * tuned
    equal = (level - truth)[:, None] + setting.noise * twin
    if setting.tail == "counts":
        test, equal = (np.rint(a * COUNTS) / COUNTS for a in (test, equal))
    return level[:, None] + setting.noise * validation, test - equal, truth


def _mix(a: Array, b: Array, correlation: float) -> Array:
    """Noise of variance 1 with this correlation to `a`."""
    return np.asarray(correlation * a + np.sqrt(1 - correlation**2) * b)


def simulate(setting: Setting, simulations: int, rng: np.random.Generator, margin: float = FRACTION_MARGIN) -> Outcome:
    """The outcomes of the package's own rule on simulated confirmations."""
    validation, difference, truth = draw(setting, simulations, rng)
    floor = rounding_sd(1 / COUNTS) if setting.tail == "counts" else 0.0
    result = contest(validation, difference, margin, floor)
    rows, truth = np.arange(simulations), truth[result.winner]
    low, high = result.intervals.low[rows, result.winner], result.intervals.high[rows, result.winner]
    tuned = result.kind == "tuned"
    return Outcome(
        simulations=simulations,
        tuned=int(tuned.sum()),
        false_tuned=int((tuned & (truth <= 0)).sum()),
        covered=int(((low <= truth) & (truth <= high)).sum()),
        equal=int((result.kind == "equal").sum()),
    )


def smooth_settings(configs: int, seeds: int) -> list[Setting]:
    """All settings for these numbers of configs and seeds whose noise is not rounded."""
    effects = [(0, 0, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0.5, 0.5, 0)]
    grid = itertools.product((0.0, 0.5, 0.9), (0.0, 0.5, 1.0), (0.0, 0.5), (0.001, 0.003, 0.01), effects)
    made = [
        Setting(seeds, configs, noise, twins, trained, shared, effect, others, gap)
        for twins, trained, shared, noise, (effect, others, gap) in grid
    ]
    heavy = [
        Setting(seeds, configs, 0.003, twins, trained, tail="heavy")
        for twins, trained in itertools.product((0.0, 0.5, 0.9), (0.0, 0.5, 1.0))
    ]
    return made + heavy


def count_settings(configs: int, seeds: int) -> list[Setting]:
    """Accuracies of small test sets, with noise of less than one step (0.0014), of two steps, and of seven."""
    grid = itertools.product((0.0, 0.5, 0.9), (0.5, 1.0), (0.001, 0.003, 0.01))
    return [Setting(seeds, configs, noise, twins, trained, tail="counts") for twins, trained, noise in grid]


def power_of(seeds: int, configs: int, everywhere: bool, simulations: int, rng: np.random.Generator) -> float:
    """The true difference, in sds of the paired difference, that the whole rule calls tuned 80 % of the time.

    With `everywhere` every config has this difference, else only a clear winner.
    """
    low, high = 0.0, 12.0
    for _ in range(12):
        middle = (low + high) / 2
        others, gap = (middle, 0) if everywhere else (0, 20)
        setting = Setting(seeds, configs, 1.0, twins=0.5, effect=middle, others=others, gap=gap)  # sd of the pair: 1
        share = simulate(setting, simulations, rng, margin=0.0).tuned / simulations
        low, high = (middle, high) if share < POWER else (low, middle)
    return (low + high) / 2


def row(name: str, outcomes: Sequence[Outcome]) -> list[object]:
    """The worst settings of a row, and whether the rule holds there."""
    n, covered = outcomes[0].simulations, [o.covered for o in outcomes]
    false, least, most = (
        percent(hits, n) for hits in (max(o.false_tuned for o in outcomes), min(covered), max(covered))
    )
    wrong = {
        "more false": false[1] > MOST_FALSE,
        "covers less": least[2] < COVERAGE[0],
        "covers more": most[1] > COVERAGE[1],
    }
    average = f"{100 * np.mean(covered) / n:.1f}"
    held = ", ".join(name for name, found in wrong.items() if found) or "yes"
    return [name, len(outcomes), told(false), told(least), told(most), average, held]


def power_row(configs: int, seeds: int, simulations: int, rng: np.random.Generator) -> list[object]:
    """The difference that S seeds see 80 % of the time: as the verdict states it, and measured on the whole rule."""
    stated = detectable(seeds, 1.0, 0.05 / configs)
    alone, everywhere = (power_of(seeds, configs, every, simulations, rng) for every in (False, True))
    return [f"k={configs} S={seeds}", f"{stated:.2f}", f"{alone:.2f}", f"{everywhere:.2f}"]


def false_sentences(
    configs: int, tasks: int, noise: float, truth: float, n: int, rng: np.random.Generator
) -> tuple[int, int]:
    """How many of n whole verdicts have a false sentence on the first task, and how many a false recommendation.

    Sharing changes each task by `truth` margins.
    """
    validation, difference, _ = draw(Setting(configs=configs, noise=noise), n, rng)
    effect = truth * FRACTION_MARGIN
    others = effect + noise * rng.standard_normal((n, tasks, 5))
    margins = np.full(tasks, FRACTION_MARGIN)
    found = decide(validation, difference, FRACTION_MARGIN, 0.0, others, margins, np.zeros(tasks))
    wrong = {
        "better": effect <= 0,
        "worse": effect >= 0,
        "same": abs(effect) > FRACTION_MARGIN,
        "not better": effect > FRACTION_MARGIN,
        "not worse": effect < -FRACTION_MARGIN,
    }
    names = [kind for kind, is_false in wrong.items() if is_false]
    announced = np.isin(found.kinds, [kind for kind in names if kind in ("better", "worse")]).any(-1)
    equal = ("same", "not better") if tasks == 1 else ("same", "not worse")
    as_good = np.isin(found.kinds, [kind for kind in names if kind in equal]).all(-1)
    recommended = announced | as_good | (found.contest.kind == "tuned")
    return int(np.isin(found.kinds[:, 0], names).sum()), int(recommended.sum())


def sentence_row(configs: int, tasks: int, n: int, rng: np.random.Generator) -> list[object]:
    """The worst settings of whole verdicts, for one main task and for several scored ones."""
    grid = itertools.product((0.001, 0.003, 0.01), (0.0, 1.0, -1.0, 1.001, -1.001, 3.0, -3.0))
    counts = np.array([false_sentences(configs, tasks, *each, n, rng) for each in grid])
    sentence, recommended = (percent(int(hits), n) for hits in counts.max(0))
    held = "more false" if max(sentence[1], recommended[1]) > MOST_FALSE else "yes"
    return [f"k={configs}, {tasks} tasks alone", told(sentence), told(recommended), held]

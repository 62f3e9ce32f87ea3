"""Error rate of the verdict in simulated confirmations, the choice among k configs included.

    python benchmarks/calibration.py [--simulations 2000] [--seed 0]

`calibration_trained.py` does the same with real trainings.

A simulated confirmation has k configs and their twins, S seeds, and known true scores with noise around them. Tuned
and twin share a part of the noise (`twins` is their correlation under common random numbers), and so do a model's
validation and test scores (`trained`: one training gives both). The settings have no effect at all, one real effect
beside a null, or real effects everywhere. The noise is normal, heavy-tailed (t with 4 degrees of freedom), or rounded
to the counts of a small test set.

The report gives the share of false *tuned* verdicts (the winner's true difference is zero or less) and the coverage of
the winner's interval, each at its worst setting with a Clopper-Pearson interval, and the power of S seeds. The worst of
279 settings is extreme by chance too: by 1.5 points with 2,000 simulations, by 0.5 with 20,000. So the rule fails a row
only where a whole interval lies on the wrong side: above 5 % false, or outside a coverage of 93 to 97 %.

A second table has whole verdicts: tuning of k configs, and sharing of n tasks, each held against alone by five seeds.
Every task has the same true effect of sharing: none, at the margin, just beyond it, or three margins, of either sign.
It gives the share of confirmations in which one task's sentence is false: *helps* or *hurts* where the truth has not
that sign, *no difference* where it is beyond the margin, *as good or better alone* and *as good or worse alone* where
it is beyond the margin on the other side. And the share in which the recommendation is false: it names a task that
sharing helps or hurts and does not, says that tuned weights win, or that one model for all is as good as one for each
(of a main task, that sharing makes no difference or is no better) where that is wrong.

A third table has new divisions of the same data (`confirm --resplit`). A simulated difference is that of each test
example, which it keeps in every division, averaged over the test part; and what each training example adds, averaged
over the training part; and the seed's noise. It gives the share in which a null difference is called better, and the
coverage of the true difference over new data, with the corrected t interval and with the plain one. The correction is
for what divisions share; where the seed's noise, which they do not share, is most of the spread, it covers more. A
fourth table tries to mend that with several seeds a division; mtlsearch does not do so.

Two more have what stands beside the mean. Over K searches (`run --searches`), whose luck has an sd of 0 to 3 of that of
a pair: the coverage of the mean gain, and of the share of luck. And P(tuned > equal): how often its interval holds the
probability, of 2 to 98 % on seeds, and of 50 % on new divisions.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from common import conclude, parser, table
from scipy import special  # type: ignore[import-untyped, unused-ignore]

from mtlsearch.evidence.judge import contest, decide
from mtlsearch.evidence.metric import FRACTION_MARGIN
from mtlsearch.evidence.probability import probability
from mtlsearch.evidence.searches import split
from mtlsearch.evidence.statistics import ALPHA, POWER, Array, detectable, estimate, rounding_sd, t_interval

MOST_FALSE, COVERAGE = 5.0, (93.0, 97.0)  # percent
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


def binomial_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    tail = (1 - level) / 2
    low = special.betaincinv(hits, n - hits + 1, tail) if hits else 0.0
    high = special.betaincinv(hits + 1, n - hits, 1 - tail) if hits < n else 1.0
    return float(low), float(high)


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


Share = tuple[float, float, float]  # a share of the simulations and its interval, in percent


def percent(hits: int, n: int) -> Share:
    """A share with Clopper and Pearson's interval."""
    low, high = binomial_interval(hits, n)
    return 100 * hits / n, 100 * low, 100 * high


def told(found: Share) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*found)


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


@dataclass(frozen=True)
class Pool:
    """Data of `rows` examples that are divided anew for each of R trainings, 60, 20 and 20 %.

    `influence` is the sd of what a training example adds, `seeds` that of the seed's noise times the root of the test
    part's size, both in sds of a test example's difference.
    """

    divisions: int
    influence: float
    seeds: float
    rows: int = 200

    @property
    def test(self) -> int:
        return self.rows // 5

    @property
    def train(self) -> int:
        return 3 * self.test

    def differences(self, n: int, rng: np.random.Generator) -> Array:
        """The differences (n, R) of n data sets, whose true value is 0."""
        scored, trained = rng.standard_normal((2, n, self.rows), dtype=np.float32)
        found = np.empty((n, self.divisions))
        for division in range(self.divisions):
            ends = self.test, self.test + self.train
            rows = np.argpartition(rng.random((n, self.rows), dtype=np.float32), ends, axis=1)
            test, train = rows[:, : self.test], rows[:, self.test : ends[1]]
            found[:, division] = np.take_along_axis(scored, test, 1).mean(1)
            found[:, division] += self.influence * np.take_along_axis(trained, train, 1).mean(1)
            found[:, division] += self.seeds * rng.standard_normal(n) / np.sqrt(self.test)
        return found


def division_row(divisions: int, n: int, rng: np.random.Generator) -> list[object]:
    """The worst settings of confirmations on new divisions, corrected and not."""
    false, covered, plain = [], [], []
    for influence, seeds in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(divisions, influence, seeds)
        differences = pool.differences(n, rng)
        found = t_interval(differences, overlap=pool.test / pool.train)
        naive = t_interval(differences)
        false.append(int(((found.p <= ALPHA) & (found.mean > 0)).sum()))
        covered.append(int(((found.low <= 0) & (found.high >= 0)).sum()))
        plain.append(int(((naive.low <= 0) & (naive.high >= 0)).sum()))
    worst, least, most, uncorrected = (
        percent(hits, n) for hits in (max(false), min(covered), max(covered), min(plain))
    )
    wrong = {"more false": worst[1] > MOST_FALSE, "covers less": least[2] < COVERAGE[0]}
    held = ", ".join(name for name, found in wrong.items() if found) or "yes"
    return [f"R={divisions} divisions", told(worst), told(least), told(most), told(uncorrected), held]


def several_seeds_row(divisions: int, seeds: int, n: int, rng: np.random.Generator) -> list[object]:
    """Coverage where each division has several seeds: corrected as a whole, and its division part alone.

    With mean squares B between divisions and W within them, the variance of the mean is B / (R m) + overlap · d, where
    d = max(0, (B − W) / m) is the part that divisions make; the degrees of freedom are Satterthwaite's.
    """
    whole, part, narrower = [], [], []
    for influence, noise in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(divisions, influence, 0.0)
        overlap = pool.test / pool.train
        own = noise * rng.standard_normal((n, divisions, seeds)) / np.sqrt(pool.test)
        values = pool.differences(n, rng)[..., None] + own
        cells = values.mean(2)
        between, within = seeds * cells.var(1, ddof=1), values.var(2, ddof=1).mean(1)
        found = t_interval(cells, overlap=overlap)
        variance = between / (divisions * seeds) + overlap * np.maximum(0, between - within) / seeds
        pieces = (1 / (divisions * seeds) + overlap / seeds) * between, overlap / seeds * within
        below = pieces[0] ** 2 / (divisions - 1) + pieces[1] ** 2 / (divisions * (seeds - 1) or 1)
        df = np.where(between > within, np.maximum(variance**2 / below, 1.0), divisions - 1)
        half = special.stdtrit(df, 1 - ALPHA / 2) * np.sqrt(variance)
        whole.append(int(((found.low <= 0) & (found.high >= 0)).sum()))
        part.append(int((np.abs(cells.mean(1)) <= half).sum()))
        narrower.append(float(np.median(2 * half / (found.high - found.low))))
    ends = [percent(end(found), n) for found in (whole, part) for end in (min, max)]
    held = "yes" if ends[2][2] >= COVERAGE[0] and ends[3][1] <= COVERAGE[1] else "no"
    widths = f"{min(narrower):.2f} to {max(narrower):.2f}"
    return [f"R={divisions} divisions, {seeds} seeds each", *map(told, ends), widths, held]


def over_searches(values: Array, luck: float, overlap: float = 0.0) -> tuple[int, int, int]:
    """Of simulated gains (n, K, S) around zero: how many are called better, cover the gain, cover the share of luck."""
    pairs, better, gain, share = values.shape[-1], 0, 0, 0
    truth = luck**2 / (luck**2 + 1 / pairs)
    for searches in values:
        found = split([estimate(each, 1 - ALPHA) for each in searches], overlap=overlap)
        assert found.gain.low is not None
        assert found.gain.high is not None
        assert found.p is not None
        better += found.p <= ALPHA and found.gain.mean > 0
        gain += found.gain.low <= 0 <= found.gain.high
        share += found.luck is not None and found.luck.low <= truth <= found.luck.high
    return better, gain, share


def search_row(searches: int, pairs: int, divided: bool, n: int, rng: np.random.Generator) -> list[object]:
    """The worst settings of K searches, whose luck has an sd of 0 to 3 of that of a pair; on divisions of one pool."""
    counts = []
    for luck in (0.0, 0.5, 1.0, 3.0):
        lucky = luck * rng.standard_normal((n, searches, 1))
        if divided:
            pool = Pool(searches * pairs, 0.5, 1.0)
            differences = pool.differences(n, rng).reshape(n, searches, pairs)
            values = differences + lucky * differences.std()
            counts.append(over_searches(values, luck, pool.test / pool.train))
        else:
            counts.append(over_searches(lucky + rng.standard_normal((n, searches, pairs)), luck))
    better, gain, share = np.array(counts).T
    worst, least, most, lucky_least = (
        percent(int(hits), n) for hits in (better.max(), gain.min(), gain.max(), share.min())
    )
    held = "yes" if worst[1] <= MOST_FALSE and least[2] >= COVERAGE[0] and lucky_least[2] >= COVERAGE[0] else "no"
    kind = "new divisions" if divided else "seeds"
    return [f"K={searches} searches, {pairs} {kind}", *map(told, (worst, least, most, lucky_least)), held]


def probability_row(pairs: int, n: int, rng: np.random.Generator) -> list[object]:
    """How often the interval of P(tuned > equal) holds the true probability, on seeds and on new divisions."""
    seeds = []
    for truth in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        draws = special.ndtri(truth) + rng.standard_normal((n, pairs))
        seeds.append(_holds(draws, truth))
    divisions = []
    for influence, noise in itertools.product((0.0, 0.5, 1.0), (0.0, 1.0, 3.0)):
        pool = Pool(pairs, influence, noise)
        divisions.append(_holds(pool.differences(n, rng), 0.5, pool.test / pool.train))
    ends = [percent(end, n) for found in (seeds, divisions) for end in (min(found), max(found))]
    held = "yes" if min(ends[0][2], ends[2][2]) >= COVERAGE[0] else "no"
    return [f"{pairs} pairs", *map(told, ends), held]


def _holds(differences: Array, truth: float, overlap: float = 0.0) -> int:
    found = (probability(each, overlap=overlap) for each in differences)
    return sum(each is not None and each.low <= truth <= each.high for each in found)


def power_row(configs: int, seeds: int, simulations: int, rng: np.random.Generator) -> list[object]:
    """The difference that S seeds see 80 % of the time: as the verdict states it, and measured on the whole rule."""
    stated = detectable(seeds, 1.0, 0.05 / configs)
    alone, everywhere = (power_of(seeds, configs, every, simulations, rng) for every in (False, True))
    return [f"k={configs} S={seeds}", f"{stated:.2f}", f"{alone:.2f}", f"{everywhere:.2f}"]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--simulations", type=int, default=2000, help="for each setting")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    n = 100 if options.quick else options.simulations
    configs, seeds = ((2,), (5,)) if options.quick else ((1, 2, 3, 5, 10), (3, 5, 10))
    rng, rows = np.random.default_rng(options.seed), []
    for k, s in itertools.product(configs, seeds):
        for name, settings in (("smooth", smooth_settings(k, s)), ("counts", count_settings(k, s))):
            rows.append(row(f"k={k} S={s} {name}", [simulate(setting, n, rng) for setting in settings]))
    power = [power_row(k, s, 10 * n, rng) for k, s in itertools.product(configs[:2], seeds)]
    whole = [sentence_row(k, t, n, rng) for k, t in itertools.product(configs[:3], (1, 3, 8))]
    divided = [division_row(r, n, rng) for r in seeds]
    several = [several_seeds_row(r, m, n, rng) for r in seeds for m in (2, 3)]
    searched = [search_row(k, s, new, n, rng) for new in (False, True) for k in seeds for s in seeds[:2]]
    likely = [probability_row(s, n, rng) for s in seeds]
    head = ["", "settings", "false tuned at most, %", "coverage from, %", "to, %", "on average", "held"]
    sees = [
        "seen 80 % of the time, in sds of the paired difference",
        "stated",
        "winner alone",
        "every config",
    ]
    body = [
        table(head, rows),
        table(sees, power),
        table(
            ["new divisions", "false better at most, %", "coverage from, %", "to, %", "uncorrected from, %", "held"],
            divided,
        ),
        table(
            ["several seeds a division", "all corrected, %", "to, %", "division part, %", "to, %", "width", "held"],
            several,
        ),
        table(
            [
                "over searches",
                "false better at most, %",
                "gain covered from, %",
                "to, %",
                "luck covered from, %",
                "held",
            ],
            searched,
        ),
        table(
            ["P(tuned > equal)", "seeds: covered from, %", "to, %", "new divisions: from, %", "to, %", "held"], likely
        ),
        table(["whole verdicts", "one task's sentence false in at most, %", "the recommendation, %", "held"], whole),
        f"- {n:,} simulated confirmations a setting, the choice among k configs included; the worst setting of each"
        " row, with its own 95 % binomial interval.\n"
        "- `smooth`: noise that is not rounded, normal or heavy-tailed; `counts`: accuracies of small test sets. Where"
        " the noise is less than a step of the test set, the interval is as wide as the step: it covers more.\n"
        "- For more than three configs the interval's level rises, so that it covers enough where the choice among"
        " them flatters the winner most; elsewhere it covers more.",
    ]
    conclude(options, "Calibration of the verdict, simulated", "\n\n".join(body))


if __name__ == "__main__":
    main()

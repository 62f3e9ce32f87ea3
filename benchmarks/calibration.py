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

The simulations are in `simulated_confirmations.py`, `simulated_divisions.py` and `simulated_searches.py`.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from common import conclude, parser, table
from simulated_confirmations import count_settings, power_row, row, sentence_row, simulate, smooth_settings
from simulated_divisions import division_row, several_seeds_row
from simulated_searches import probability_row, search_row


def confirmation_tables(configs: Sequence[int], seeds: Sequence[int], n: int, rng: np.random.Generator) -> list[str]:
    """False verdicts and coverage, power, and whole verdicts."""
    rows = []
    for k, s in itertools.product(configs, seeds):
        for name, settings in (("smooth", smooth_settings(k, s)), ("counts", count_settings(k, s))):
            rows.append(row(f"k={k} S={s} {name}", [simulate(setting, n, rng) for setting in settings]))
    power = [power_row(k, s, 10 * n, rng) for k, s in itertools.product(configs[:2], seeds)]
    whole = [sentence_row(k, t, n, rng) for k, t in itertools.product(configs[:3], (1, 3, 8))]
    sees = "seen 80 % of the time, in sds of the paired difference"
    return [
        table(["", "settings", "false tuned at most, %", "coverage from, %", "to, %", "on average", "held"], rows),
        table([sees, "stated", "winner alone", "every config"], power),
        table(["whole verdicts", "one task's sentence false in at most, %", "the recommendation, %", "held"], whole),
    ]


def division_tables(divisions: Sequence[int], n: int, rng: np.random.Generator) -> list[str]:
    """Confirmations on new divisions, with one seed a division and with several."""
    one = [division_row(r, n, rng) for r in divisions]
    several = [several_seeds_row(r, m, n, rng) for r in divisions for m in (2, 3)]
    return [
        table(
            ["new divisions", "false better at most, %", "coverage from, %", "to, %", "uncorrected from, %", "held"],
            one,
        ),
        table(
            ["several seeds a division", "all corrected, %", "to, %", "division part, %", "to, %", "width", "held"],
            several,
        ),
    ]


def search_tables(seeds: Sequence[int], n: int, rng: np.random.Generator) -> list[str]:
    """What stands beside the mean: the gain and the luck over searches, and P(tuned > equal)."""
    searched = [search_row(k, s, new, n, rng) for new in (False, True) for k in seeds for s in seeds[:2]]
    likely = [probability_row(s, n, rng) for s in seeds]
    covered = ["gain covered from, %", "to, %", "luck covered from, %"]
    return [
        table(["over searches", "false better at most, %", *covered, "held"], searched),
        table(
            ["P(tuned > equal)", "seeds: covered from, %", "to, %", "new divisions: from, %", "to, %", "held"], likely
        ),
    ]


def notes(n: int) -> str:
    return (
        f"- {n:,} simulated confirmations a setting, the choice among k configs included; the worst setting of each"
        " row, with its own 95 % binomial interval.\n"
        "- `smooth`: noise that is not rounded, normal or heavy-tailed; `counts`: accuracies of small test sets. Where"
        " the noise is less than a step of the test set, the interval is as wide as the step: it covers more.\n"
        "- For more than three configs the interval's level rises, so that it covers enough where the choice among"
        " them flatters the winner most; elsewhere it covers more."
    )


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--simulations", type=int, default=2000, help="for each setting")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    n = 100 if options.quick else options.simulations
    configs, seeds = ((2,), (5,)) if options.quick else ((1, 2, 3, 5, 10), (3, 5, 10))
    rng = np.random.default_rng(options.seed)
    false, power, whole = confirmation_tables(configs, seeds, n, rng)
    body = [false, power, *division_tables(seeds, n, rng), *search_tables(seeds, n, rng), whole, notes(n)]
    conclude(options, "Calibration of the verdict, simulated", "\n\n".join(body))


if __name__ == "__main__":
    main()

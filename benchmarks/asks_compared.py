"""Ways to ask, compared at equal trial-epochs with sixteen in flight, on surrogates of recorded learning curves.

    python benchmarks/asks_compared.py --curves FILE [--found FILE] [--seeds 40] [--problems digits enb jura]

Each way searches the surrogate of a problem (`curves.py`) for each seed until the trial-epochs of --trials trials of
TPE are spent. The answer is the complete trial with the best observed score; what counts is the score that the
surrogate expects of its config, without noise. Differences to TPE are of the same seeds; the interval is
Student's. Milliseconds are those of choosing the next members, by trial, beside the machine's other work.

--found FILE keeps every search, so that a benchmark that was ended goes on. SMAC3 is compared where it can be imported.

Optuna 5.0 has no automatic choice of its own. That of OptunaHub (`auto_sampler`), which is not downloaded here, takes
TPE with one density of all dimensions (multivariate) and pending trials as bad ones wherever a dimension is a choice,
which holds for all these problems, after the first complete trial; so that is what stands in for it.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from common import conclude, parser, rounded, table
from curves import EPOCHS, Surrogate, add_curves_options, kept_curves, surrogate_table
from freeze_thaw import FreezeThaw, PrunedProcess
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import GPSampler, TPESampler
from ways import HAS_SMAC, Sampled, Smac, Way

from mtlsearch.evidence.statistics import t_interval
from mtlsearch.tuning.choices import make_pruner, seeded_asks
from mtlsearch.tuning.options.training import RunOptions

TPE = "TPE of mtlsearch, pruner of peers"
PARTS = (0.5, 1.0)  # of the trial-epochs, at which the answer is looked at


def peers(surrogate: Surrogate) -> BasePruner:
    return make_pruner(RunOptions.pruner, surrogate.epochs)


WAYS: dict[str, Callable[[Surrogate, int], Way]] = {
    TPE: lambda s, seed: Sampled(s, seed, seeded_asks("tpe", seed), peers(s)),
    "random, pruner of peers": lambda s, seed: Sampled(s, seed, seeded_asks("random", seed), peers(s)),
    "random, unpruned": lambda s, seed: Sampled(s, seed, seeded_asks("random", seed), NopPruner()),
    "Optuna's TPE, multivariate (auto_sampler's choice)": lambda s, seed: Sampled(
        s, seed, TPESampler(seed=seed, multivariate=True, constant_liar=True), peers(s)
    ),
    "freeze-thaw": FreezeThaw,
    "the process of freeze-thaw, rule of peers": PrunedProcess,
    "SMAC3, pruner of peers": lambda s, seed: Smac(s, seed, peers(s), 400),
    "Optuna's GP, pruner of peers": lambda s, seed: Sampled(
        s, seed, GPSampler(seed=seed, deterministic_objective=False), peers(s)
    ),
    "GP of mtlsearch, pruner of peers": lambda s, seed: Sampled(s, seed, seeded_asks("gp", seed), peers(s)),
}


def answer(way: Way, spent: float) -> tuple[float, float]:
    """The expected and the observed score of the answer after so many trial-epochs; NaN without a complete trial."""
    there = [(score, params) for at, score, params in way.found if at <= spent]
    if not there:
        return math.nan, math.nan
    score, params = max(there, key=lambda pair: pair[0])
    return float(way.surrogate.mean(params).max()), score


@cache
def budget(problem: str, trials: int) -> int:
    """The trial-epochs that a problem's searches get: about those of so many trials of TPE."""
    return round(trials * EPOCHS[problem] * SHARE[problem])


SHARE = {"digits": 0.55, "enb": 0.4, "jura": 0.4, "made up": 0.6}  # of its epochs that a trial of TPE trains


def searched(problem: str, name: str, seed: int, surrogate: Surrogate, spent: int) -> dict[str, Any]:
    way = WAYS[name](surrogate, seed)
    way.search(spent)
    found = {str(part): answer(way, part * spent) for part in PARTS}
    return {"answers": found, "trials": len(way.params), "ms": 1000 * way.seconds / len(way.params)}


def compared(options: argparse.Namespace) -> str:
    kept: dict[str, Any] = json.loads(options.found.read_text()) if options.found and options.found.exists() else {}
    curves = kept_curves(options)
    surrogates = {problem: Surrogate(each) for problem, each in curves.items()}
    chosen = [name for name in WAYS if any(part in name for part in options.ways)]
    names = [name for name in chosen if HAS_SMAC or not name.startswith("SMAC3")]
    for seed in range(options.seeds):
        for problem, surrogate in surrogates.items():
            for name in names:
                spent = budget(problem, options.trials)
                key = f"{problem}/{spent}/{name}/{seed}"
                if key not in kept:
                    kept[key] = searched(problem, name, seed, surrogate, spent)
                    if options.found:
                        options.found.write_text(json.dumps(kept))
        print(f"seed {seed}", flush=True)
    return "\n\n".join([surrogate_table(curves), told(kept, list(surrogates), options)])


def told(kept: dict[str, Any], problems: Sequence[str], options: argparse.Namespace) -> str:
    """The table of what was found."""
    rows = []
    for problem in problems:
        spent = budget(problem, options.trials)
        found = {
            name: {s: kept[key] for s in range(options.seeds) if (key := f"{problem}/{spent}/{name}/{s}") in kept}
            for name in WAYS
        }
        for name, each in found.items():
            if not each:
                continue
            cells = []
            for part in PARTS:
                paired = [
                    100 * (each[s]["answers"][str(part)][0] - found[TPE][s]["answers"][str(part)][0])
                    for s in each
                    if s in found[TPE]
                ]
                cells.append(difference([p for p in paired if not math.isnan(p)]) if name != TPE else "–")
            expected, observed = (100 * fmean(e["answers"]["1.0"][i] for e in each.values()) for i in (0, 1))
            trials, ms = (fmean(e[of] for e in each.values()) for of in ("trials", "ms"))
            scores = [f"{expected:.2f}", f"{observed:.2f}", *cells]
            rows.append([f"{problem}, {spent}: {name}", len(each), *scores, f"{trials:.0f}", rounded(ms)])
    head = [
        "problem, trial-epochs: way",
        "seeds",
        "expected score, %",
        "observed, %",
        "points over TPE, half way",
    ]
    return table([*head, "at the end", "trials", "ms a trial"], rows)


def difference(paired: Sequence[float]) -> str:
    """A mean difference with its 95 % interval."""
    if len(paired) < 2:
        return "–"
    found = t_interval(paired)
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    made = parser(__doc__)
    add_curves_options(made)
    made.add_argument("--found", type=Path, help="the file that keeps the searches")
    made.add_argument("--seeds", type=int, default=40)
    made.add_argument("--trials", type=int, default=60, help="of TPE, whose trial-epochs every way gets")
    made.add_argument("--ways", nargs="*", default=[""], help="only the ways whose names contain one of these")
    options = made.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if options.quick:
        options.problems, options.recorded, options.seeds, options.trials = ["made up"], 20, 2, 24
    title = f"Ways to ask, {options.trials} trials' epochs, sixteen in flight"
    conclude(options, title, compared(options))


if __name__ == "__main__":
    main()

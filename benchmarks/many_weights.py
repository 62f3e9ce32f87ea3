"""What searching the weights of many tasks gains, at equal trial-epochs: a weight of each, families, groups, schedules.

    python benchmarks/many_weights.py [--data DIR] [--cases tox21 toxcast simulated-27 simulated-40]
                                      [--ways each labels groups …] [--seeds N] [--trials N] [--epochs N]
                                      [--kept FILE]

Every way (`many_weights_ways`) searches the learning rate too, with the same seed, the same trials and epochs and no
pruner, after the default config with equal weights; `equal` searches nothing else. The best trial on validation is
scored on test. A row is the mean difference to another way in points of the score (the mean AUROC), over paired seeds,
with its 95 % t interval. `tox21` has 12 tasks and `toxcast` 617, from `molecules/` in the folder of data; in the
simulated ones the tasks differ in noise and in their number of labels (8 to 100 %). With `--kept`, scores are kept in a
file, so that a run goes on where another one stopped.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import optuna
import torch
from common import conclude, parser, table
from many_weights_cases import CASES, loaded_case
from many_weights_ways import STAYING, WAYS, Crowd, best_of_each
from scipy.stats import t as student

from mtlsearch.training.population.steps import Compiled, Fused, has_compiler

Scores = Mapping[str, Mapping[int, float]]  # {way: {seed: test score in points}}
AGAINST = ("equal", "each", "pbt-rate")


def interval(values: Sequence[float]) -> str:
    """The mean with the half width of its 95 % t interval."""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{fmean(values):+.2f} ± {half:.2f}"


class Kept:
    """Scores in a file of JSON lines, or in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.scores = path, dict[str, float]()
        if path is not None and path.exists():
            lines = map(json.loads, path.read_text().splitlines())
            self.scores = {line["of"]: line["score"] for line in lines}

    def add(self, of: str, score: float) -> None:
        self.scores[of] = score
        print(of, f"{score:.2f}", flush=True)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"of": of, "score": score}) + "\n")


def scores_of(case: str, kept: Kept, options: argparse.Namespace) -> Scores:
    """The scores of all ways with every seed; seeds are outside, so that each has all ways."""
    loaded, ways = loaded_case(case, options.data, options.epochs), list(dict.fromkeys(["equal", *options.ways]))
    slots = sum(way in STAYING for way in ways)
    crowd = Crowd(loaded, slots, Fused() if options.quick or not has_compiler() else Compiled())
    found: dict[str, dict[int, float]] = {way: {} for way in ways}
    for seed in range(options.seeds):
        names = {way: f"{case} {way} {options.trials} × {options.epochs} seed {seed}" for way in ways}
        missing = [way for way in ways if names[way] not in kept.scores]
        for way, best in best_of_each(missing, crowd, seed, options.trials).items():
            kept.add(names[way], 100 * best.test_score(loaded))
        for way in ways:
            found[way][seed] = kept.scores[names[way]]
    return found


def rows_of(case: str, found: Scores) -> list[list[str]]:
    lines = []
    for way, own in found.items():
        gains = []
        for other in AGAINST:
            shown = other != way and other in found and (other != "pbt-rate" or way.startswith("pbt"))
            gains.append(interval([own[seed] - found[other][seed] for seed in own]) if shown else "")
        lines.append([f"{case}: {way}", str(len(own)), f"{fmean(own.values()):.2f}", *gains])
    return lines


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, help="the folder that holds molecules/tox21.npz and toxcast.npz")
    made.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    made.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:])
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--trials", type=int, default=20)
    made.add_argument("--epochs", type=int, default=6)
    made.add_argument("--kept", type=Path, help="a file of scores, to go on with")
    options = made.parse_args()
    if options.quick:
        options.cases, options.seeds, options.trials, options.epochs = ["simulated-27"], 2, 2, 1
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = Kept(options.kept)
    lines = [line for case in options.cases for line in rows_of(case, scores_of(case, kept, options))]
    head = ["", "seeds", "test, %", *(f"minus {name}, points" for name in AGAINST)]
    note = f"- {options.trials} trials of {options.epochs} epochs each, one CPU thread."
    conclude(options, "Weights of many tasks", f"{table(head, lines)}\n\n{note}", torch.device("cpu"))


if __name__ == "__main__":
    main()

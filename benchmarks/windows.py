"""What the sampler's window of a long history loses in search quality: paired seeds, window against whole history.

    python benchmarks/windows.py [--seeds 24] [--trials 400] [--dry-run]

The sampler is the default one. A search asks sixteen trials, scores them, and asks again. The window has a tenth of its
real sizes, so that 400 trials are a history of four windows; its proportions are the real ones. Two functions are
maximised: the negative of Hartmann's in six dimensions, and one of mixed dimensions with interactions. Each score has
noise. Compared are the true value of the trial with the best score, and the mean true value of the last quarter.
The searches of a seed have the same random start. A window without the best trials of the past shows that the
comparison can find a loss.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from common import conclude, parser, table
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import t

from mtlsearch.tuning.samplers.tpe import SharedTPESampler
from mtlsearch.tuning.samplers.window import Window

IN_FLIGHT, SMALLER = 16, 10
FULL = Window()
TENTH = Window(*(size // SMALLER for size in (FULL.longest, FULL.best, FULL.newest, FULL.in_training)))
WINDOWS = {
    "window": TENTH,
    "window of a third of that": replace(TENTH, newest=TENTH.newest // 3),
    "window without the best": replace(TENTH, best=0),
}
WHOLE = Window(longest=10**9)
# Source of the constants: the function's page in the Virtual Library of Simulation Experiments (Surjanovic, Bingham).
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(params: Mapping[str, Any]) -> float:
    x = np.array([params[f"x{i}"] for i in range(6)])
    return float(ALPHA @ np.exp(-(A * (x - P) ** 2).sum(axis=1)))


def mixed(params: Mapping[str, Any]) -> float:
    rate = np.log10(params["rate"]) + {"adam": 3.0, "rmsprop": 3.3, "sgd": 1.5}[params["optimizer"]]
    width = np.log2(params["hidden"] / 96)
    far = 0.5 * rate**2 + 0.1 * (width - 0.5 * rate) ** 2 + 4 * (params["dropout"] - 0.1 - 0.05 * width) ** 2
    return float(np.exp(-far) - 0.3 * params["share"] ** 2 * (params["optimizer"] == "sgd"))


FUNCTIONS: dict[str, tuple[Callable[[Mapping[str, Any]], float], dict[str, BaseDistribution], float]] = {
    "Hartmann, 6 dimensions": (hartmann, {f"x{i}": FloatDistribution(0, 1) for i in range(6)}, 0.1),
    "mixed, 5 dimensions": (
        mixed,
        {
            "dropout": FloatDistribution(0.0, 0.5),
            "hidden": IntDistribution(16, 256, log=True),
            "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
            "rate": FloatDistribution(1e-5, 1e-1, log=True),
            "share": FloatDistribution(-3.0, 3.0),
        },
        0.03,
    ),
}


class Trials(optuna.Study):
    """A study in a list: asking is the sampler's alone, without a store."""

    def __init__(self) -> None:
        self.listed: list[FrozenTrial] = []
        study = optuna.create_study(direction="maximize")
        self._study_id, self._storage, self._directions = study._study_id, study._storage, study.directions

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
        return [trial for trial in self.listed if states is None or trial.state in states]


def searched(name: str, window: Window, seed: int, trials: int) -> tuple[float, float]:
    """The true value of the trial with the best score, and the mean of the last quarter."""
    function, space, noise = FUNCTIONS[name]
    study, random = Trials(), np.random.default_rng(seed)
    sampler, truths = SharedTPESampler(window, seed=seed), list[float]()
    for begin in range(0, trials, IN_FLIGHT):
        for number in range(begin, min(begin + IN_FLIGHT, trials)):
            trial = create_trial(state=TrialState.RUNNING)
            trial.number = number
            study.listed.append(trial)
            params = (
                {n: sampler._random_sampler.sample_independent(study, trial, n, d) for n, d in space.items()}
                if begin == 0
                else sampler._sample(study, trial, dict(sorted(space.items())))
            )
            trial.params, trial.distributions = params, space
            truths.append(function(params))
        for trial in study.listed[begin:]:
            trial.state, trial.value = TrialState.COMPLETE, truths[trial.number] + noise * random.normal()
    best = max(study.listed, key=lambda trial: float(trial.value or 0.0))
    return truths[best.number], fmean(truths[-trials // 4 :])


def compared(options: argparse.Namespace) -> str:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []
    for name in FUNCTIONS:
        whole = np.array([searched(name, WHOLE, seed, options.trials) for seed in range(options.seeds)])
        rows.append([name, "whole history", *(f"{mean:.4f}" for mean in whole.mean(axis=0)), "–", "–"])
        for label, window in list(WINDOWS.items())[: options.windows]:
            found = np.array([searched(name, window, seed, options.trials) for seed in range(options.seeds)])
            differences = [_interval(row) for row in (found - whole).T]
            rows.append([name, label, *(f"{mean:.4f}" for mean in found.mean(axis=0)), *differences])
            print(rows[-1], flush=True)
    head = ["function", "sampler sees", "best trial", "last quarter", "best − whole's", "last quarter − whole's"]
    return (
        table(head, rows) + f"\n\n{options.seeds} paired seeds, {options.trials} trials; 95 % intervals of the mean.\n"
    )


def _interval(differences: Any) -> str:
    half = float(t.ppf(0.975, len(differences) - 1)) * differences.std(ddof=1) / len(differences) ** 0.5
    return f"{differences.mean():+.4f} ± {half:.4f}"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=24)
    made.add_argument("--trials", type=int, default=400)
    made.add_argument("--windows", type=int, default=len(WINDOWS), help="only the first so many")
    options = made.parse_args()
    if options.quick:
        options.seeds, options.trials = 2, 48
    conclude(options, "What the sampler's window loses", compared(options))


if __name__ == "__main__":
    main()

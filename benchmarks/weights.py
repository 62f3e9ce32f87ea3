"""The prior of task weights on problems whose best weights are known: log ratios beside the simplex.

    python benchmarks/weights.py [--trials 100] [--seeds 20]

T tasks learn one map; the label noise of task i pushes it by eᵢ, orthogonal to the others'. With weights w the map's
squared error is Σ wᵢ² |eᵢ|², least at wᵢ ∝ 1/|eᵢ|². The best weights are spaced evenly in their logarithm, up to a
ratio of 1, 10 or 100, and which task has which is drawn anew for every seed. A score is minus the logarithm of the
error, with noise of 0.02 as trainings have it. There is nothing to train, so every seed is a whole search with the
package's TPE, one trial at a time, the first of them at equal weights.

*excess* is how much larger the error at the best trial's weights is than the least one, without noise; *distance* is
Aitchison's between these weights and the best ones (the norm of the centred log ratios). A prior is compared with the
simplex seed by seed, by the mean difference with Student's 95 % interval: below zero the prior is better.
"""

import itertools
import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import optuna
from common import conclude, parser, table

from mtlsearch.evidence.statistics import Estimate, estimate
from mtlsearch.study.weights.task_weights import LogRatios, Simplex, WeightSpace
from mtlsearch.tuning.samplers.tpe import tpe_sampler

RATIOS, TASKS, NOISE = (1, 10, 100), (2, 3, 8), 0.02
REFERENCE = "simplex"
PRIORS = {REFERENCE: Simplex, **{f"1 : {reach}": partial(LogRatios, range=float(reach)) for reach in (10, 100, 1000)}}

Weights = Mapping[str, float]


def best_weights(tasks: int, ratio: float, seed: int) -> dict[str, float]:
    """Weights from 1 to `ratio`, even in their logarithm, in an order of the seed's, Σ = 1."""
    shares = np.random.default_rng(seed).permutation(np.geomspace(1, ratio, tasks))
    return {f"t{i}": float(share) for i, share in enumerate(shares / shares.sum())}


def error(weights: Weights, best: Weights) -> float:
    """The squared error in units of the least one: Σ wᵢ²/bᵢ, which is 1 at w = b."""
    return math.fsum(weights[task] ** 2 / best[task] for task in best)


def distance(weights: Weights, best: Weights) -> float:
    logs = np.log([max(weights[task], 1e-12) / best[task] for task in best])
    return float(np.linalg.norm(logs - logs.mean()))


def searched(space: WeightSpace, best: Weights, trials: int, seed: int) -> tuple[float, float]:
    """The excess error in percent and the distance of the weights that a search finds."""
    study = optuna.create_study(direction="maximize", sampler=tpe_sampler(seed))
    study.enqueue_trial(space.params(space.default()))
    noise = np.random.default_rng([seed, 1]).normal(0, NOISE, trials)
    for shift in noise:
        trial = study.ask(space.distributions)
        study.tell(trial, -math.log(error(space.weights(trial.params), best)) + float(shift))
    found = space.weights(study.best_trial.params)
    return 100 * (error(found, best) - 1), distance(found, best)


def told(found: Estimate) -> str:
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=100)
    made.add_argument("--seeds", type=int, default=20)
    options = made.parse_args()
    trials, seeds = (12, 3) if options.quick else (options.trials, options.seeds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []
    for tasks, ratio in itertools.product(TASKS[:2] if options.quick else TASKS, RATIOS):
        problems = [best_weights(tasks, ratio, seed) for seed in range(seeds)]
        found = {
            name: np.array([searched(make(list(b)), b, trials, seed) for seed, b in enumerate(problems)])
            for name, make in PRIORS.items()
        }
        for name, each in found.items():
            less = (
                [told(estimate((each - found[REFERENCE])[:, i], 0.95)) for i in (0, 1)]
                if name != REFERENCE
                else ["–"] * 2
            )
            excess, far = each.mean(0)
            rows.append(
                [f"{tasks} tasks, best up to 1 : {ratio}, {name}", f"{excess:.2f}", less[0], f"{far:.2f}", less[1]]
            )
    head = ["", "excess, %", "minus simplex's", "distance", "minus simplex's"]
    note = f"- Means over {seeds} seeds of searches of {trials} trials; in brackets 95 % t intervals."
    body = f"{table(head, rows)}\n\n{note}"
    conclude(options, "Priors of task weights", body)


if __name__ == "__main__":
    main()

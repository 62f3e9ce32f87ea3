"""What searching the weights of many tasks gains, at equal trial-epochs: a weight of each, families, groups.

    python benchmarks/many_weights.py [--data DIR] [--cases tox21 toxcast simulated-27 simulated-40]
                                      [--ways each labels groups] [--seeds N] [--trials N] [--epochs N]

Every way searches the learning rate too, by TPE with the same seed, the same trials and epochs and no pruner, after the
default config with equal weights; `equal` searches nothing else. The best trial on validation is scored on test. A row
is the mean difference to another way in points of the score (the mean AUROC), over paired seeds, with its 95 % t
interval. `tox21` has 12 tasks and `toxcast` 617, from `molecules/` in the folder of data; in the simulated ones the
tasks differ in noise and in their number of labels (8 to 100 %).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import optuna
import torch
from common import conclude, parser, table
from scipy.stats import t as student

from mtlsearch import Data, MultiLabel, SharedTrunk, Study, real
from mtlsearch.study.loaded import LoadedStudy, load_data
from mtlsearch.study.space import Config
from mtlsearch.training.solo import SoloTrainer, evaluate_state
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.samplers.tpe import tpe_sampler

HIDDEN, BATCH, RATE = 64, 256, 3e-3
WAYS = ("equal", "each", "labels", "groups")
CASES = ("tox21", "toxcast", "simulated-27", "simulated-40")
ROWS, FEATURES = 2400, 24
SHARES = (0.8, 0.9)  # ends of train and validation


class Source:
    """Inputs, and yes-or-no labels [N] of each task, NaN where missing."""

    def __init__(self, inputs: np.ndarray, labels: Mapping[str, np.ndarray], shares: Sequence[float]) -> None:
        self.inputs, self.labels, self.shares = inputs.astype(np.float32), labels, shares

    def __call__(self, directory: Path) -> Data:
        ends = [int(len(self.inputs) * share) for share in self.shares]
        parts = [slice(0, ends[0]), slice(*ends), slice(ends[1], None)]
        train, validation, test = (
            (self.inputs[rows], {name: y[rows, np.newaxis].astype(np.float32) for name, y in self.labels.items()})
            for rows in parts
        )
        return Data(train, test, validation=validation, inputs="numbers")


def molecules(folder: Path, name: str) -> Source:
    with np.load(folder / "molecules" / f"{name}.npz") as found:
        inputs, labels, tasks = found["X"], found["Y"], [str(task) for task in found["tasks"]]
    order = np.random.default_rng(0).permutation(len(inputs))
    return Source(inputs[order], {task: labels[order, i] for i, task in enumerate(tasks)}, SHARES)


def simulated(tasks: int) -> Source:
    """Tasks on shared hidden units, of three strengths of noise, with 8 to 100 % of their labels."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    hidden = np.tanh(inputs @ random.normal(size=(FEATURES, 10)) / 3)
    labels = {}
    for task in range(tasks):
        signal = hidden @ random.normal(size=10) + 2 * hidden[:, random.integers(10)] * hidden[:, random.integers(10)]
        noise = random.choice([0.3, 1.0, 4.0]) * random.normal(size=ROWS) * signal.std()
        yes = (signal + noise > np.quantile(signal, random.uniform(0.4, 0.8))).astype(np.float32)
        yes[random.random(ROWS) >= np.exp(random.uniform(np.log(0.08), 0))] = np.nan
        labels[f"task {task}"] = yes
    return Source(inputs, labels, (0.58, 0.79))


def loaded_case(case: str, way: str, options: argparse.Namespace) -> LoadedStudy:
    source = simulated(int(case.split("-")[1])) if "-" in case else molecules(options.data, case)
    names, features = list(source.labels), source.inputs.shape[1]
    hidden = HIDDEN if "-" not in case else HIDDEN // 2

    def model(config: Config) -> SharedTrunk:
        return SharedTrunk(features, dict.fromkeys(names, 1), hidden=hidden, dropout=0.2)

    study = Study(
        [MultiLabel(name, source) for name in names],
        model=model,
        space={"learning_rate": real(3e-4, 2e-2, log=True)},
        default={"learning_rate": RATE},
        epochs=options.epochs,
        batch_size=BATCH,
        unscorable="skip",
        weights=way,
    )
    return load_data(study, Path())


def test_score(loaded: LoadedStudy, seed: int, trials: int) -> float:
    """The test score of the best trial on validation."""
    space, default = loaded.study.search_space, loaded.study.default_config()
    study = optuna.create_study(direction="maximize", sampler=tpe_sampler(seed))
    study.enqueue_trial(space.params(default))
    trainer, best = SoloTrainer(Training(loaded, seed)), (-np.inf, default, dict[str, torch.Tensor]())
    for number in range(trials):
        trial = study.ask(space.distributions)
        config = space.config(trial.params, loaded.study.default)
        trainer.add(number, config)
        (result,) = trainer.advance()
        while not result.finished:
            (result,) = trainer.advance()
        if result.best_score > best[0]:
            best = result.best_score, config, trainer.state(number)
        trainer.drop(number)
        study.tell(trial, result.best_score)
    return loaded.score(evaluate_state(loaded, best[1], best[2], "test"))


def interval(values: Sequence[float]) -> str:
    """The mean with the half width of its 95 % t interval."""
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{fmean(values):+.2f} ± {half:.2f}"


def rows_of(case: str, options: argparse.Namespace) -> list[list[str]]:
    ways = {way: loaded_case(case, way, options) for way in ["equal", *options.ways]}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for seed in range(options.seeds):  # outside, so that each seed has all ways
        for way, loaded in ways.items():
            found[way].append(100 * test_score(loaded, seed, options.trials))
            print(case, seed, way, f"{found[way][-1]:.2f}", flush=True)
    lines = []
    for way in options.ways:
        gains = [interval([a - b for a, b in zip(found[way], found["equal"], strict=True)])]
        against = [a - b for a, b in zip(found[way], found["each"], strict=True)] if "each" in found else []
        gains.append("" if way == "each" or not against else interval(against))
        lines.append([f"{case}: {way}", f"{fmean(found[way]):.2f}", *gains])
    return lines


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, help="the folder that holds molecules/tox21.npz and toxcast.npz")
    made.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    made.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:])
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--trials", type=int, default=20)
    made.add_argument("--epochs", type=int, default=6)
    options = made.parse_args()
    if options.quick:
        options.cases, options.seeds, options.trials, options.epochs = ["simulated-27"], 2, 2, 1
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = [line for case in options.cases for line in rows_of(case, options)]
    head = ["", "test, %", "minus equal weights, points", "minus a weight of each, points"]
    note = f"- {options.seeds} seeds, {options.trials} trials of {options.epochs} epochs each, one CPU thread."
    conclude(options, "Weights of many tasks", f"{table(head, lines)}\n\n{note}", torch.device("cpu"))


if __name__ == "__main__":
    main()

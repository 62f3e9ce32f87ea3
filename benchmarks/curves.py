"""Learning curves that unpruned searches recorded once, and a surrogate of them that `asks_compared.py` searches.

A problem is a study with the epochs of a trial: the shipped `digits`, or a table of Mulan's (NAME.arff.gz in --tables)
as `mtlsearch init` writes it. Half of its trials are drawn at random, the others by unpruned TPE searches of a hundred
trials, so that the curves are dense where a search ends up. The file --curves keeps what was recorded.

The surrogate predicts the whole curve from a config's place in its space: the mean of a forest of trees and a Gaussian
process, which knows unseen configs better than either alone. Both are fitted to −log(1.02 − score), in which the good
configs are as far apart as the bad ones; scores must not exceed 1. Noise is that of training alone: some configs of the
better half are trained with other seeds, and a curve's noise is what one of them differs from its config's mean. The
surrogate's own residuals are several times as large and would make lucky trials win.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import table
from new_data import TARGETS, called, frame_of, made_up
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json, json_to_distribution
from optuna.trial import TrialState
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import mtlsearch
from mtlsearch.evidence.importance.mattered import space_of
from mtlsearch.evidence.importance.shares import place
from mtlsearch.store.curves import curve
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.loaded import load_data
from mtlsearch.study.space import Config
from mtlsearch.study.study_file import load_study
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training
from mtlsearch.tuning.retrain import train_config

Array = NDArray[np.float64]
Space = dict[str, BaseDistribution]
EPOCHS = {"digits": 9, "enb": 12, "jura": 12, "made up": 4}
POPULATION = {"digits": 16}  # others train one at a time, uncompiled: their steps take less than compiling them does
SEARCH = 100  # trials of a recorded TPE search
TREES = 100
REPEATED, SEEDS = 12, 3  # configs that are trained with other seeds, and those
FOLDS = 5
ABOVE = 1.02  # a little more than the best score there can be


@dataclass(frozen=True)
class Curves:
    """A problem's space, and the params and curve [epochs] of each recorded trial; the first is the default config.

    `noise` [trainings, epochs] is what curves of one config differ from their mean.
    """

    space: Space
    params: list[dict[str, Any]]
    scores: Array
    noise: Array

    def to_dict(self) -> dict[str, Any]:
        space = {name: distribution_to_json(d) for name, d in self.space.items()}
        return {"space": space, "params": self.params, "scores": self.scores.tolist(), "noise": self.noise.tolist()}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Curves":
        space = {name: json_to_distribution(d) for name, d in kept["space"].items()}
        scores, noise = (np.array(kept[name], dtype=np.float64) for name in ("scores", "noise"))
        return cls(space, list(kept["params"]), scores, noise)


def placed(space: Mapping[str, BaseDistribution], params: Sequence[Mapping[str, Any]]) -> Array:
    """Configs as numbers from 0 to 1 as they are searched, a column for each choice."""
    columns = []
    for name, d in space.items():
        if isinstance(d, CategoricalDistribution):
            columns.append([[float(p[name] == choice) for choice in d.choices] for p in params])
        else:
            columns.append([[place(d, p[name])] for p in params])
    return np.hstack([np.array(column, dtype=np.float64) for column in columns])


def study_of(problem: str, tables: Path | None, folder: Path) -> str:
    """The name or path of a problem's study; a table's file is written into `folder`."""
    if problem == "digits":
        return problem
    if problem == "made up":
        frame, targets = made_up(), 2
    else:
        if tables is None:
            raise SystemExit(f"{problem} needs its table: name the folder of {problem}.arff.gz with --tables")
        frame, targets = frame_of(tables / f"{problem}.arff.gz"), TARGETS[problem]
    return written(frame, list(frame.columns[-targets:]), folder)


def written(frame: Any, targets: Sequence[str], folder: Path, name: str = "table") -> str:
    """The path of the study file that `mtlsearch init` writes of a table."""
    source, study = folder / f"{name}.csv", folder / f"{name}.py"
    frame.to_csv(source, index=False)
    called("init", "--csv", source, "--targets", ",".join(targets), "--out", study)
    return str(study)


def recorded(problem: str, trials: int, tables: Path | None) -> Curves:
    """The curves of one random search and of TPE searches, none of them pruned."""
    found: list[tuple[dict[str, Any], list[float]]] = []
    with tempfile.TemporaryDirectory(prefix="mtlsearch-curves-") as name:
        folder = Path(name)
        study, url = study_of(problem, tables, folder), f"sqlite:///{folder}/store.db"
        parts = [("random", trials // 2)]
        parts += [("tpe", min(SEARCH, trials - begun)) for begun in range(trials // 2, trials, SEARCH)]
        for seed, (sampler, count) in enumerate(parts):
            told = f"{sampler}{seed}"
            mtlsearch.search(
                study,
                name=told,
                trials=count,
                seed=seed,
                epochs=EPOCHS[problem],
                sampler=sampler,
                pruner="none",
                confirm=False,
                quiet=True,
                storage=url,
                threads=1,
                population=POPULATION.get(problem, 1),
            )
            with open_storage(url, create=False) as storage:
                record = find_record(storage, told, folder)
                space = {n: d for n, d in space_of(record.info).items() if not d.single()}
                for trial in record.trials(TrialState.COMPLETE):
                    found.append(({n: trial.params[n] for n in space}, curve(trial)[:, 0].tolist()))
        whole = [each for each in found if len(each[1]) == EPOCHS[problem] and np.isfinite(each[1]).all()]
        params, scores = [params for params, _ in whole], np.array([scores for _, scores in whole])
        return Curves(space, params, scores, noise_of(study, EPOCHS[problem], params, scores))


def noise_of(study: str, epochs: int, params: Sequence[Mapping[str, Any]], scores: Array) -> Array:
    """What curves [trainings, epochs] of some configs of the better half differ from the mean of their config."""
    loaded = load_data(replace(load_study(study), epochs=epochs), Path(study).parent, "cpu")
    best = scores.max(axis=1)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(best >= np.median(best)))[:REPEATED]
    found = []
    for at in chosen:
        config = loaded.study.search_space.config(params[at], loaded.study.default)
        curves = np.array([trained_curve(Training(loaded, seed), config) for seed in range(1, SEEDS + 1)])
        found.append((curves - curves.mean(axis=0)) * np.sqrt(SEEDS / (SEEDS - 1)))
    return np.concatenate(found)


def trained_curve(training: Training, config: Config) -> list[float]:
    """The scores of one training of a config."""
    found: list[float] = []
    train_config(training, config, on_epoch=lambda result: found.append(result.score), trainer=SoloTrainer(training))
    return found


def kept_curves(options: argparse.Namespace) -> dict[str, Curves]:
    """The curves of each problem; what the file lacks is recorded and added to it."""
    file: Path | None = options.curves
    kept: dict[str, Any] = json.loads(file.read_text()) if file is not None and file.exists() else {}
    for problem in options.problems:
        if problem not in kept:
            kept[problem] = recorded(problem, options.recorded, options.tables).to_dict()
            print(f"recorded {problem}: {len(kept[problem]['params'])} curves", flush=True)
            if file is not None:
                file.write_text(json.dumps(kept))
    return {problem: Curves.from_dict(kept[problem]) for problem in options.problems}


class Model:
    """The mean of a forest and a Gaussian process on error scale, of configs [N, D] and their curves [N, epochs]."""

    def __init__(self, x: Array, curves: Array) -> None:
        y = -np.log(ABOVE - curves)
        self.forest = ExtraTreesRegressor(TREES, random_state=0).fit(x, y)
        kernel = ConstantKernel(1.0) * Matern(np.full(x.shape[1], 0.5), (0.05, 20.0), nu=2.5) + WhiteKernel(
            0.05, (1e-4, 1.0)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of a dimension that does not matter
            fitted = GaussianProcessRegressor(kernel, normalize_y=True).fit(x, y.max(axis=1))
        self.process = GaussianProcessRegressor(fitted.kernel_, optimizer=None, normalize_y=True).fit(x, y)

    def predict(self, x: Array) -> Array:
        """The curves [N, epochs]."""
        x32 = x.astype(np.float32)  # each tree by itself: the forest's own call takes longer
        trees: Array = np.mean([tree.tree_.predict(x32)[..., 0] for tree in self.forest.estimators_], axis=0)
        found: Array = ABOVE - np.exp(-(trees + self.process.predict(x)) / 2)
        return found


class Surrogate:
    """A model of a problem's curves, with noise."""

    def __init__(self, curves: Curves) -> None:
        self.space, self.default = curves.space, curves.params[0]
        self.epochs, self.noise = curves.scores.shape[1], curves.noise
        self.model = Model(placed(curves.space, curves.params), curves.scores)

    def mean(self, params: Mapping[str, Any]) -> Array:
        """The expected curve [epochs] of a config."""
        found: Array = self.model.predict(placed(self.space, [params]))[0]
        return found

    def trained(self, params: Mapping[str, Any], random: np.random.Generator) -> Array:
        """The curve [epochs] of one training of a config."""
        found: Array = self.mean(params) + self.noise[random.integers(len(self.noise))]
        return found


def held_out(curves: Curves) -> tuple[float, float, float]:
    """Spearman's ρ of predicted best scores of unseen configs: all, those of the better half; and R² of all."""
    x, order = placed(curves.space, curves.params), np.random.default_rng(0).permutation(len(curves.params))
    best, found = curves.scores.max(axis=1), np.empty(len(order))
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        rest = np.setdiff1d(order, out)
        found[out] = Model(x[rest], curves.scores[rest]).predict(x[out]).max(axis=1)
    half = best >= np.median(best)
    r2 = 1 - float(((best - found) ** 2).sum() / ((best - best.mean()) ** 2).sum())
    return float(spearmanr(best, found)[0]), float(spearmanr(best[half], found[half])[0]), r2


def add_curves_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--curves", type=Path, help="the file that keeps the recorded curves")
    made.add_argument("--problems", nargs="*", default=["digits", "enb", "jura"], choices=list(EPOCHS))
    made.add_argument("--recorded", type=int, default=400, help="curves recorded of each problem")
    made.add_argument("--tables", type=Path, help="the folder of NAME.arff.gz")


def surrogate_table(found: Mapping[str, Curves]) -> str:
    """How well each surrogate knows configs that it has not seen."""
    rows = []
    for problem, curves in found.items():
        whole, upper, r2 = held_out(curves)
        dimensions = len(curves.space)
        rows.append(
            [problem, len(curves.params), dimensions, EPOCHS[problem], f"{whole:.2f}", f"{upper:.2f}", f"{r2:.2f}"]
        )
    head = ["surrogate of", "curves", "dimensions", "epochs", "ρ, unseen configs", "ρ, the better half", "R²"]
    return table(head, rows)

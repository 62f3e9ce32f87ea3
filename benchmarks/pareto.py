"""Pruning with several values, replayed on the recorded curves of unpruned searches; and fronts in closed form.

A search with the score `pareto` and without pruning is recorded for each seed. Its trials are then replayed, sixteen in
flight, in the order in which they were asked: at each barrier every trial in training gets its next epoch from its
curve, and a pruner decides. Compared are the share of the unpruned hypervolume that the trials reach which a pruner
leaves, and the share of trial-epochs that it saves. The replay knows no sampler, so what a sampler would have asked
instead does not count.

`multi_metric_pruner` is the rule of OptunaHub's package of 2026-06 in its joint mode with Optuna's median pruner at its
defaults, written anew: at each step all trials that have reported it are ranked by Pareto dominance, and a trial ends
whose best rank so far is worse than the median rank at this step of the trials that have ended. Five trials must have
ended before.

--curves FILE keeps the recorded curves, so that a benchmark that was ended goes on.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from common import conclude, parser, table
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

import mtlsearch
from mtlsearch import Classification, Data, Regression, SharedTrunk, Study, integer, real
from mtlsearch.evidence.questions.fronts import hypervolume
from mtlsearch.store.curves import CURVES, curve, epochs_reported
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.front import ranks
from mtlsearch.study.study_file import load_study
from mtlsearch.tuning.pruners import FrontPruner
from mtlsearch.tuning.samplers.tpe import tpe_sampler

Array = NDArray[np.float64]
IN_FLIGHT = 16
STARTUP = 5  # trials that have ended before Optuna's median pruner begins


def wines(directory: Path) -> Data:
    """Who grew a wine, and its alcohol and its colour, from ten measurements of it."""
    from sklearn.datasets import load_wine

    rows, grower = load_wine(return_X_y=True)
    inputs = rows[:, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]]
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    labels = {"grower": grower, "alcohol": rows[:, 0], "colour": rows[:, 9]}
    parts = [(inputs[i::3], {task: values[i::3] for task, values in labels.items()}) for i in range(3)]
    return Data(train=parts[0], validation=parts[1], test=parts[2])


def table_study() -> Study:
    return Study(
        tasks=[Classification("grower", wines), Regression("alcohol", wines), Regression("colour", wines)],
        model=lambda config: SharedTrunk(10, {"grower": 3, "alcohol": 1, "colour": 1}, hidden=int(config["hidden"])),
        space={"hidden": integer(8, 64, log=True), "learning_rate": real(1e-4, 1e-1, log=True)},
        default={"hidden": 32, "learning_rate": 1e-3},
        epochs=20,
        batch_size=16,
    )


STUDIES: Mapping[str, tuple[Callable[[], Study], int]] = {  # with the epochs of a trial
    "wines": (table_study, 20),
    "digits": (lambda: load_study("digits"), 9),
    "mnist-fashion": (lambda: load_study("mnist-fashion"), 3),
}


def recorded(name: str, seed: int, trials: int, data: str | None) -> list[list[list[float]]]:
    """The curves [trials][epochs][tasks] of an unpruned search of a study."""
    made, epochs = STUDIES[name]
    with tempfile.TemporaryDirectory(prefix="mtlsearch-pareto-") as folder:
        url = f"sqlite:///{folder}/store.db"
        mtlsearch.search(
            made(),
            name=name,
            trials=trials,
            seed=seed,
            epochs=epochs,
            score="pareto",
            pruner="none",
            confirm=False,
            quiet=True,
            storage=url,
            data=data,
            threads=1,
            population=IN_FLIGHT,
        )
        with open_storage(url, create=False) as storage:
            complete = find_record(storage, name, Path(folder)).trials(TrialState.COMPLETE)
        return [curve(trial).tolist() for trial in complete]


def all_curves(options: argparse.Namespace) -> Iterator[tuple[str, list[list[Array]]]]:
    """The curves of each study, for every seed; those that are kept in the file are not recorded again."""
    kept: dict[str, Any] = json.loads(options.curves.read_text()) if options.curves and options.curves.exists() else {}
    for name in options.studies:
        found = []
        for seed in range(options.first, options.first + options.seeds):
            key = f"{name}/{seed}/{options.trials}"
            if key not in kept and not options.replay:
                kept[key] = recorded(name, seed, options.trials, options.data)
                print(f"recorded {key}", flush=True)
                if options.curves:
                    options.curves.write_text(json.dumps(kept))
            if key in kept:
                found.append([np.array(each) for each in kept[key]])
        yield name, found


class MultiMetricPruner(optuna.pruners.BasePruner):
    """OptunaHub's rule, as the module describes it."""

    def __init__(self) -> None:
        self._ranks: dict[int, tuple[int, dict[int, int]]] = {}  # by step: the number of peers, and their ranks

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        trials = [each for each in study.get_trials(deepcopy=False) if epochs_reported(each)]
        ended = {each.number for each in trials if each.state.is_finished()}
        if len(ended) < STARTUP:
            return False
        best, median = np.inf, np.nan
        for step in range(epochs_reported(trial)):
            peers = [each for each in trials if epochs_reported(each) > step]
            if self._ranks.get(step, (0, {}))[0] != len(peers):  # a value never changes
                found = ranks(np.array([curve(each)[step] for each in peers]))
                numbers = (each.number for each in peers)
                self._ranks[step] = len(peers), dict(zip(numbers, found.tolist(), strict=True))
            at = self._ranks[step][1]
            best = min(best, at[trial.number])
            there = [rank for number, rank in at.items() if number in ended]
            median = float(np.median(there)) if there else np.nan
        return bool(best > median)


class Trials:
    """What a pruner sees of a study, without a store."""

    def __init__(self, tasks: int) -> None:
        self.directions = [optuna.study.StudyDirection.MAXIMIZE] * tasks
        self.trials: list[FrozenTrial] = []

    def get_trials(self, deepcopy: bool = True) -> list[FrozenTrial]:
        return self.trials

    def ask(self) -> FrozenTrial:
        self.trials.append(create_trial(state=TrialState.RUNNING))
        self.trials[-1].number = len(self.trials) - 1
        return self.trials[-1]


def replay(curves: Sequence[Array], pruner: optuna.pruners.BasePruner) -> tuple[list[int], int]:
    """The trials that the pruner leaves to the end, and the trial-epochs that were trained."""
    tasks = curves[0].shape[1]
    study, waiting, left, spent = Trials(tasks), list(range(len(curves))), list[int](), 0
    training: dict[int, FrozenTrial] = {}
    while waiting or training:
        while waiting and len(training) < IN_FLIGHT:
            training[waiting.pop(0)] = study.ask()
        for place, trial in training.items():
            done = epochs_reported(trial) + 1
            trial.user_attrs = {CURVES: {str(task): curves[place][:done, task].tolist() for task in range(tasks)}}
            spent += 1
        for place, trial in list(training.items()):
            if epochs_reported(trial) == len(curves[place]):
                trial.state = TrialState.COMPLETE
                left.append(place)
                del training[place]
            elif place and pruner.prune(study, trial):  # type: ignore[arg-type]  # the default config is never pruned
                trial.state = TrialState.PRUNED
                del training[place]
    return left, spent


def final(values: Array) -> Array:
    """A trial's result: its values at the epoch of the best mean."""
    result: Array = values[int(np.nanargmax(values.mean(axis=1)))]
    return result


PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "halved at 1/8, 1/2 and 3/4 of the epochs (peers, the default)": FrontPruner,
    "halved at 1/8 and 1/2": lambda epochs: FrontPruner(epochs, (1 / 8, 1 / 2)),
    "halved at 1/4": lambda epochs: FrontPruner(epochs, (1 / 4,)),
    "the upper third at every epoch": lambda epochs: FrontPruner(
        epochs, [(epoch + 1) / epochs for epoch in range(1, epochs)], 1 / 3, 16
    ),
    "OptunaHub's multi_metric_pruner, median": lambda epochs: MultiMetricPruner(),
}


def replayed(options: argparse.Namespace) -> str:
    rows = []
    for name, seeds in all_curves(options):
        if not seeds:
            continue
        for told, make in PRUNERS.items():
            volumes, saved = [], []
            for curves in seeds:
                results = np.array([final(each) for each in curves])
                low, high = results.min(axis=0), results.max(axis=0)
                box = (results - low) / np.where(high > low, high - low, 1.0)
                ground = np.full(box.shape[1], -0.01)
                left, spent = replay(curves, make(STUDIES[name][1]))
                volumes.append(hypervolume(box[left], ground) / hypervolume(box, ground))
                saved.append(1 - spent / sum(map(len, curves)))
            rows.append(
                [
                    f"{name}, {len(seeds)} seeds × {len(seeds[0])} trials",
                    told,
                    f"{100 * fmean(volumes):.1f} ({100 * min(volumes):.1f} – {100 * max(volumes):.1f})",
                    f"{100 * fmean(saved):.0f} ({100 * min(saved):.0f} – {100 * max(saved):.0f})",
                ]
            )
    head = ["curves", "pruner", "% of the unpruned hypervolume", "% of trial-epochs saved"]
    return table(head, rows) if rows else "No curves were recorded."


def front_of(x: Array) -> Array:
    """Two tasks whose front is (t, 1 − t²): the true volume over the origin is 2/3."""
    loss = 1 / (1 + 4 * ((x[1:] - 0.5) ** 2).sum())
    return np.array([x[0] * loss, (1 - x[0] ** 2) * loss])


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "mtlsearch's TPE": tpe_sampler,
    "Optuna's TPE": lambda seed: TPESampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


def closed_form(seeds: int, trials: int) -> str:
    rows = []
    for dimensions in (2, 3):
        space = {f"x{i}": real(0.0, 1.0) for i in range(dimensions)}
        for name, make in SAMPLERS.items():
            found = []
            for seed in range(seeds):
                study = optuna.create_study(directions=["maximize"] * 2, sampler=make(seed))
                for _ in range(trials):
                    trial = study.ask(space)
                    study.tell(trial, front_of(np.array([trial.params[each] for each in space])).tolist())
                found.append(100 * hypervolume([trial.values for trial in study.trials], [0, 0]) * 3 / 2)
            rows.append([f"{dimensions} dimensions", name, f"{fmean(found):.1f} ({min(found):.1f} – {max(found):.1f})"])
    return table(["", "sampler", f"% of the true hypervolume after {trials} trials"], rows)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--studies", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--first", type=int, default=0, help="the first seed")
    made.add_argument("--no-fronts", action="store_true", help="the pruners alone")
    made.add_argument("--trials", type=int, default=64)
    made.add_argument("--curves", type=Path, help="the file that keeps the recorded curves")
    made.add_argument("--replay", action="store_true", help="replay the kept curves only")
    made.add_argument("--data", help="the data directory")
    options = made.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.quick:
        options.studies, options.seeds, options.trials = ["wines"], 1, 4
    parts = [replayed(options)]
    if not options.no_fronts:
        parts.append(closed_form(1 if options.quick else 5, 20 if options.quick else 200))
    conclude(options, "Pruning with several values, and fronts in closed form", "\n\n".join(parts))


if __name__ == "__main__":
    main()

"""Stores as searches and confirmations leave them, of any number of tasks and trials, without any training."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.evidence.answer import Plan, candidates, conclusion, task_metrics
from mtlsearch.evidence.searches import Searched, evidence_over
from mtlsearch.evidence.sentences import Unit
from mtlsearch.evidence.statistics import estimate
from mtlsearch.evidence.trainings import Repeat, ended, open_confirmation
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import open_record
from mtlsearch.store.record import Record
from mtlsearch.study.score import Score
from mtlsearch.study.space import Config, Space, choice, integer, real
from mtlsearch.study.weights.task_weights import PREFIXES, LogRatios

EPOCHS = 10
BEGUN = datetime(2025, 1, 1, 12)
HYPERPARAMETERS = {
    "hidden": integer(16, 128, log=True),
    "dropout": real(0.0, 0.5),
    "learning_rate": real(1e-4, 1e-1, log=True),
    "norm": choice("none", "batch", "layer"),
}
DEFAULT = {"hidden": 64, "dropout": 0.2, "learning_rate": 1e-3, "norm": "none", "optimizer": "adam"}


def describe(
    tasks: Mapping[str, str], hyperparameters: Mapping[str, Any] = HYPERPARAMETERS, source: str = "digits"
) -> dict[str, Any]:
    """The stored definition of a study with `tasks`, each named with its metric."""
    space = Space(hyperparameters, LogRatios(list(tasks)))
    about = {
        task: {"kind": "classification", "metric": metric, "higher_is_better": metric not in ("mae", "mse")}
        for task, metric in tasks.items()
    }
    described = {name: json.loads(distribution_to_json(d)) for name, d in space.distributions.items()}
    fingerprint = {
        "tasks": about,
        "data": dict.fromkeys(tasks, "0" * 64),
        "split": {"split_seed": 0, "sizes": [[4000, 1000, 1000]]},
        "space": described,
    }
    return {
        "format": "mtlsearch/study/1",
        "source": source,
        "source_sha256": "1" * 64,
        "score": "mean",
        "default": {
            **DEFAULT,
            **{n: d for n, d in zip(hyperparameters, hyperparameters, strict=True) if n not in DEFAULT},
        },
        "budget": {"epochs": EPOCHS, "patience": None, "batch_size": 64, "split_seed": 0},
        "tasks": about,
        "fingerprint": fingerprint,
        "population": 16,
    }


def reached(info: Mapping[str, Any], config: Config, random: Random) -> dict[str, dict[str, float]]:
    """A metric a task that grows with the task's weight and depends on the learning rate."""
    found = {}
    for task, about in info["tasks"].items():
        weight = config.task_weights[task]
        rate = abs(math.log10(float(config.number("learning_rate", 1e-2))) + 2)
        good = 0.97 - 0.03 * math.exp(-8 * weight) - 0.02 * rate**2 + random.gauss(0, 0.004)
        value = good if about["higher_is_better"] else 30 * (1.05 - good)
        found[task] = {about["metric"]: value}
    return found


def score_of(info: Mapping[str, Any], metrics: Mapping[str, Mapping[str, float]]) -> float:
    signs = {task: 1 if about["higher_is_better"] else -1 for task, about in info["tasks"].items()}
    return sum(signs[task] * value for task, found in metrics.items() for value in found.values()) / len(metrics)


def trial_of(
    info: Mapping[str, Any],
    config: Config,
    space: Space,
    state: TrialState,
    random: Random,
    at: int,
    **attrs: Any,
) -> FrozenTrial:
    """A finished trial of that config."""
    validation = reached(info, config, random)
    if "task" in attrs:
        validation = {attrs["task"]: validation[attrs["task"]]}
    score = score_of({"tasks": {t: info["tasks"][t] for t in validation}}, validation)
    epochs = EPOCHS if state is TrialState.COMPLETE else random.choice([1, 2, 3])
    spread = 0.1 * max(abs(score), 1e-3)
    curve = {e: score - spread * math.exp(-e) - abs(random.gauss(0, spread / 50)) for e in range(epochs)}
    told: dict[str, Any] = {"epochs": epochs, "entry_epoch": 0, "trained_on": {"device": "cpu", "threads": 1}}
    if state is TrialState.FAIL:
        told["reason"] = "the loss of task a is not finite in epoch 2"
    else:
        told |= {"validation": validation, "best_epoch": epochs - 1}
    trial = create_trial(
        state=state,
        value=score if state is TrialState.COMPLETE else None,
        params=space.params(config),
        distributions=space.distributions,
        user_attrs={"task_weights": dict(config.task_weights), **told, **attrs},
        intermediate_values=curve if state is not TrialState.FAIL else {},
    )
    trial.datetime_start = BEGUN + timedelta(seconds=3 * at)
    trial.datetime_complete = BEGUN + timedelta(seconds=3 * at + 2 * epochs)
    return trial


def searched(storage: Any, folder: Path, info: Mapping[str, Any], states: Sequence[TrialState], name: str) -> Record:
    """A study with a trial of each of `states`, the first one at the default config with equal weights."""
    random = Random(0)
    record = open_record(storage, name, info, 0, folder)
    tasks = list(info["tasks"])
    dimensions = {n: d for n, d in HYPERPARAMETERS.items() if n in info["fingerprint"]["space"]}
    more = {
        n: real(0.0, 1.0) for n in info["fingerprint"]["space"] if n not in dimensions and not n.startswith(PREFIXES)
    }
    space = Space({**dimensions, **more}, LogRatios(tasks))
    for at, state in enumerate(states):
        params: dict[str, Any] = {}
        for dimension, distribution in space.distributions.items():
            if dimension == "norm":
                params[dimension] = random.choice(["none", "batch", "layer"])
            elif dimension == "hidden":
                params[dimension] = random.randint(16, 128)
            elif dimension == "learning_rate":
                params[dimension] = 10 ** random.uniform(-4, -1)
            else:
                params[dimension] = random.uniform(distribution.low, distribution.high)  # type: ignore[attr-defined]
        config = space.config(params, info["default"])
        record.study.add_trial(trial_of(info, config, space, state, random, at))
    storage.refresh(record.study._study_id)
    return record


def confirmed(record: Record, seeds: int = 3, single: bool = True) -> None:
    """Add what a confirmation of the two best configs leaves."""
    random, info = Random(1), record.info
    plan = Plan(candidates(record, 2), [1000 + i for i in range(seeds)], list(info["tasks"]) if single else [])
    confirmation = open_confirmation(record)
    space = Space(
        {n: d for n, d in HYPERPARAMETERS.items() if n in info["fingerprint"]["space"]}, LogRatios(list(info["tasks"]))
    )

    def train(repeats: Sequence[Repeat]) -> None:
        for at, repeat in enumerate(repeats):
            test = reached(info, repeat.config, random)
            if repeat.task is not None:
                test = {repeat.task: test[repeat.task]}
            attrs = {**repeat.attrs(), "test": test}
            trial = trial_of(info, repeat.config, space, TrialState.COMPLETE, random, at, **attrs)
            confirmation.study.add_trial(trial)
        confirmation.storage.refresh(confirmation.study._study_id)

    train(plan.shared())
    if single:
        winner = plan.winner(ended(confirmation))
        for task in info["tasks"]:
            train([repeat for repeats in plan.alone(winner, task) for repeat in repeats])
    found = ended(confirmation)
    verdict = plan.judge(found, task_metrics(record, dict.fromkeys(info["tasks"], 1000)), Score())
    concluded = conclusion(record, plan, found, verdict, confirmation.test_scorings())
    confirmation.study.set_user_attr("conclusion", concluded)


def over_searches(tasks: Mapping[str, str]) -> dict[str, Any]:
    """What repeated searches leave at the study."""
    weights = {task: 2 * (place + 1) / (len(tasks) * (len(tasks) + 1)) for place, task in enumerate(tasks)}
    gains = ([0.01, 0.02, 0.03], [0.0, 0.01, 0.02], [0.02, 0.01, 0.03])
    found = [
        Searched("made" if not k else f"made/search/{k + 1}", k, 6, 1, weights, estimate(gain, 0.95))
        for k, gain in enumerate(gains)
    ]
    return evidence_over(found, 0.002, Unit(100.0, "points"))


def comparison(tasks: Mapping[str, str]) -> dict[str, Any]:
    """What a comparison of methods leaves at the study."""
    names = ("equal", "tuned", "uncertainty", "dwa", "rlw", "famo")

    def around(mean: float, half: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - half, "high": mean + half}

    methods = [
        {
            "method": method,
            "trial": i,
            "tasks": {
                task: {"metric": metric, **around(0.94 + 0.003 * i - 0.001 * j, 0.002)}
                for j, (task, metric) in enumerate(tasks.items())
            },
            "score": around(0.94 + 0.003 * i, 0.002),
            "difference": None if method == "equal" else around(0.003 * i, 0.003),
            "delta_m": around(-0.5 + 0.3 * i, 0.4),
            "trial_epochs": 300 + 7 * i,
            "seconds": 40.0 + 30 * i,
        }
        for i, method in enumerate(names)
    ]
    lines = ["famo is the best of 6 methods by 0.2 to 0.5 points"]
    return {
        "format": "mtlsearch/comparison/1",
        "trials": 30,
        "seeds": [1, 2, 3],
        "methods": methods,
        "lines": lines,
    }


MIX = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED)


def states(trials: int) -> list[TrialState]:
    """Two complete trials to each pruned one."""
    return [MIX[i % 3] for i in range(trials)]


@contextmanager
def store(
    folder: Path,
    tasks: Mapping[str, str],
    found: Sequence[TrialState],
    *,
    name: str = "made",
    seeds: int = 0,
    single: bool = True,
    compared: bool = False,
    repeated: bool = False,
    hyperparameters: Mapping[str, Any] = HYPERPARAMETERS,
    source: str = "digits",
) -> Iterator[Record]:
    """The record of a made study in `folder`/mtlsearch.db, confirmed with `seeds` where there are any."""
    with open_storage(f"sqlite:///{folder / 'mtlsearch.db'}", create=True) as storage:
        record = searched(storage, folder, describe(tasks, hyperparameters, source), found, name)
        if seeds:
            confirmed(record, seeds, single)
        if compared:
            record.study.set_user_attr("comparison", comparison(tasks))
        if repeated:
            record.study.set_user_attr("searches", over_searches(tasks))
        storage.flush()
        yield record


optuna.logging.set_verbosity(optuna.logging.WARNING)

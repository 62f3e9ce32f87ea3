"""The shared TPE gives plain TPE's suggestions, float for float."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.trial import TrialState

from mtlsearch.sampler import SharedTPESampler, log_ndtr, tpe_sampler
from mtlsearch.storage import open_storage

SPACE: dict[str, BaseDistribution] = {
    "hidden": IntDistribution(16, 128, log=True),
    "layers": IntDistribution(1, 4),
    "dropout": FloatDistribution(0.0, 0.5),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "clip": FloatDistribution(0.0, 1.0, step=0.25),
    "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
}


def suggest(trial: optuna.Trial, space: dict[str, BaseDistribution]) -> dict[str, Any]:
    return {name: trial._suggest(name, distribution) for name, distribution in space.items()}


def history(sampler: TPESampler, url: str, pruner: optuna.pruners.BasePruner) -> list[dict[str, Any]]:
    """The params of a search with trials in flight, some pruned, failed, interrupted, or of another space."""
    chance, params = random.Random(5), []
    with open_storage(url, create=True) as storage:
        study = optuna.create_study(
            storage=storage, study_name="study", direction="maximize", sampler=sampler, pruner=pruner
        )
        flying: list[optuna.Trial] = []
        for barrier in range(14):
            while len(flying) < 6 and (trial := storage.ask(study, 1000)) is not None:
                # One dimension is fixed for a while, as if another program had begun the study.
                space = SPACE if barrier > 1 else {n: d for n, d in SPACE.items() if n != "clip"}
                params.append(suggest(trial, space))
                flying.append(trial)
            for trial in flying:
                trial.report(chance.choice([0.25, 0.5, chance.random()]), barrier)
            for trial in list(flying):
                way = chance.random()
                if way < 0.2 or trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                elif way < 0.6:
                    study.tell(trial, chance.choice([0.5, chance.random()]))  # equal scores too
                elif way < 0.65:
                    study.tell(trial, state=TrialState.FAIL)
                elif way < 0.7:
                    storage.interrupt(trial._trial_id)
                else:
                    continue
                flying.remove(trial)
    return params


@pytest.mark.parametrize("pruner", [NopPruner(), HyperbandPruner(1, 9, 3)], ids=["none", "hyperband"])
def test_suggestions_are_those_of_plain_tpe(tmp_path: Path, pruner: optuna.pruners.BasePruner) -> None:
    plain = history(TPESampler(seed=3), f"sqlite:///{tmp_path}/plain.db", pruner)
    shared = history(SharedTPESampler(seed=3), f"sqlite:///{tmp_path}/shared.db", pruner)
    assert len(plain) > 40
    assert shared == plain


def test_logarithms_of_the_normal_distribution_are_optunas_bit_for_bit() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=20_000) * scale for scale in (1, 5, 30, 200)])
    edges = np.array(
        [-20.0, np.nextafter(-20, -21), 6.0, np.nextafter(6, 7), 0.0, -0.0, 1.0, -1.0, 2**0.5, -1e5]
    )
    for a in (values, edges, values.reshape(-1, 100), values[:0]):
        assert np.array_equal(log_ndtr(a), _truncnorm._log_ndtr(a))


def test_optunas_own_functions_stay_as_they_are(tmp_path: Path) -> None:
    before = _truncnorm._log_ndtr
    history(SharedTPESampler(seed=3), f"sqlite:///{tmp_path}/store.db", NopPruner())
    assert _truncnorm._log_ndtr is before


def test_finished_trials_are_split_once_per_change(tmp_path: Path) -> None:
    sampler = SharedTPESampler(seed=0)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for value in range(12):
        trial = study.ask()
        suggest(trial, SPACE)
        study.tell(trial, value)
    splits = []
    for _ in range(4):
        suggest(study.ask(), SPACE)
        splits.append(sampler._split)
    assert splits[0] is not None
    assert all(split is splits[0] for split in splits)


def test_another_optuna_gets_the_plain_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(tpe_sampler(0)) is SharedTPESampler
    monkeypatch.setattr(optuna, "__version__", "5.1.0")
    assert type(tpe_sampler(0)) is TPESampler

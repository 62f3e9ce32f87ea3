"""The shared TPE gives what plain TPE gives that is told the same, and the kept pruners the plain ones' decisions."""

import math
import random
import statistics
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.foresight import Foresight
from mtlsearch.tuning.samplers.density import Density, log_mass
from mtlsearch.tuning.samplers.tpe import SharedTPESampler, tpe_sampler

SPACE: dict[str, BaseDistribution] = {
    "hidden": IntDistribution(16, 128, log=True),
    "layers": IntDistribution(1, 4),
    "dropout": FloatDistribution(0.0, 0.5),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "clip": FloatDistribution(0.0, 1.0, step=0.25),
    "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
}


class ForeseeingTPE(TPESampler):
    """Plain TPE to which trials in training are shown as `expected_end` has them."""

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Any:
        get_trials = study._get_trials

        def shown(deepcopy: bool, states: Any, use_cache: bool) -> list[FrozenTrial]:
            trials = get_trials(deepcopy=False)
            ends = [expected_end(t, trials) for t in trials]
            return [t for t in ends if t.state in states]

        study._get_trials = shown  # type: ignore[method-assign]
        try:
            return super()._sample(study, trial, search_space)
        finally:
            study._get_trials = get_trials  # type: ignore[method-assign]


def expected_end(trial: FrozenTrial, trials: list[FrozenTrial]) -> FrozenTrial:
    """A trial in training with two scores or more as complete, with the median of what complete ones still gained."""
    scores = [score for _, score in sorted(trial.intermediate_values.items())]
    if trial.state is not TrialState.RUNNING or len(scores) < 2:
        return trial
    gains = []
    for other in trials:
        if other.state is TrialState.COMPLETE and len(other.intermediate_values) >= len(scores):
            own = [score for _, score in sorted(other.intermediate_values.items())]
            gains.append(max(own) - max(own[: len(scores)]))
    value = max(scores) + (statistics.median(gains) if gains else 0.0)
    ended = deepcopy(trial)
    ended.state, ended.value = TrialState.COMPLETE, value
    return ended


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
                trial.report(chance.choice([0.25, 0.5, 0.97, chance.random()]), barrier)
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
    plain = history(ForeseeingTPE(seed=3), f"sqlite:///{tmp_path}/plain.db", pruner)
    shared = history(SharedTPESampler(seed=3), f"sqlite:///{tmp_path}/shared.db", pruner)
    assert len(plain) > 40
    assert shared == plain
    assert shared != history(TPESampler(seed=3), f"sqlite:///{tmp_path}/blind.db", pruner)


@pytest.mark.parametrize("name", SPACE)
@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_densities_are_optunas_up_to_rounding(name: str, spread: float) -> None:
    generator, distribution = np.random.default_rng(0), SPACE[name]
    if isinstance(distribution, CategoricalDistribution):
        observed = generator.integers(0, 3, 300).astype(float)
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high = distribution.low, distribution.high
        # Kernels far narrower than the range have candidates far out in their tails.
        observed = low + (high - low) * generator.random(300) * spread
        if distribution.step is not None:
            observed = low + np.round((observed - low) / distribution.step) * distribution.step
    parameters = TPESampler(seed=0)._parzen_estimator_parameters
    estimator = _ParzenEstimator({name: observed}, {name: distribution}, parameters)
    wide = _ParzenEstimator({name: observed[:0]}, {name: distribution}, parameters)
    samples = wide.sample(np.random.RandomState(0), 500)
    found = Density(estimator._mixture_distribution).log(estimator._transform(samples))
    np.testing.assert_allclose(found, estimator.log_pdf(samples), rtol=1e-9, atol=1e-9)


def test_mass_of_the_normal_distribution_is_optunas_up_to_rounding() -> None:
    ends = np.array([-1e4, -200.0, -37.5, -20.1, -6.0, -1.0, -1e-3, 0.0, 0.5, 6.1, 21.0, 300.0])
    a, b = (side[np.triu_indices(len(ends), 1)] for side in np.meshgrid(ends, ends, indexing="ij"))
    np.testing.assert_allclose(log_mass(a, b), _truncnorm._log_gauss_mass(a, b), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("names", [["clip"], ["optimizer"], ["hidden", "rate"]])
def test_suggestions_in_smaller_spaces_are_those_of_plain_tpe(names: list[str]) -> None:
    space, found = {name: SPACE[name] for name in names}, []
    for sampler in (TPESampler(seed=1), SharedTPESampler(seed=1)):
        study, scores = optuna.create_study(sampler=sampler), random.Random(2)
        for _ in range(60):
            study.tell(study.ask(space), scores.random())
        found.append([trial.params for trial in study.trials])
    assert found[0] == found[1]


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


def test_a_trial_in_training_is_told_as_what_it_is_expected_to_reach() -> None:
    study = optuna.create_study(direction="maximize")
    for curve in ((0.1, 0.5, 0.9), (0.2, 0.6, 0.7), (0.3, 0.2, 0.4)):
        trial = study.ask()
        for epoch, score in enumerate(curve):
            trial.report(score, epoch)
        study.tell(trial, max(curve))
    short, begun, falling, lost = (study.ask() for _ in range(4))
    short.report(0.5, 0)
    for trial, scores in ((begun, (0.3, 0.4)), (falling, (0.5, 0.4)), (lost, (math.nan, math.nan))):
        for epoch, score in enumerate(scores):
            trial.report(score, epoch)
    trials = study.get_trials(deepcopy=False)
    foresight = Foresight()
    foresight.learn(trials)
    foresight.learn(trials)  # each is known once
    told = [foresight.of(trial) for trial in trials]
    # After two epochs the complete ones still gained 0.4, 0.1 and 0.1.
    assert [t.value for t in told[4:6]] == pytest.approx([0.5, 0.6])
    assert [t.state for t in told[4:6]] == [TrialState.COMPLETE] * 2
    for number in (0, 1, 2, 3, 6):
        assert told[number] is trials[number]
    assert [t.state for t in trials[3:]] == [TrialState.RUNNING] * 4  # those of the store stay as they are


def test_without_complete_trials_the_best_score_so_far_is_what_is_expected() -> None:
    trial = optuna.create_study(direction="maximize").ask()
    for epoch, score in enumerate((0.6, 0.4)):
        trial.report(score, epoch)
    assert Foresight().of(trial.study.get_trials()[0]).value == 0.6


def test_another_optuna_gets_the_plain_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(tpe_sampler(0)) is SharedTPESampler
    monkeypatch.setattr(optuna, "__version__", "5.1.0")
    assert type(tpe_sampler(0)) is TPESampler

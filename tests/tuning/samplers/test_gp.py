"""The Gaussian process that learns of unfinished trials, held to Optuna's own with the same history."""

from collections.abc import Iterator

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch.store.foresight import Foresight
from mtlsearch.tuning.samplers.gp import CANDIDATES, DRAWS, LOCAL_SEARCHES, ForesightGPSampler

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "norm": CategoricalDistribution(["none", "batch"]),
}
EPOCHS = 4
States = tuple[TrialState, int]  # with the epochs that are reported


def trials(states: list[States]) -> Iterator[FrozenTrial]:
    """Trials with curves that rise; the best rate is 0.01."""
    random = np.random.default_rng(0)
    for state, epochs in states:
        params = {"rate": float(10 ** random.uniform(-4, -1)), "norm": str(random.choice(["none", "batch"]))}
        score = 1 - abs(np.log10(params["rate"]) + 2)
        curve = {epoch: float(score + 0.1 * epoch) for epoch in range(epochs)}
        value = curve[epochs - 1] if state is TrialState.COMPLETE else None
        yield create_trial(state=state, value=value, params=params, distributions=SPACE, intermediate_values=curve)


def study_of(found: list[FrozenTrial], sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in found:
        study.add_trial(trial)
    return study


def made(kind: type[GPSampler]) -> GPSampler:
    sampler = kind(seed=3, deterministic_objective=False)
    sampler._n_preliminary_samples, sampler._n_local_search = CANDIDATES, LOCAL_SEARCHES
    sampler._n_qmc_samples_qei = DRAWS
    return sampler


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_of_complete_trials_alone_it_asks_what_optunas_own_asks() -> None:
    history = list(trials([(TrialState.COMPLETE, EPOCHS)] * 14))
    plain, ours = (study_of(history, made(kind)).ask(SPACE).params for kind in (GPSampler, ForesightGPSampler))
    assert ours == plain


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_unfinished_trials_count_as_complete_with_what_they_are_expected_to_reach() -> None:
    history = list(
        trials([(TrialState.COMPLETE, EPOCHS)] * 3 + [(TrialState.PRUNED, 2)] * 9 + [(TrialState.RUNNING, 3)] * 4)
    )
    study = study_of(history, made(ForesightGPSampler))
    foresight = Foresight()
    foresight.learn(study.trials)
    told = [foresight.of_any(trial) for trial in study.trials]
    assert [trial.state for trial in told] == [TrialState.COMPLETE] * 16
    assert told[5].values == pytest.approx([history[5].intermediate_values[1] + 0.2])  # the others gained so much
    reference = [create_trial(values=each.values, params=each.params, distributions=SPACE) for each in told]
    assert study.ask(SPACE).params == study_of(reference, made(GPSampler)).ask(SPACE).params


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_begins_where_most_trials_are_pruned_and_optunas_own_still_asks_at_random() -> None:
    history = list(trials([(TrialState.COMPLETE, EPOCHS)] * 4 + [(TrialState.PRUNED, 2)] * 20))
    told = {}
    for kind in (GPSampler, ForesightGPSampler):
        study = study_of(history, made(kind))
        study.ask(SPACE)
        told[kind] = any(name.startswith("gp:relative_params") for name in study.trials[-1].system_attrs)
    assert told == {GPSampler: False, ForesightGPSampler: True}

"""The search: samplers, pruners, the default config first, and the same training as an ordinary objective."""

from pathlib import Path

import optuna
import pytest
from commands import SOLO, STUDY_FILE, done, stored
from optuna.trial import TrialState

from mtlsearch import load_study, objective
from mtlsearch.errors import UsageError
from mtlsearch.tuning.choices import make_pruner, make_sampler


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a study file of two quick tasks."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY_FILE)
    return tmp_path


def search(here: Path, *options: str) -> list[optuna.trial.FrozenTrial]:
    done("run", "mine.py", *SOLO, "--quiet", "--set", "kind=fine", *options)
    return stored(here / "mtlsearch.db", "mine")


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "optuna.samplers.QMCSampler"])
def test_search_with_each_sampler_starts_from_the_default_config_with_equal_weights(here: Path, sampler: str) -> None:
    trials = search(here, "--sampler", sampler, "--trials", "12")
    assert len(trials) == 12
    assert trials[0].params == {"kind": "fine", "learning_rate": 1e-2, "weight:a": 0.5}
    assert trials[0].user_attrs["task_weights"] == {"a": 0.5, "b": 0.5}
    assert len({t.params["learning_rate"] for t in trials}) > 6
    for trial in trials:
        weights = trial.user_attrs["task_weights"]
        assert sum(weights.values()) == pytest.approx(1)
        assert weights["a"] == trial.params["weight:a"]


@pytest.mark.parametrize(
    "pruner", ["peers", "hyperband", "median", "halving", "optuna.pruners.SuccessiveHalvingPruner"]
)
def test_pruner_cuts_trials_off_before_their_last_epoch(here: Path, pruner: str) -> None:
    trials = search(here, "--pruner", pruner, "--trials", "20", "--epochs", "6", "--sampler", "random")
    pruned = [t for t in trials if t.state is TrialState.PRUNED]
    assert 0 < len(pruned) < 20
    for trial in trials:
        assert len(trial.intermediate_values) == trial.user_attrs["epochs"]
        assert (trial.user_attrs["epochs"] == 6) or trial in pruned
        assert trial.user_attrs["validation"]


NEVER = """
import optuna


class Never(optuna.pruners.ThresholdPruner):
    def __init__(self):
        super().__init__(lower=2)  # no score reaches it, so it prunes every trial at its first epoch
"""


@pytest.mark.parametrize("population", ["1", "3"])
def test_default_config_is_never_pruned(here: Path, monkeypatch: pytest.MonkeyPatch, population: str) -> None:
    monkeypatch.syspath_prepend(here)
    Path("never.py").write_text(NEVER)
    trials = search(here, "--pruner", "never.Never", "--trials", "3", "--sampler", "random", "--population", population)
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]


def test_without_a_pruner_every_trial_is_complete(here: Path) -> None:
    trials = search(here, "--pruner", "none", "--trials", "10", "--sampler", "random")
    assert all(t.state is TrialState.COMPLETE for t in trials)
    assert all(list(t.intermediate_values) == [0, 1] for t in trials)
    assert all(t.value == max(t.intermediate_values.values()) for t in trials)


def test_names_give_the_samplers_and_pruners_that_they_say() -> None:
    assert isinstance(make_sampler("tpe", 0), optuna.samplers.TPESampler)
    assert isinstance(make_sampler("optuna.samplers.CmaEsSampler", 0), optuna.samplers.CmaEsSampler)
    pruner = make_pruner("hyperband", 27)
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    assert pruner._max_resource == 27
    with pytest.raises(UsageError, match="is no BaseSampler"):
        make_sampler("pathlib.Path", 0)


def test_objective_is_an_ordinary_objective_for_ones_own_optimize(here: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective(load_study("mine.py"), data=here), n_trials=8)
    states = {t.params["kind"]: t.state for t in study.trials}
    assert states == {"fine": TrialState.COMPLETE, "broken": TrialState.FAIL}
    for trial in study.trials:
        if trial.state is TrialState.FAIL:
            assert "was not finite" in trial.user_attrs["reason"]
        else:
            assert trial.value == max(trial.intermediate_values.values())
            assert set(trial.user_attrs["validation"]) == {"a", "b"}


def test_objective_gives_the_score_that_the_search_gives(here: Path) -> None:
    ran = search(here, "--trials", "1", "--threads", "1")[0]
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(ran.params)
    study.optimize(objective(load_study("mine.py"), data=here), n_trials=1)
    assert study.best_value == ran.value
    assert study.best_trial.user_attrs["validation"] == ran.user_attrs["validation"]


def test_objective_prunes_where_the_studys_pruner_says_so(here: Path) -> None:
    never = optuna.pruners.ThresholdPruner(lower=2.0)
    study = optuna.create_study(direction="maximize", pruner=never)
    study.enqueue_trial({"kind": "fine"})
    study.optimize(objective(load_study("mine.py"), data=here), n_trials=1)
    assert study.trials[0].state is TrialState.PRUNED

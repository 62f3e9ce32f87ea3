"""Trials of one barrier are reserved together and told together, and nothing else about them changes."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.database.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as opened:
        yield opened


@pytest.fixture
def study(storage: Storage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="study", direction="maximize")


def states(path: Path) -> list[TrialState]:
    """The states of the trials in the file, as plain Optuna reads them."""
    rdb = optuna.storages.RDBStorage(f"sqlite:///{path}/store.db")
    found = [trial.state for trial in optuna.load_study(study_name="study", storage=rdb).trials]
    rdb.engine.dispose()
    return found


def test_trials_reserved_ahead_are_in_the_store_and_unseen_until_they_are_taken(
    storage: Storage, study: optuna.Study, tmp_path: Path
) -> None:
    trials = []
    for ahead in (3, 2, 1, 0):
        trial = storage.ask(study, 10, {"owner": 1}, ahead)
        assert trial is not None
        trials.append(trial)
        assert [t.number for t in study.get_trials(deepcopy=False)] == list(range(len(trials)))
        assert states(tmp_path) == [TrialState.RUNNING] * 4
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert {trial.user_attrs["owner"] for trial in trials} == {1}


def test_no_more_are_reserved_ahead_than_the_total_allows(storage: Storage, study: optuna.Study) -> None:
    found = [storage.ask(study, 3, {}, 15) for _ in range(5)]
    assert [trial and trial.number for trial in found] == [0, 1, 2, None, None]


def test_waiting_trial_is_taken_before_others_are_reserved_ahead(storage: Storage, study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1.0})
    found = [storage.ask(study, 10, {}, ahead) for ahead in (2, 1, 0)]
    assert [trial and trial.number for trial in found] == [0, 1, 2]
    assert ["fixed_params" in trial.system_attrs for trial in study.trials] == [True, False, False]


def test_what_was_reserved_ahead_for_another_owner_counts_no_more(storage: Storage, study: optuna.Study) -> None:
    first = storage.ask(study, 4, {"owner": 1}, 3)
    second = storage.ask(study, 4, {"owner": 2}, 0)
    assert first is not None
    assert second is not None
    given_back = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("interrupted")]
    assert [t.number for t in given_back] == [1, 2, 3]
    assert second.number == 4
    assert [storage.ask(study, 4) is not None for _ in range(3)] == [True, True, False]


def test_store_that_is_closed_ends_what_was_reserved_ahead(tmp_path: Path) -> None:
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as opened:
        made = optuna.create_study(storage=opened, study_name="study", direction="maximize")
        opened.ask(made, 10, {}, 2)
    assert states(tmp_path) == [TrialState.RUNNING, TrialState.FAIL, TrialState.FAIL]


def test_trials_told_together_are_in_the_store_after_the_context(
    storage: Storage, study: optuna.Study, tmp_path: Path
) -> None:
    trials = [storage.ask(study, 3, {}, ahead) for ahead in (2, 1, 0)]
    with storage.together() as lost:
        for trial in trials:
            assert trial is not None
            study.tell(trial, float(trial.number))
            assert study.trials[trial.number].state is TrialState.COMPLETE, "a sampler must know of it at once"
    assert not lost
    assert states(tmp_path) == [TrialState.COMPLETE] * 3


def test_trial_that_another_process_ended_before_is_lost_to_this_one(
    storage: Storage, study: optuna.Study, tmp_path: Path
) -> None:
    taken, kept = (storage.ask(study, 2, {}, ahead) for ahead in (1, 0))
    assert taken is not None
    assert kept is not None
    with open_storage(f"sqlite:///{tmp_path}/store.db", create=True) as other:
        other.refresh(study._study_id)
        assert other.withdraw(taken._trial_id)
    with storage.together() as lost:
        study.tell(taken, 1.0)
        study.tell(kept, 2.0)
    assert lost == {taken._trial_id}
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert states(tmp_path) == [TrialState.FAIL, TrialState.COMPLETE]

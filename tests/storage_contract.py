"""The contract of every store: Optuna's own for storages, and the reserving of trials that a search needs.

A test class inherits `StoreContract` and gives a `storage` and an `again` fixture.
"""

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import Storage

Again = Callable[[], Storage]  # opens the same store once more, as another process would


def new_study(storage: BaseStorage) -> int:
    return storage.create_new_study([StudyDirection.MAXIMIZE], "study")


class OptunaContract(StorageTestCase):
    """Optuna's suite as it is."""


class StoreContract(StorageTestCase):
    """Optuna's suite, and the reserving of trials."""

    def test_reserving_stops_at_the_total(self, storage: Storage) -> None:
        study_id = new_study(storage)
        assert [storage.reserve(study_id, 2) is None for _ in range(4)] == [False, False, True, True]
        assert storage.get_n_trials(study_id) == 2

    def test_finished_trials_count_whatever_their_outcome(self, storage: Storage) -> None:
        study_id = new_study(storage)
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
            trial_id = storage.reserve(study_id, 3)
            assert trial_id is not None
            storage.set_trial_state_values(trial_id, state, [1.0] if state == TrialState.COMPLETE else None)
        storage.refresh(study_id)
        assert storage.reserve(study_id, 3) is None
        assert storage.reserve(study_id, 4) is not None

    def test_two_openings_share_the_total(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)
        with again() as other:
            taken = [s.reserve(study_id, 5) for s in (storage, other) * 4]
            numbers = [s.get_trial(i).number for s, i in zip((storage, other) * 4, taken, strict=True) if i is not None]
        assert sorted(numbers) == [0, 1, 2, 3, 4]

    def test_reserved_trial_carries_its_attributes(self, storage: Storage, again: Again) -> None:
        trial_id = storage.reserve(new_study(storage), 1, {"owner": {"pid": 7}})
        assert trial_id is not None
        storage.flush()
        with again() as other:
            assert other.get_trial(trial_id).user_attrs == {"owner": {"pid": 7}}

    def test_waiting_trial_is_taken_before_a_new_one_is_made(self, storage: Storage, again: Again) -> None:
        new_study(storage)
        study = optuna.load_study(study_name="study", storage=storage)
        with again() as other:
            optuna.load_study(study_name="study", storage=other).enqueue_trial({"x": 0.25})
        trial = storage.ask(study, 1, {"owner": 1})
        assert trial is not None
        assert (trial.number, trial.suggest_float("x", 0, 1)) == (0, 0.25)
        assert trial.user_attrs == {"owner": 1}
        assert storage.ask(study, 1) is None

    def test_waiting_trials_beyond_the_total_stay_in_the_queue(self, storage: Storage) -> None:
        study_id = new_study(storage)
        for _ in range(3):
            storage.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING))
        assert storage.reserve(study_id, 1) is not None
        assert storage.reserve(study_id, 1) is None
        assert storage.get_n_trials(study_id, TrialState.WAITING) == 2

    def test_interrupted_trial_is_not_counted_and_asked_again(self, storage: Storage) -> None:
        study_id = new_study(storage)
        study = optuna.load_study(study_name="study", storage=storage)
        first = storage.ask(study, 1)
        assert first is not None
        x = first.suggest_float("x", 0, 1)
        first.report(0.5, 0)
        retry = storage.interrupt(first._trial_id)
        assert retry is not None
        second = storage.ask(study, 1)
        assert second is not None
        assert second._trial_id == retry
        assert second.suggest_float("x", 0, 1) == x
        assert second.user_attrs["retry_of"] == first.number
        old = storage.get_trial(first._trial_id)
        assert (old.state, old.user_attrs["interrupted"]) == (TrialState.FAIL, True)
        assert old.intermediate_values == {0: 0.5}
        assert storage.reserve(study_id, 1) is None

    def test_trial_of_a_dead_process_is_taken_over_once(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)
        trial_id = storage.reserve(study_id, 1)
        assert trial_id is not None
        with again() as one, again() as two:
            retries = [one.interrupt(trial_id), two.interrupt(trial_id)]
        assert [r is None for r in retries] == [False, True]
        storage.refresh(study_id)
        assert [t.state for t in storage.get_all_trials(study_id)] == [TrialState.FAIL, TrialState.WAITING]

    def test_trial_that_another_process_ended_cannot_be_told(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)
        trial_id = storage.reserve(study_id, 1)
        assert trial_id is not None
        with again() as other:
            other.interrupt(trial_id)
        with pytest.raises(UpdateFinishedTrialError):
            storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
        with again() as other:
            assert other.get_trial(trial_id).state == TrialState.FAIL

    def test_of_two_that_make_the_same_trial_at_once_one_makes_it(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)

        def make(opened: Storage, key: str, state: TrialState = TrialState.RUNNING) -> int | None:
            template = optuna.trial.create_trial(state=state, value=1.0, user_attrs={"key": key})
            return opened.create_unless(
                study_id, template, lambda trials: any(t.user_attrs.get("key") == key for t in trials)
            )

        with again() as other:
            for opened in (storage, other):
                opened.get_all_trials(study_id)  # from here on both remember an empty study
            made = [make(opened, key) for key in "abc" for opened in (other, storage)]
            assert [trial_id is None for trial_id in made] == [False, True] * 3
            assert make(other, "d", TrialState.COMPLETE) is not None
            assert make(storage, "d") is None
        storage.refresh(study_id)
        kept = [t for t in storage.get_all_trials(study_id) if "interrupted" not in t.user_attrs]
        assert [t.user_attrs["key"] for t in kept] == list("abcd")
        assert (made[0], storage.get_trial(made[0] or 0).state) == (kept[0]._trial_id, TrialState.RUNNING)

    def test_refresh_shows_what_others_wrote(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)
        assert storage.get_all_trials(study_id) == []
        with again() as other:
            running, done = other.create_new_trial(study_id), other.create_new_trial(study_id)
            other.set_trial_intermediate_value(running, 0, 0.5)
            other.set_trial_state_values(done, TrialState.COMPLETE, [2.0])
            other.set_study_user_attr(study_id, "key", "value")
            other.flush()
            storage.refresh(study_id)
            assert storage.get_trial(running).intermediate_values == {0: 0.5}
            assert storage.get_trial(done).value == 2.0
            assert storage.get_study_user_attrs(study_id) == {"key": "value"}
            other.set_trial_state_values(running, TrialState.PRUNED)
        storage.refresh(study_id)
        assert storage.get_trial(running).state == TrialState.PRUNED

    def test_equal_choices_of_other_types_stay_apart(self, storage: Storage, again: Again) -> None:
        trial_id = storage.create_new_trial(new_study(storage))
        storage.set_trial_param(trial_id, "flag", 0, CategoricalDistribution((True, False)))
        storage.set_trial_param(trial_id, "count", 0, CategoricalDistribution((1, 0)))
        storage.flush()
        with again() as other:
            params = other.get_trial(trial_id).params
        assert params["flag"] is True
        assert type(params["count"]) is int

    def test_told_trial_is_in_the_store_with_everything(self, storage: Storage, again: Again) -> None:
        new_study(storage)
        study = optuna.load_study(study_name="study", storage=storage)
        trial = storage.ask(study, 1)
        assert trial is not None
        trial.suggest_float("x", 0, 1)
        trial.suggest_categorical("c", ["a", None, 2])
        trial.report(float("nan"), 0)
        trial.report(0.5, 1)
        trial.set_user_attr("validation", {"task": {"accuracy": 0.5}})
        study.tell(trial, 0.75)
        with again() as other:
            # repr, as nan is unlike itself
            assert repr(other.get_trial(trial._trial_id)) == repr(storage.get_trial(trial._trial_id))

    def test_deleted_study_is_gone_for_its_trials_too(self, storage: Storage, again: Again) -> None:
        study_id = new_study(storage)
        trial_id = storage.reserve(study_id, 1)
        assert trial_id is not None
        with again() as other:
            other.delete_study(study_id)
        for _ in range(2):
            with pytest.raises((StoreError, KeyError)):
                storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])

    def test_totals_of_two_studies_are_apart(self, storage: Storage, again: Again) -> None:
        ids = [storage.create_new_study([StudyDirection.MAXIMIZE], name) for name in ("one", "two")]
        with again() as other:
            for turn in range(4):
                for study_id in ids:
                    trial_id = (storage, other)[turn % 2].reserve(study_id, 4)
                    assert trial_id is not None
                    (storage, other)[turn % 2].set_trial_state_values(trial_id, TrialState.PRUNED)
                    storage.refresh(study_id)
        assert [storage.reserve(study_id, 4) for study_id in ids] == [None, None]
        assert [[t.number for t in storage.get_all_trials(i)] for i in ids] == [[0, 1, 2, 3]] * 2

    def test_threads_share_one_storage(self, storage: Storage, again: Again) -> None:
        new_study(storage)
        study = optuna.load_study(study_name="study", storage=storage)

        def objective(trial: optuna.Trial) -> float:
            x = trial.suggest_float("x", 0, 1)
            trial.report(x, 0)
            return x

        study.optimize(objective, n_trials=12, n_jobs=3)
        with again() as other:
            trials = optuna.load_study(study_name="study", storage=other).trials
        assert [t.number for t in trials] == list(range(12))
        assert all(t.value == t.params["x"] == t.intermediate_values[0] for t in trials)

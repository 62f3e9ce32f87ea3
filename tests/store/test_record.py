"""A study's record: what a trial holds, which is the best, and which definition and process it belongs to."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from commands import SHORT, STUDY_FILE, done, stored
from optuna.trial import FrozenTrial, TrialState, create_trial

from mtlsearch import load_study
from mtlsearch.errors import StoreError
from mtlsearch.processes import this_process
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.opening import Storage, open_storage
from mtlsearch.store.definition import STUDY_FORMAT, check_same
from mtlsearch.store.finding import find_record, open_record
from mtlsearch.store.record import Policy, Record
from mtlsearch.store.trials import busy_seconds, trials_frame
from mtlsearch.study.describe import describe
from mtlsearch.study.loaded import load_data
from mtlsearch.study.results import EpochResult


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("study") / "mine.py"
    path.write_text(STUDY_FILE)
    return {**describe(load_data(load_study(str(path)), path.parent)), "population": 1}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(f"sqlite:///{tmp_path}/s.db", create=True) as storage:
        yield storage


@pytest.fixture
def record(storage: Storage, info: dict[str, Any], tmp_path: Path) -> Record:
    return open_record(storage, "mine", info, 3, tmp_path / "artifacts")


def begin_trial(record: Record) -> int:
    """Ask a trial and begin to train it; its number."""
    asked = record.ask(load_study(record.info["source"]).search_space, total=100)
    assert asked is not None
    record.enter(asked[0].number, 0, {"device": "cpu"})
    return asked[0].number


def end_trial(record: Record, number: int, score: float, state: TrialState = TrialState.COMPLETE) -> None:
    """Report one epoch of `score`, and end the trial."""
    values = {"a": {"accuracy": score}, "b": {"accuracy": score}}
    reason = "the loss of a was not finite in epoch 0, step 0" if state is TrialState.FAIL else None
    result = EpochResult(number, 0, score, values, 0, score, values, True, reason)
    record.report(result)
    record.tell(result, state, lambda path, config: path.write_text(str(config["trial"])))


def run_trial(record: Record, score: float, state: TrialState = TrialState.COMPLETE) -> int:
    """Ask a trial, report one epoch of `score`, and end it; its number."""
    number = begin_trial(record)
    end_trial(record, number, score, state)
    return number


def test_trial_holds_what_the_contract_names(record: Record) -> None:
    trial = record.trial(run_trial(record, 0.5))
    attrs = trial.user_attrs
    assert trial.state is TrialState.COMPLETE
    assert (trial.value, trial.intermediate_values) == (0.5, {0: 0.5})
    assert set(attrs["task_weights"]) == {"a", "b"}
    assert attrs["validation"] == {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.5}}
    assert attrs["a accuracy"] == 0.5  # plain numbers, for the dashboard
    assert (attrs["best_epoch"], attrs["epochs"], attrs["entry_epoch"]) == (0, 1, 0)
    assert attrs["owner"] == this_process()
    assert attrs["seconds"] >= 0


def test_best_is_the_earliest_of_equal_scores_and_never_a_pruned_or_failed_one(record: Record) -> None:
    run_trial(record, 0.5)
    best = run_trial(record, 0.7)
    run_trial(record, 0.7)
    run_trial(record, 0.9, TrialState.PRUNED)
    run_trial(record, 0.9, TrialState.FAIL)
    assert record.best().number == best
    assert record.counted() == 5


def test_record_without_a_complete_trial_has_no_best(record: Record) -> None:
    run_trial(record, 0.9, TrialState.PRUNED)
    assert record.best_or_none() is None
    with pytest.raises(StoreError, match="'mine' has no complete trial yet"):
        record.best()


def test_parameters_are_saved_as_a_trial_becomes_the_best_and_found_again(record: Record) -> None:
    first, second, third = (run_trial(record, score) for score in (0.5, 0.4, 0.6))
    assert record.parameters(record.trial(first)).read_text() == str(first)
    assert record.parameters(record.trial(third)).read_text() == str(third)
    with pytest.raises(StoreError, match="--artifacts"):
        record.parameters(record.trial(second))


def test_parameters_of_the_best_are_saved_whichever_of_equal_trials_ends_first(record: Record) -> None:
    first, second = begin_trial(record), begin_trial(record)
    end_trial(record, second, 0.7)
    end_trial(record, first, 0.7)
    assert record.best().number == first
    assert record.parameters(record.best()).read_text() == str(first)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("looks", [True, False])
def test_runs_at_once_keep_the_parameters_of_the_best_of_equal_trials(
    record: Record, info: dict[str, Any], tmp_path: Path, order: tuple[int, ...], looks: bool
) -> None:
    """In whichever order three runs end trials of one score, and whether or not each has seen the others' ends."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_storage(str(record.storage.url), create=True)) for _ in range(2)]
        runs = [record, *(open_record(each, "mine", info, 3, tmp_path / "artifacts") for each in opened)]
        numbers = [begin_trial(run) for run in runs]
        for which in order:
            if looks:
                runs[which].refresh()
            end_trial(runs[which], numbers[which], 0.7)
        for run in runs:
            run.refresh()
            assert run.best().number == 0
            assert run.parameters(run.best()).read_text() == "0"


def test_policy_groups_the_trials_that_compete_for_having_their_parameters_kept(record: Record) -> None:
    groups = ["a", "b", None, None]
    record.policy = Policy(asks_again=False, group=lambda trial: groups[trial.number])
    numbers = [run_trial(record, score) for score in (0.7, 0.5, 0.9)]
    for number in numbers[:2]:
        assert record.parameters(record.trial(number)).read_text() == str(number)
    with pytest.raises(StoreError, match="has no parameters"):
        record.parameters(record.trial(numbers[2]))
    begin_trial(record)
    record.interrupt()
    assert record.trials(TrialState.WAITING) == []
    assert record.counted() == 3


def test_interrupted_trial_is_not_counted_and_its_params_are_asked_again(record: Record) -> None:
    space = load_study(record.info["source"]).search_space
    asked = record.ask(space, total=2)
    assert asked is not None
    record.interrupt()
    ended = record.trial(asked[0].number)
    assert (ended.state, ended.user_attrs["interrupted"]) == (TrialState.FAIL, True)
    assert record.counted() == 0
    retry = record.trial(run_trial(record, 0.5))
    assert retry.user_attrs["retry_of"] == ended.number
    assert retry.params == ended.params


def test_no_more_trials_are_asked_than_the_total(record: Record) -> None:
    space = load_study(record.info["source"]).search_space
    assert [record.ask(space, total=2) is None for _ in range(3)] == [False, False, True]
    record.interrupt()


def test_seed_is_kept_at_the_first_run_and_taken_again(
    record: Record, storage: Storage, info: dict[str, Any], tmp_path: Path
) -> None:
    assert open_record(storage, "mine", info, None, tmp_path).info["seed"] == 3
    with pytest.raises(StoreError, match="begun with --seed 3, but got --seed 4"):
        open_record(storage, "mine", info, 4, tmp_path)


def test_what_differs_between_definitions_is_named_by_its_path(info: dict[str, Any]) -> None:
    found = {"format": STUDY_FORMAT, **info, "seed": 0}
    check_same("mine", found, info, None)
    other = {**info, "fingerprint": {**info["fingerprint"], "epochs": 9, "score": "min"}}
    with pytest.raises(StoreError, match=r"epochs: 2, now 9; score: mean, now min"):
        check_same("mine", found, other, None)
    with pytest.raises(StoreError, match="another version of mtlsearch"):
        check_same("mine", {**found, "format": "mtlsearch/study/9"}, info, None)


def test_record_is_found_by_name_and_else_the_latest(
    record: Record, storage: Storage, info: dict[str, Any], tmp_path: Path
) -> None:
    open_record(storage, "later", info, 0, tmp_path)
    assert find_record(storage, "mine", tmp_path).name == "mine"
    assert find_record(storage, None, tmp_path).name == "later"
    with pytest.raises(StoreError, match="no study 'none'; it holds: mine, later"):
        find_record(storage, "none", tmp_path)


def test_frame_has_a_row_for_every_trial_and_a_reason_where_one_failed(record: Record) -> None:
    run_trial(record, 0.5)
    run_trial(record, 0.5, TrialState.FAIL)
    frame = trials_frame(record.trials())
    assert list(frame["state"]) == ["complete", "fail"]
    assert frame["score"].isna().tolist() == [False, True]
    assert "not finite" in frame["reason"][1]
    weights = frame[["task_weight.a", "task_weight.b"]]
    assert weights.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_time_in_training_counts_overlapping_trials_once_and_gaps_not_at_all() -> None:
    def trained(begun: int, ended: int) -> FrozenTrial:
        trial = create_trial(state=TrialState.COMPLETE, value=0.5)
        trial.datetime_start, trial.datetime_complete = (datetime(2025, 1, 1, 12, 0, s) for s in (begun, ended))
        return trial

    trials = [trained(30, 40), trained(0, 10), trained(5, 20), trained(6, 8)]
    assert busy_seconds(trials) == 30
    assert busy_seconds([*trials, trained(50, 45)]) == 30  # the clock was set back
    assert busy_seconds([create_trial(state=TrialState.WAITING)]) == 0


def test_artifacts_lie_beside_a_sqlite_store_unless_another_folder_is_named(tmp_path: Path) -> None:
    assert artifacts_folder("sqlite:///a/b.db", None) == Path("a/b.artifacts")
    assert artifacts_folder("sqlite:///a/b.db", tmp_path) == tmp_path
    assert artifacts_folder("postgresql+psycopg://user@host/name", None) == Path("mtlsearch.artifacts")
    with pytest.raises(StoreError, match=r"sqlite:///b\.db"):
        artifacts_folder("b.db", None)


def test_folder_is_checked_without_being_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="must be writable"):
        check_folder(tmp_path / "file" / "b")


def test_owner_and_conditions_of_a_run_are_in_every_trial(tmp_path: Path) -> None:
    done("run", "digits", *SHORT, "--trials", "2", "--quiet", "--storage", f"sqlite:///{tmp_path}/s.db")
    for trial in stored(tmp_path / "s.db"):
        assert trial.user_attrs["owner"] == this_process()
        assert trial.user_attrs["trained_on"]["threads"] == 1

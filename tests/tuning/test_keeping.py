"""A search that is interrupted in mid-epoch or killed goes on to the trials that it would have had, bit for bit."""

import errno
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
from commands import STUDY_FILE, command, done, refused, stored
from optuna.trial import TrialState

from mtlsearch.store.states import FOLDER
from mtlsearch.training.trainer import Interrupted, Training
from mtlsearch.tuning.interruption import keeper as keeping
from mtlsearch.tuning.interruption.keeper import Keeper
from mtlsearch.tuning.session import Session

TRIALS, EPOCHS = 9, 6
COMPARED = (
    "task_weights",
    "validation",
    "folds",
    "best_epoch",
    "epochs",
    "entry_epoch",
    "reason",
    "retry_of",
    "interrupted",
)
STUDY = STUDY_FILE.replace('"kind": choice("fine", "broken"), ', "").replace("epochs=2", f"epochs={EPOCHS}, patience=3")


def outcomes(store: Path) -> list[tuple[object, ...]]:
    """All that a search leaves of its trials but times, processes and ids."""
    trials = stored(store, "mine")
    return [
        (t.number, t.state, t.value, t.params, t.intermediate_values, *map(t.user_attrs.get, COMPARED)) for t in trials
    ]


def arguments(folder: Path, population: int, *more: str) -> list[str]:
    line = (
        f"run {folder / 'mine.py'} --trials {TRIALS} --population {population} --threads 1 --no-confirm --quiet"
        f" --pruner halving --sampler numbered_sampler.NumberedSampler --storage sqlite:///{folder / 'store.db'}"
    )
    return [*line.split(), *more]


@pytest.fixture(params=[(1,), (4,), (4, "--folds", "2")], ids=["solo", "lanes", "folds"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[list[str], list[tuple[object, ...]]]]:
    """The arguments of a run, and the outcomes of one that was never interrupted."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(STUDY)
    done(*arguments(tmp_path / "whole", *request.param))
    due = outcomes(tmp_path / "whole" / "store.db")
    assert {state for _, state, *_ in due} == {TrialState.COMPLETE, TrialState.PRUNED}, "all end alike"
    return arguments(tmp_path / "cut", *request.param), due


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the training stop at that step of the process, in the middle of an epoch."""
    steps = 0

    def check_stop(training: Training) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Interrupted

    monkeypatch.setattr(Training, "check_stop", check_stop)


@pytest.mark.parametrize("every", [1, 3])
def test_search_interrupted_again_and_again_in_mid_epoch_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[list[str], list[tuple[object, ...]]], every: int
) -> None:
    """The states are kept at every or at every third barrier: then epochs are repeated, with ghosts."""
    command_line, due = run
    barriers = 0

    def keep_if_due(keeper: Keeper) -> None:
        nonlocal barriers
        barriers += 1
        if barriers % every == 0:
            keeper.keep()

    monkeypatch.setattr(Keeper, "keep_if_due", keep_if_due)
    told = []
    for step in (14, 11, 8, 14):
        with monkeypatch.context() as patched:
            interrupt_at(patched, step)
            outcome = command(*command_line)
        told.append(outcome.err)
    assert sum("interrupted" in each for each in told) >= 3
    assert any("trials in training go on" in each for each in told)
    done(*command_line)
    assert outcomes(tmp_path / "cut" / "store.db") == due
    assert not list((tmp_path / "cut" / "store.artifacts" / FOLDER).iterdir())


def die_in_mid_epoch(arguments: list[str]) -> None:
    """A run that keeps its states at every barrier, and is killed at its 20th step, in a process of its own."""
    keeping.LEAST_SECONDS, keeping.SHARE = 0.0, 1e9
    steps = iter(range(20))

    def check_stop(training: Training) -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    Training.check_stop = check_stop  # type: ignore[method-assign]
    command(*arguments)


def killed(run: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Call a run in a fork of this process, in which it is killed."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(arguments,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("run", [(1,), (4,)], ids=["solo", "lanes"], indirect=True)
def test_killed_search_ends_as_one_that_was_not(
    tmp_path: Path, run: tuple[list[str], list[tuple[object, ...]]]
) -> None:
    command_line, due = run
    killed(die_in_mid_epoch, command_line)
    before = stored(tmp_path / "cut" / "store.db", "mine")
    assert any(trial.state is TrialState.RUNNING for trial in before)
    assert "trials in training go on" in done(*command_line).err
    assert outcomes(tmp_path / "cut" / "store.db") == due
    assert not list((tmp_path / "cut" / "store.artifacts" / FOLDER).iterdir())


def die_while_keeping(arguments: list[str]) -> None:
    """A run that is killed when its first file of states is written in part, in a process of its own."""

    def save_file(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"in part")
        os.kill(os.getpid(), signal.SIGKILL)

    keeping.LEAST_SECONDS, keeping.SHARE = 0.0, 1e9
    safetensors.torch.save_file = save_file
    command(*arguments)


def test_what_a_kill_left_of_the_first_write_of_states_is_cleared_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    killed(die_while_keeping, arguments(tmp_path, 1))
    kept = tmp_path / "store.artifacts" / FOLDER
    (left,) = kept.iterdir()
    assert [path.read_bytes() for path in left.iterdir()] == [b"in part"]
    done(*arguments(tmp_path, 1))
    assert not list(kept.iterdir())


def test_states_of_other_conditions_are_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    monkeypatch.setattr(keeping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 14)
        assert command(*arguments(tmp_path, 4)).status == 130
    told = done(*arguments(tmp_path, 3)).err
    assert "begin anew, since they were trained with trainer population of 4" in told
    trials = stored(tmp_path / "store.db", "mine")
    assert sum(trial.state.is_finished() and not trial.user_attrs.get("interrupted") for trial in trials) == TRIALS
    assert any("retry_of" in trial.user_attrs for trial in trials)
    assert not list((tmp_path / "store.artifacts" / FOLDER).iterdir())


def test_timeout_keeps_what_is_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    line = [*arguments(tmp_path, 4), "--pruner", "none", "--timeout", "1000"]
    epochs = iter([True, True, False, True, False])
    monkeypatch.setattr(Session, "is_in_time", lambda session: next(epochs))
    assert command(*line).status == 1  # no trial is complete
    assert "4 trials in training go on" in command(*line).err
    trials = stored(tmp_path / "store.db", "mine")
    assert [sorted(trial.intermediate_values) for trial in trials] == [[0, 1, 2]] * 4
    assert {trial.state for trial in trials} == {TrialState.RUNNING}


def test_search_ends_well_where_the_states_cannot_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    monkeypatch.setattr(keeping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    unlink = Path.unlink

    def failing(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == FOLDER:
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing)
        done(*arguments(tmp_path, 4))
    assert len(list((tmp_path / "store.artifacts" / FOLDER).iterdir())) == 1
    done(*arguments(tmp_path, 4), "--trials", str(TRIALS + 1))
    assert not list((tmp_path / "store.artifacts" / FOLDER).iterdir())


REPEATED = ("kind", "of", "seed", "division", "test", *COMPARED)


def repeats(store: Path) -> list[tuple[object, ...]]:
    """All that a confirmation leaves of its trainings but times, processes and ids."""
    trials = stored(store, "mine/confirmation")
    return [(t.state, t.value, t.params, t.intermediate_values, *map(t.user_attrs.get, REPEATED)) for t in trials]


Confirmed = tuple[list[str], list[tuple[object, ...]]]


@pytest.fixture(params=[(1,), (4,), (4, "--resplit", "2")], ids=["solo", "lanes", "divisions"])
def confirmation(tmp_path: Path, request: pytest.FixtureRequest) -> Confirmed:
    """The arguments of a run whose search is done, and the outcomes of a confirmation that was never interrupted."""
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "mine.py").write_text(STUDY.replace("patience=3", "patience=1"))
    population, *more = request.param
    done(*arguments(tmp_path / "cut", population))
    shutil.copytree(tmp_path / "cut", tmp_path / "whole")
    whole, cut = (
        [word for word in arguments(tmp_path / name, population) if word != "--no-confirm"]
        + ["--seeds", "3", "--top", "1", "--no-single", *more]
        for name in ("whole", "cut")
    )
    done(*whole)
    due = repeats(tmp_path / "whole" / "store.db")
    assert {state for state, *_ in due} == {TrialState.COMPLETE}
    assert len({tuple(values) for _, _, _, values, *_ in due}) > 1, "all end in the same epoch"
    return cut, due


@pytest.mark.parametrize("every", [1, 3])
def test_confirmation_interrupted_again_and_again_in_mid_epoch_ends_as_one_that_was_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    confirmation: Confirmed,
    every: int,
) -> None:
    command_line, due = confirmation
    barriers = 0

    def keep_if_due(keeper: Keeper) -> None:
        nonlocal barriers
        barriers += 1
        if barriers % every == 0:
            keeper.keep()

    monkeypatch.setattr(Keeper, "keep_if_due", keep_if_due)
    told = []
    for step in (14, 11, 8, 14):
        with monkeypatch.context() as patched:
            interrupt_at(patched, step)
            outcome = command(*command_line)
        told.append(outcome.err)
    assert sum("interrupted" in each for each in told) >= 3
    assert any("trials in training go on" in each for each in told)
    done(*command_line)
    assert repeats(tmp_path / "cut" / "store.db") == due
    assert not list((tmp_path / "cut" / "store.artifacts" / FOLDER).iterdir())


@pytest.mark.parametrize("confirmation", [(4,)], indirect=True)
def test_killed_confirmation_ends_as_one_that_was_not(tmp_path: Path, confirmation: Confirmed) -> None:
    command_line, due = confirmation
    killed(die_in_mid_epoch, command_line)
    before = stored(tmp_path / "cut" / "store.db", "mine/confirmation")
    assert any(trial.state is TrialState.RUNNING for trial in before)
    assert "trials in training go on" in done(*command_line).err
    assert repeats(tmp_path / "cut" / "store.db") == due


@pytest.mark.parametrize("confirmation", [(4,)], indirect=True)
def test_states_of_another_plan_are_begun_anew_and_none_is_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confirmation: Confirmed
) -> None:
    command_line, _ = confirmation
    monkeypatch.setattr(keeping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 14)
        assert command(*command_line).status == 130
    more = [word if word != "3" else "2" for word in command_line]
    assert "begin anew, since they were trained with" in done(*more).err
    trials = stored(tmp_path / "cut" / "store.db", "mine/confirmation")
    assert not any(trial.state is TrialState.RUNNING for trial in trials)
    assert not list((tmp_path / "cut" / "store.artifacts" / FOLDER).iterdir())


def test_damaged_states_are_told_and_removed_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    monkeypatch.setattr(keeping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 1e9)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 14)
        assert command(*arguments(tmp_path, 1)).status == 130
    (file,) = (tmp_path / "store.artifacts" / FOLDER).iterdir()
    with safetensors.safe_open(str(file), framework="pt") as whole:
        metadata = whole.metadata()
        tensors = {name: whole.get_tensor(name) for name in list(whole.keys()) if "model:" not in name}
    safetensors.torch.save_file(tensors, file, metadata)
    assert "was damaged (KeyError" in refused(*arguments(tmp_path, 1))
    done(*arguments(tmp_path, 1))
    trials = stored(tmp_path / "store.db", "mine")
    assert sum(trial.state.is_finished() and not trial.user_attrs.get("interrupted") for trial in trials) == TRIALS

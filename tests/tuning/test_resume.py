"""A search that is interrupted, killed or stopped goes on where it was, and the same seed gives the same trials."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SHORT, SOLO, STUDY_FILE, counted, done, stored
from optuna.trial import FrozenTrial, TrialState

KEPT = ("task_weights", "validation", "best_epoch", "epochs", "entry_epoch", "reason")
MTLSEARCH = Path(sys.executable).with_name("mtlsearch")


def outcomes(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    """The parts that two equal searches have in common: everything but times, processes and ids."""
    return [(t.number, t.state, t.value, t.params, t.intermediate_values, *map(t.user_attrs.get, KEPT)) for t in trials]


@pytest.mark.parametrize("population", ["1", "3"])
def test_same_seed_gives_the_same_trials(tmp_path: Path, population: str) -> None:
    for name in ("one", "two"):
        options = ("--seed", "0", "--trials", "5", "--population", population, "--quiet")
        done("run", "digits", *SHORT, *options, "--storage", f"sqlite:///{tmp_path}/{name}.db")
    first, second = (outcomes(stored(tmp_path / f"{name}.db")) for name in ("one", "two"))
    assert first == second
    assert len(first) == 5


def test_another_seed_gives_other_trials(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        options = ("--seed", seed, "--trials", "2", "--quiet", "--storage", f"sqlite:///{tmp_path}/{seed}.db")
        done("run", "digits", *SHORT, *options)
    first, second = (stored(tmp_path / f"{seed}.db") for seed in ("0", "1"))
    assert first[0].params == second[0].params  # the study's default config
    assert first[0].value != second[0].value
    assert first[1].params != second[1].params


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(MTLSEARCH), *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_trial(process: subprocess.Popen[str], line: str) -> None:
    """Read progress until a line holds `line`."""
    assert process.stderr is not None
    assert any(line in told for told in process.stderr), f"{line!r} never came"


@pytest.mark.parametrize("population", ["1", "4"])
def test_run_of_20_interrupted_at_trial_7_ends_with_20_and_leaves_the_first_untouched(
    tmp_path: Path, population: str
) -> None:
    arguments = ("run", "digits", "--trials", "20", "--epochs", "3", "--threads", "1", "--no-confirm")
    arguments += ("--population", population)
    process = start(tmp_path, *arguments)
    wait_for_trial(process, "7 of 20")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on" in err
    assert "Traceback" not in err

    before = stored(tmp_path / "mtlsearch.db")
    assert 7 <= len(counted(before)) < 20
    left = [t for t in before if t.state is TrialState.RUNNING]  # where their states were worth keeping
    assert all(t.user_attrs["owner"].get("left") for t in left)
    interrupted = [t for t in before if t.user_attrs.get("interrupted")]
    assert all(t.state is TrialState.FAIL for t in interrupted)
    if population == "4":
        assert interrupted or left

    outcome = done(*arguments, "--storage", f"sqlite:///{tmp_path}/mtlsearch.db")
    assert f"goes on at trial {len(counted(before))} of 20" in outcome.err
    after = stored(tmp_path / "mtlsearch.db")
    assert len(counted(after)) == 20
    assert [t for t in after if t.number in {t.number for t in counted(before)}] == counted(before)
    for trial in interrupted:
        (retry,) = [t for t in after if t.user_attrs.get("retry_of") == trial.number]
        assert retry.params == trial.params
        assert not retry.user_attrs.get("interrupted")


def test_killed_run_goes_on_and_its_trials_are_asked_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    arguments = ("run", "digits", "--trials", "1000", "--epochs", "9", "--threads", "1", "--population", "1")
    process = start(tmp_path, *arguments, "--no-confirm")
    wait_for_trial(process, "2 of 1000")
    process.kill()
    process.communicate(timeout=60)
    store = tmp_path / "mtlsearch.db"
    before = stored(store)
    total = len(counted(before)) + 2
    done("run", "digits", "--trials", total, "--epochs", "9", *SOLO, "--storage", f"sqlite:///{store}")
    after = stored(store)
    assert len(counted(after)) == total
    assert not any(t.state is TrialState.RUNNING for t in after)
    running = {t.number for t in before if t.state is TrialState.RUNNING}
    running -= {t.number for t in counted(after)}  # the states of those were kept
    assert {t.number for t in after if t.user_attrs.get("interrupted")} == running
    assert {t.user_attrs["retry_of"] for t in after if "retry_of" in t.user_attrs} == running


def test_second_interrupt_ends_the_process_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "run", "digits", "--trials", "1000", *SOLO)
    wait_for_trial(process, "1 of 1000")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in {130, 128 + signal.SIGTERM}


def test_timeout_ends_well_with_what_there_is_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY_FILE)
    arguments = ("run", "mine.py", *SOLO, "--set", "kind=fine", "--json")
    outcome = done(*arguments, "--trials", "100000", "--timeout", "3")
    count = len(counted(stored(tmp_path / "mtlsearch.db", "mine")))
    assert f"with {count} of 100000 trials; the same command goes on" in outcome.err
    assert json.loads(outcome.out)["study"]["name"] == "mine"
    assert count > 0
    done(*arguments, "--trials", str(count + 2))
    assert len(counted(stored(tmp_path / "mtlsearch.db", "mine"))) == count + 2

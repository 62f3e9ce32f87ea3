"""Progress: one plain line per event in a pipe, a live line on a terminal, and nothing when quiet."""

import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import SOLO, STUDY_FILE, done
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.activity import advance, doing
from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.tuning.progress import SILENCE_SECONDS, Progress
from mtlsearch.wording import clock, described, measured, weight_in_words

VALUES = {"a": {"accuracy": 0.5}, "b": {"accuracy": 0.25}}


def ended(number: int, value: float | None, state: TrialState = TrialState.COMPLETE, **attrs: Any) -> FrozenTrial:
    trial = optuna.create_trial(state=state, value=value, user_attrs={"epochs": 2, "validation": VALUES, **attrs})
    trial.number = number
    return trial


def epoch(number: int, at: int) -> EpochResult:
    return EpochResult(number, at, 0.5, VALUES, at, 0.5, VALUES, False)


def test_each_end_of_a_trial_is_one_line_with_the_count_and_the_best(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Progress(3) as progress:
        progress.begun(progress.total, 0, 2)
        progress.ended(ended(0, 0.4))
        progress.ended(ended(1, None, TrialState.FAIL, reason="the loss of a was not finite"))
        progress.ended(ended(2, 0.3))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "trial 0 complete after 2 epochs, score 0.4000; 1 of 3; new best: a accuracy 0.5000, b accuracy 0.2500",
        "trial 1 fail after 2 epochs (the loss of a was not finite); 2 of 3; best 0.4000",
        "trial 2 complete after 2 epochs, score 0.3000; 3 of 3; best 0.4000",
    ]


def test_quiet_progress_tells_notices_only(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(3, quiet=True) as progress:
        progress.begun(progress.total, 0, 2)
        progress.ended(ended(0, 0.4))
        progress.waiting(2)
        progress.notice("something to know")
    assert capfd.readouterr() == ("", "mtlsearch: something to know\n")


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_line_shows_what_is_done_the_best_the_rate_and_the_time_left(at: Clock) -> None:
    progress = Progress(10)
    progress.begun(progress.total, 0, 2)
    assert str(progress.line()) == "0/10 trials · no score yet"
    progress.asked(0, Config({}, {}))
    progress.asked(1, Config({}, {}))
    assert str(progress.line()) == "0/10 trials · 2 training (epoch 1 of 2) · no score yet"
    at.now += 10
    for epochs in range(2):
        progress.reported(epoch(0, epochs))
    progress.ended(ended(0, 0.4))
    line = str(progress.line())
    assert line.startswith(
        "1/10 trials · 1 training (epoch 1 of 2) · 0.2 trial-epochs/s · 1:30 left · best 0.4000 (trial 0: "
    )
    assert line.endswith("a accuracy 0.5000, b accuracy 0.2500)")


def test_best_is_also_that_of_a_trial_in_training_as_long_as_it_trains() -> None:
    progress = Progress(10)
    progress.begun(10, 4, 3, ended(3, 0.45))
    progress.asked(4, Config({}, {}))
    progress.reported(epoch(4, 0))
    assert "best 0.5000 (trial 4, in training: a accuracy 0.5000, b accuracy 0.2500)" in str(progress.line())
    progress.ended(ended(4, None, TrialState.PRUNED))
    assert "best 0.4500 (trial 3: " in str(progress.line())


def test_trial_in_training_that_misses_what_it_must_reach_is_not_the_best() -> None:
    progress = Progress(10)
    progress.begun(10, 4, 3, ended(3, 0.45))
    progress.asked(4, Config({}, {}))
    progress.reported(replace(epoch(4, 0), best_shortfalls={"a": 0.1}))
    assert "best 0.4500 (trial 3: " in str(progress.line())


def test_rate_of_slow_epochs_is_not_zero_and_counts_steps(at: Clock) -> None:
    progress = Progress(10)
    progress.begun(10, 0, 5)
    progress.asked(0, Config({}, {}))
    at.now += 100
    with doing("training", total=8):
        advance(2)
        assert "(epoch 1 of 5, 25 %) · 0.0025 trial-epochs/s" in str(progress.line())
        with doing("compiling step 2 of 5"):
            at.now += 7
            assert "(epoch 1 of 5, 25 %, compiling step 2 of 5 (7 s))" in str(progress.line())
    at.now += 93
    progress.reported(epoch(0, 0))
    assert "(epoch 2 of 5) · 0.005 trial-epochs/s" in str(progress.line())


def test_rate_is_that_of_the_last_seconds(at: Clock) -> None:
    progress = Progress(10)
    progress.begun(10, 0, 500)
    for second in range(120):
        at.now += 1
        for _ in range(1 if second < 60 else 3):
            progress.reported(epoch(0, second))
    assert "3.0 trial-epochs/s" in str(progress.line())


def test_time_left_does_not_grow_while_a_search_goes_on_as_before(at: Clock) -> None:
    """Ten trials of six epochs, one a second; the last seven are pruned after two."""
    progress = Progress(10)
    progress.begun(10, 0, 6)
    lefts = []
    for number in range(10):
        progress.asked(number, Config({}, {}))
        for epochs in range(6 if number < 3 else 2):
            for _ in range(4):
                at.now += 0.25
                lefts.append(progress.pace.seconds_left())
            progress.reported(epoch(number, epochs))
        progress.ended(ended(number, 0.4))
    known = [left for left in lefts if left is not None]
    assert lefts[:4] == [None] * 4
    assert 50 < known[0] < 60
    assert all(after <= before for before, after in pairwise(known))
    assert known[-1] < 2


def test_search_with_a_budget_shows_trial_epochs_and_their_time_left(
    at: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """Twelve trials of ten epochs would be 120 trial-epochs, but the budget ends the search after 50."""
    progress = Progress(12)
    progress.begun(12, 2, 10, spent=20, budget=50)
    assert str(progress.line()) == "20/50 trial-epochs · no score yet"
    progress.asked(2, Config({}, {}))
    for number in range(10):
        at.now += 1
        progress.reported(epoch(2, number))
    assert str(progress.line()).startswith(
        "30/50 trial-epochs · 1 training (epoch 11 of 10) · 1.0 trial-epochs/s · 0:20 "
    )
    progress.ended(ended(2, 0.5))
    assert "; 30 of 50 trial-epochs; new best" in capfd.readouterr().err
    progress.begun(12, 0, 10)
    assert str(progress.line()) == "0/12 trials · no score yet"


def test_state_before_a_search_has_begun_is_what_is_being_done(at: Clock) -> None:
    progress = Progress(10)
    assert str(progress.line()) == "starting"
    with doing("reading the data of a, b"):
        at.now += 3
        assert str(progress.line()) == "reading the data of a, b (3 s)"


SLOW = STUDY_FILE.replace("    x = np", "    import time; time.sleep(2.5)\n    x = np")


def test_log_gets_a_line_in_each_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mtlsearch.tuning.progress.SILENCE_SECONDS", 0.5)
    Path("mine.py").write_text(SLOW)
    told = done("run", "mine.py", "--trials", "1", *SOLO).err
    assert re.search(r"^reading the data of a, b \(\d s\)$", told, re.MULTILINE)
    assert "reading" not in done("run", "mine.py", "--trials", "1", "--name", "other", "--quiet", *SOLO).err


def test_silence_that_a_log_may_have_is_less_than_ten_seconds() -> None:
    assert SILENCE_SECONDS + 1 < 10


def test_resumed_search_shows_the_best_of_before_and_counts_on() -> None:
    progress = Progress(10)
    progress.begun(10, 4, 2, ended(3, 0.9))
    progress.ended(ended(4, 0.4))
    line = str(progress.line())
    assert line.startswith("5/10 trials")
    assert "best 0.9000 (trial 3" in line


def test_durations_and_metrics_are_written_for_people() -> None:
    assert [clock(s) for s in (0, 7.4, 59.9, 754, 3723)] == ["0:00", "0:07", "1:00", "12:34", "1:02:03"]
    assert described(VALUES) == "a accuracy 0.5000, b accuracy 0.2500"
    assert [measured(x) for x in (0.93, -1234.5, 0.0, 0.00031271, 0.05, 2e-7)] == [
        "0.9300", "-1234.5000", "0.0000", "0.0003127", "0.05000", "2.000e-07",
    ]  # fmt: skip
    assert [weight_in_words(w) for w in (1, 0.357, 0.05, 0.0162, 0.00162, 0)] == [
        "1.00", "0.36", "0.05", "0.016", "0.0016", "0",
    ]  # fmt: skip


def on_a_terminal(folder: Path, *arguments: str) -> tuple[str, str]:
    """The output of a command on stdout, a pipe, and to stderr, a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name("mtlsearch")
    process = subprocess.Popen(
        [str(program), *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end has closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.decode(), seen.decode()


def test_terminal_gets_a_live_line_and_failures_above_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY_FILE)
    arguments = ("run", "mine.py", "--trials", "12", "--sampler", "random", "--epochs", "20", *SOLO)
    out, err = on_a_terminal(tmp_path, *arguments)
    assert out.startswith("mine: trial ")
    assert "loading PyTorch" in err
    state = (
        r"\d+/12 trials · 1 training \(epoch \d+ of 20[^)]*\) · \d+\.\d trial-epochs/s · \d+:\d\d left · best 0\.\d{4}"
    )
    assert re.search(state, err)
    assert "trial 0 complete" not in err
    assert re.search(r"trial \d+ fail after 1 epochs \(the loss of a, b was not finite", err)

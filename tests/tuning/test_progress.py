"""Progress: one plain line per event in a pipe, a live line on a terminal, and nothing when quiet."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from commands import SOLO, STUDY_FILE
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.study.results import EpochResult
from mtlsearch.study.space import Config
from mtlsearch.tuning.progress import Progress
from mtlsearch.wording import clock, described

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


def test_line_shows_what_is_done_the_best_the_rate_and_the_time_left() -> None:
    progress = Progress(10)
    progress.begun(progress.total, 0, 2)
    assert str(progress.line()) == "0/10 trials · 0 training · 0.0 trial-epochs/s · no best yet"
    progress.asked(0, Config({}, {}))
    progress.asked(1, Config({}, {}))
    for at in range(2):
        progress.reported(epoch(0, at))
    progress.ended(ended(0, 0.4))
    progress.began -= 10
    line = str(progress.line())
    assert line.startswith("1/10 trials · 1 training · 0.2 trial-epochs/s · 1:30 left · best 0.4000 (trial 0: ")
    assert line.endswith("a accuracy 0.5000, b accuracy 0.2500)")


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


def on_a_terminal(folder: Path, *arguments: str) -> tuple[str, str]:
    """What a command writes to stdout, a pipe, and to stderr, a terminal of 120 columns."""
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
    assert re.search(r"\d+/12 trials · 1 training · \d+\.\d trial-epochs/s · \d+:\d\d left · best 0\.\d{4}", err)
    assert "trial 0 complete" not in err
    assert re.search(r"trial \d+ fail after 1 epochs \(the loss of a, b was not finite", err)

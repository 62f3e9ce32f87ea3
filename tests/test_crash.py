"""The promises of a search that is killed, stopped or disturbed, on real `mtlsearch run` processes.

`python tests/crash_harness.py` does the same with 50 kills and prints the count.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import commands
import pytest
from crash_harness import (
    Book,
    Skip,
    clock_set_back,
    deleted_file,
    full_disk,
    killed_round,
    read_only,
    sigint_once,
    sigint_twice,
    sigterm_once,
    write_lock,
)
from optuna.trial import TrialState, create_trial

FAULTS = [
    sigint_once,
    sigterm_once,
    sigint_twice,
    full_disk,
    read_only,
    partial(write_lock, seconds=2.0),  # 30 s in the harness's own command
    clock_set_back,
    deleted_file,
]
BUDGET_S = 40.0  # for kills


def test_killed_runs_lose_nothing_double_nothing_and_go_on_to_the_total(tmp_path: Path) -> None:
    moments, end, kills = random.Random(7), time.monotonic() + BUDGET_S, 0
    while time.monotonic() < end:
        book, done = killed_round(tmp_path / str(kills), 8, 5, moments)
        assert (book.lost, book.doubled) == (0, 0)
        kills += done
        if kills >= 5:
            return
    assert kills, "this machine was too slow to kill anything"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: getattr(f, "func", f).__name__)
def test_disturbed_run_says_why_and_the_same_command_goes_on_to_the_total(
    tmp_path: Path, fault: Callable[[Path, int], Book]
) -> None:
    try:
        book = fault(tmp_path / "store", 5)
    except Skip as reason:
        pytest.skip(str(reason))
    assert (book.lost, book.doubled) == (0, 0)


def test_the_harness_sees_what_is_lost_and_what_is_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [create_trial(state=TrialState.COMPLETE, value=value) for value in (0.5, 0.25)]
    for number, trial in enumerate(trials):
        trial.number = number
    book = Book("postgresql://", 2)
    monkeypatch.setattr(book, "trials", lambda: trials)
    book.look({0: ("complete", "0.5000"), 1: ("complete", "0.2500")})
    assert (book.lost, book.doubled) == (0, 0)
    book.look({0: ("complete", "0.7500")})
    assert book.lost == 1
    changed = create_trial(state=TrialState.COMPLETE, value=0.3, user_attrs={"retry_of": 0})
    changed.number = 1
    trials[1] = changed
    book.look({})
    assert book.lost == 2
    assert book.doubled == 2  # a retry of a trial that counts, and one origin counted twice


INTERRUPTING = """
import os, signal, time
from pathlib import Path
import numpy as np
from mtlsearch import Classification, Data, SharedTrunk, Study


def source(directory):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)


study = Study(
    tasks=[Classification("a", source), Classification("b", source)],
    model=lambda config: SharedTrunk(4, {"a": 2, "b": 2}),
    space={},
    default={"learning_rate": 1e-2},
)
"""


@pytest.mark.parametrize(
    ("command", "text", "during"),
    [
        ("run", INTERRUPTING, "reading the data of a, b"),
        ("compare", INTERRUPTING, "reading the data of a, b"),
        ("run", f"{INTERRUPTING}\nsource('.')\n", "reading the study file mine.py"),
    ],
)
def test_first_interrupt_while_data_are_read_stops_at_once_in_one_line(
    command: str, text: str, during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(text)
    begun = time.monotonic()
    outcome = commands.command(command, "mine.py", "--trials", "3", "--threads", "1")
    assert time.monotonic() - begun < 10
    assert outcome.status == 130
    *_, last = outcome.err.splitlines()
    assert last == f"mtlsearch: interrupted while {during}: nothing was in training, the same command goes on"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == []


def test_first_interrupt_ends_with_its_status_also_through_c_code_that_runs_python(tmp_path: Path) -> None:
    (tmp_path / "reads.py").write_text(
        "import ctypes; from mtlsearch.activity import stoppable\n"
        "from mtlsearch.cli.interrupt import interruptible\n"
        "run = ctypes.pythonapi.PyRun_String; run.restype = ctypes.py_object\n"
        "def work(progress, stop):\n"
        "    with stoppable():\n"
        "        run(b'import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)', 257,\n"
        "            *[ctypes.py_object({})] * 2)\n"
        "interruptible(work, 1, True)"
    )
    command = [sys.executable, "-m", "reads"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "mtlsearch: interrupted: nothing was in training, the same command goes on\n"
    assert done.returncode == 130


def test_first_interrupt_ends_a_process_that_reads_in_c_code() -> None:
    code = (
        "import hashlib; from mtlsearch.activity import doing, stoppable\n"
        "from mtlsearch.cli.interrupt import interruptible\n"
        "def work(progress, stop):\n"
        "    with stoppable(), doing('hashing the data of a'):\n"
        "        print('ready', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
        "interruptible(work, 1, True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    told = "mtlsearch: interrupted while hashing the data of a: nothing was in training, the same command goes on"
    assert err.splitlines() == [told]


def test_second_interrupt_ends_a_process_that_is_in_c_code(tmp_path: Path) -> None:
    code = (
        "import sqlite3, sys; from threading import Event; from mtlsearch.cli.interrupt import watched_signals\n"
        "holder = sqlite3.connect(sys.argv[1]); holder.execute('BEGIN EXCLUSIVE')\n"
        "with watched_signals(Event()):\n"
        "    print('ready', flush=True); sqlite3.connect(sys.argv[1], timeout=60).execute('BEGIN IMMEDIATE')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(5) == 130
    process.stdout.close()

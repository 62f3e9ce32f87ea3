"""The command line, as a test calls it: in this process, with its exit status, stdout and stderr."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from click.testing import CliRunner
from optuna.trial import FrozenTrial, TrialState

from mtlsearch.cli.main import main

# A search that costs seconds, one trial at a time, and no trainings after it.
SOLO = ("--threads", "1", "--population", "1", "--no-confirm")
SHORT = ("--trials", "3", "--epochs", "2", *SOLO)

# A user's study file of two tasks that costs milliseconds; some of its models give NaN.
STUDY_FILE = """
import numpy as np
import torch
from mtlsearch import Classification, Data, SharedTrunk, Study, choice, real


def source(directory):
    x = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    labels = {"a": (x[:, 0] > 0).astype(np.int64), "b": (x[:, 1] > 0).astype(np.int64)}
    return Data((x, labels), (x, labels), validation=64)


def model(config):
    net = SharedTrunk(4, {"a": 2, "b": 2}, hidden=8)
    if config["kind"] == "broken":
        torch.nn.init.constant_(next(net.parameters()), float("nan"))
    return net


study = Study(
    tasks=[Classification("a", source), Classification("b", source)],
    model=model,
    space={"kind": choice("fine", "broken"), "learning_rate": real(1e-4, 1e-1, log=True)},
    default={"kind": "fine", "learning_rate": 1e-2},
    epochs=2,
    batch_size=64,
)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(*arguments: object) -> Outcome:
    """Call `mtlsearch` with `arguments`; an exception that would end it with a traceback is raised here."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def done(*arguments: object) -> Outcome:
    """Call a command that must succeed."""
    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    return outcome


def refused(*arguments: object, status: int = 1) -> str:
    """Call a command that must be refused in one line; the line, without `mtlsearch: `."""
    outcome = command(*arguments)
    lines = outcome.err.splitlines()
    assert (outcome.status, outcome.out, len(lines)) == (status, "", 1), outcome
    assert lines[0].startswith("mtlsearch: ")
    return lines[0].removeprefix("mtlsearch: ")


def misused(*arguments: object) -> str:
    """Call a command that click must refuse as wrong usage, in one line that names its help; the line."""
    line = refused(*arguments, status=2)
    assert "; see `mtlsearch" in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, folders too, but not SQLite's own files beside a database."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(("-wal", "-shm"))
    }


def stored(store: Path, name: str = "digits") -> list[FrozenTrial]:
    """The trials of a study in a SQLite file, read by plain Optuna."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{store}")
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that have an outcome of their own."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [t for t in trials if t.state in ended and not t.user_attrs.get("interrupted")]

"""Several drivers on one PostgreSQL study, as docs/slurm.sh starts them: one for each task of a job array."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
from optuna.trial import TrialState
from postgres_server import PostgresServer
from worker_runs import TWO_FILE

SCRIPT = Path(__file__).parents[3] / "docs" / "slurm.sh"
TRIALS = 12


def job(folder: Path, task: int, url: str | None) -> "subprocess.Popen[str]":
    """A task of the array, with `mtlsearch` on its path."""
    command = folder / "bin" / "mtlsearch"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -m mtlsearch "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": str(task),
        "MTLSEARCH_ARTIFACTS": str(folder / "artifacts"),
        **({} if url is None else {"MTLSEARCH_STORAGE": url}),
    }
    options = f"--trials {TRIALS} --epochs 3 --population 2 --threads 1 --no-confirm".split()
    return subprocess.Popen(
        ["bash", str(SCRIPT), str(folder / "mine.py"), *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_tasks_of_a_job_array_share_a_study(server: PostgresServer, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TWO_FILE)
    jobs = [job(tmp_path, task, server.url()) for task in range(2)]
    told = [each.communicate(timeout=300)[1] for each in jobs]
    assert [each.returncode for each in jobs] == [0, 0], told
    storage = optuna.storages.RDBStorage(server.url())
    try:
        trials = optuna.load_study(study_name="mine", storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert {trial.user_attrs["owner"]["pid"] for trial in trials} <= {each.pid for each in jobs}


def test_job_array_without_a_store_that_all_reach_says_so(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MTLSEARCH_STORAGE"}
    ended = subprocess.run(["bash", SCRIPT, "mine.py"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "MTLSEARCH_STORAGE: it must be a PostgreSQL URL" in ended.stderr

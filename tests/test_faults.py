"""Faults at every fortieth step of each command, and simulated runs at once, as CI can afford them.

`python tests/fault_harness.py --all` and `python tests/simulation.py --schedules 10000` take them all.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import simulation
from fault_harness import COMMANDS, PROBLEMS, enumerate_faults
from fault_layers import PythonLayer, built_shim
from optuna.trial import FrozenTrial

from mtlsearch.store.database.buffered import BufferedStorage
from mtlsearch.tuning.choices import make_sampler

HARNESS = Path(__file__).with_name("fault_harness.py")
SIMULATED_S = 6.0


def harness(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HARNESS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Half a minute: the enumeration is the test. The first k moves with the day, so that in the end CI takes every k.
@pytest.mark.slow
def test_every_fortieth_step_of_every_command_may_fail_tear_or_kill() -> None:
    first = str(int(time.time() // 86_400) % 40)
    said = harness("--every", "40", "--first", first, "--budget", "25")
    last = said.splitlines()[-1]
    assert last.startswith("faults: "), said
    assert all(f"{kind}: 0" in last for kind in PROBLEMS), said
    assert all(re.search(rf"^{name}, \w+: [1-9]", said, re.M) for name in COMMANDS), said


@pytest.mark.slow
def test_the_layer_in_python_injects_without_a_compiler() -> None:
    found = enumerate_faults(PythonLayer(), ["run"], ["fail", "kill"], every=30, budget_s=4)
    assert found.cases
    assert not found.problems
    assert {"killed", "told in a line"} & {*found.endings}


SHIMMED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fault_layers import Shim
shim, folder = Shim(Path({library!r})), Path({folder!r})
mode, k = sys.argv[1], int(sys.argv[2])
shim.arm(folder, k, mode)
for name in "ab":
    try:
        (folder / name).write_bytes(b"12345678")
    except OSError as error:
        print(name, os.strerror(error.errno))
print(shim.seen())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, built once."""
    library = built_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("there is no C compiler")
    return library


@pytest.mark.parametrize(
    ("mode", "k", "said", "left"),
    [
        ("count", 0, ["4"], {"a": 8, "b": 8}),
        ("fail", 1, ["a Input/output error", "4"], {"a": 0, "b": 8}),
        ("full", 1, ["a No space left on device", "b No space left on device", "3"], {"a": 0}),
        ("tear", 3, [], {"a": 8, "b": 4}),
        ("kill", 2, [], {"a": 8}),
    ],
)
def test_the_shim_does_to_the_kth_operation_what_it_is_told(
    tmp_path: Path, library: Path, mode: str, k: int, said: list[str], left: dict[str, int]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    code = SHIMMED.format(tests=str(HARNESS.parent), library=str(library), folder=str(folder))
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    command = [sys.executable, "-c", code, mode, str(k)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.stdout.splitlines() == said, done.stderr
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == left
    assert (done.returncode < 0) == (mode in ("tear", "kill"))


def test_every_command_that_writes_a_store_or_files_of_an_answer_is_enumerated() -> None:
    assert set(COMMANDS) == {"run", "confirm", "compare", "export", "report"}


def test_simulated_runs_at_once_lose_double_and_repeat_nothing() -> None:
    end = time.monotonic() + SIMULATED_S
    found = simulation.simulate(0, 40, stop=lambda: time.monotonic() > end)
    assert found["schedules"] >= 1
    assert found.total() == found["schedules"], found


def test_the_simulation_sees_configs_that_are_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "seeded_asks", make_sampler)
    with tempfile.TemporaryDirectory() as folder:
        made = simulation.make_template(Path(folder))
        with pytest.raises(simulation.Wrong, match="a config was trained twice"):
            any(simulation.schedule(seed, *made) for seed in range(12))


def test_the_simulation_sees_repeats_that_are_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs look for what is left, and begin it without the transaction that looks again."""
    create = BufferedStorage.create_unless

    def unlocked(storage: BufferedStorage, study_id: int, template: FrozenTrial, taken: object) -> int | None:
        return create(storage, study_id, template, lambda trials: False)

    monkeypatch.setattr(BufferedStorage, "create_unless", unlocked)
    with tempfile.TemporaryDirectory() as folder:
        made = simulation.make_template(Path(folder))
        with pytest.raises(simulation.Wrong, match=r"repeats count|a repeat was trained twice"):
            any(simulation.schedule(seed, *made) for seed in range(2, 38, 3))

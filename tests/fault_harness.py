"""Faults at every step: the k-th operation of a command fails, tears or kills, for every k; what was lost is counted.

    python tests/fault_harness.py --all                      # every k of every command: hours
    python tests/fault_harness.py --every 20                 # every twentieth k
    python tests/fault_harness.py --commands run --faults kill --every 5 --layer python

A case copies a prepared folder, runs one command in it with one fault, and then the same command again without. It
holds the store against what it held before and against each trial that was announced, and the files against the old
and the new ones. The last lines count. The status is 1 if anything was lost, doubled, repeated, half written or thrown.

Every case is a fork of one process that has imported everything. Use --jobs for more than one core.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from commands import STUDY_FILE
from crash_harness import Book, announced_in, check_integrity, counts
from fault_layers import FAULTS, PythonLayer, Shim, built_shim
from optuna.trial import TrialState
from warm import warm

Layer = Shim | PythonLayer
URL = "sqlite:///store.db"
COMMON = "--threads 1 --population 1 --quiet"
SEARCH = f"run digits.py {COMMON} --set kind=fine --no-confirm --storage {URL}"
TRIALS, HANGS_S, PRELOADED = 3, 120.0, "MTLSEARCH_FAULT_SHIM"


@dataclass(frozen=True)
class Scenario:
    """A command, the command that prepares its folder, and what must hold after it has ended well."""

    arguments: str
    check: Callable[[Path], None]
    prepared: str | None = f"{SEARCH} --trials {TRIALS}"


@dataclass
class Counts:
    """The outcomes of the cases so far."""

    cases: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        for name, number in sorted(self.cases.items()):
            yield f"{name}: {number} faults"
        endings = ", ".join(f"{name} {number}" for name, number in sorted(self.endings.items()))
        yield f"endings: {endings}"
        kinds = Counter(problem.split(":")[1].strip() for problem in self.problems)
        named = ", ".join(f"{kind}: {kinds[kind]}" for kind in PROBLEMS)
        yield f"faults: {sum(self.cases.values())}, {named}"


PROBLEMS = ("lost", "doubled", "repeated", "half written", "traceback", "hang", "other")


class Problem(AssertionError):
    """What went wrong in a case: its kind, and the words for it."""

    def __init__(self, kind: str, told: str) -> None:
        super().__init__(told)
        self.kind = kind


# What must hold.


def study_trials(folder: Path, name: str = "digits") -> list[Any]:
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/store.db")
    try:
        names = [study.study_name for study in storage.get_all_studies()]
        return optuna.load_study(study_name=name, storage=storage).trials if name in names else []
    finally:
        storage.remove_session()
        storage.engine.dispose()


def require(holds: object, kind: str, told: str) -> None:
    if not holds:
        raise Problem(kind, told)


def check_search(folder: Path, name: str = "digits", total: int = TRIALS) -> None:
    """Exactly the total counts, nothing runs or waits, no config twice, and the best's parameters are there."""
    trials = study_trials(folder, name)
    counted = [trial for trial in trials if counts(trial)]
    require(len(counted) >= total, "lost", f"{len(counted)} of {total} trials")
    require(len(counted) <= total, "doubled", f"{len(counted)} of {total} trials")
    open_ones = [t.number for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    require(not open_ones, "lost", f"trials {open_ones} of {name} run or wait")
    configs = [json.dumps(trial.params, sort_keys=True) for trial in counted]
    require(len(set(configs)) == len(configs), "repeated", f"a config of {name} was trained twice")
    check_left(folder)
    best = max(counted, key=lambda trial: (trial.value, -trial.number))
    artifacts = [json.loads(v) for k, v in best.system_attrs.items() if k.startswith("artifacts:")]
    whole = any(is_model(folder / "store.artifacts" / meta["artifact_id"]) for meta in artifacts)
    require(whole, "lost", f"the parameters of the best trial of {name}")


def check_left(folder: Path) -> None:
    """Nothing that an earlier, dead process left is there still."""
    left = [path.name for path in folder.iterdir() if path.name.startswith("store.db-")]
    left += [path.name for path in (folder / "store.artifacts").glob("tmp*")]
    require(not left, "other", f"{left} were left")


def check_confirmed(folder: Path, name: str = "digits/confirmation") -> None:
    """Each training ended once and was scored on test once, and there is a conclusion."""
    trials = [trial for trial in study_trials(folder, name) if counts(trial)]
    keys = [json.dumps([t.params, t.user_attrs["seed"], t.user_attrs["task_weights"]], sort_keys=True) for t in trials]
    require(keys, "lost", "no training of the confirmation")
    require(len(set(keys)) == len(keys), "doubled", "a training of the confirmation was made twice")
    require(all("test" in trial.user_attrs for trial in trials), "lost", "a test score")
    check_left(folder)


def check_compared(folder: Path) -> None:
    for method in ("equal", "uncertainty"):
        trials = study_trials(folder, f"digits/compare/{method}")
        counted = sum(map(counts, trials))
        require(counted == 2, "lost" if counted < 2 else "doubled", f"{counted} of 2 trials of {method}")
    check_left(folder)


def is_model(path: Path) -> bool:
    import safetensors

    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            return "mtlsearch" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False


def check_exported(folder: Path) -> None:
    """Both files are whole and of one export."""
    require(is_model(folder / "best.safetensors"), "half written", "best.safetensors")
    import safetensors

    with safetensors.safe_open(str(folder / "best.safetensors"), framework="pt") as file:
        inside = json.loads(file.metadata()["mtlsearch"])
    require(inside == json.loads((folder / "best.json").read_text()), "half written", "the pair is torn")


def check_reported(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    require(text.rstrip().endswith("</html>"), "half written", "report.html")


COMMANDS = {
    "run": Scenario(f"{SEARCH} --epochs 2 --trials {TRIALS}", check_search, None),
    "confirm": Scenario(
        f"confirm digits.py --threads 1 --quiet --top 1 --seeds 2 --no-single --storage {URL}", check_confirmed
    ),
    "compare": Scenario(
        f"compare digits.py {COMMON} --methods equal,uncertainty --trials 2 --seeds 2 --storage {URL}", check_compared
    ),
    "export": Scenario(f"export -o best.json --checkpoint best.safetensors --storage {URL}", check_exported),
    "report": Scenario(f"report -o report.html --storage {URL}", check_reported),
}


# One command in a process of its own.


def fork(folder: Path, arguments: str, log: Path, layer: Layer | None, k: int, mode: str) -> int:
    """Start the command in `folder` as a fork of this process; its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(folder)
        from mtlsearch.cli.main import main

        if layer is not None:
            layer.arm(folder, k, mode)
        main(arguments.split(), prog_name="mtlsearch")
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        if layer is not None and mode == "count":
            log.with_suffix(".seen").write_text(json.dumps([layer.seen(), list(sys.modules)]))
        os._exit(status)


def run(folder: Path, arguments: str, log: Path, layer: Layer | None = None, k: int = -1, mode: str = "count") -> int:
    """The exit status of the command, negative for a signal. Raises Problem for a hang."""
    process, end = fork(folder, arguments, log, layer, k, mode), time.monotonic() + HANGS_S
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise Problem("hang", log.read_text()[-2000:])
        time.sleep(0.01)


def told_well(log: Path, status: int) -> None:
    """Raise Problem for a traceback, and where a failure is not told in one line."""
    said = log.read_text()
    require("Traceback (most recent" not in said and status in (0, 1, -signal.SIGKILL), "traceback", said[-3000:])
    if status == 1:
        lines = said.splitlines() or [""]
        require(lines[-1].startswith("mtlsearch: "), "other", f"nothing was told: {said[-1000:]}")
        require(len(lines[-1]) <= 500, "other", f"a line of {len(lines[-1])} characters: {lines[-1]}")


def prepared(root: Path, command: str | None) -> Path:
    """The folder in which scenarios begin that need the same command before them; made once."""
    folder = root / ("begun" if command is None else "searched")
    if not folder.exists():
        folder.mkdir()
        (folder / "digits.py").write_text(STUDY_FILE)
        log = folder.with_suffix(".log")
        require(command is None or run(folder, command, log) == 0, "other", log.read_text() if log.exists() else "")
    return folder


def case(scenario: Scenario, template: Path, folder: Path, layer: Layer, k: int, mode: str) -> str:
    """One fault, and the same command again; how the command with the fault ended. Raises Problem."""
    shutil.copytree(template, folder)
    log, again = folder.with_suffix(".log"), folder.with_suffix(".again")
    book = Book(f"sqlite:///{folder}/store.db", TRIALS)
    if (folder / "store.db").exists():
        book.look({})
    # Announced trials are on stderr, which --quiet would leave out.
    status = run(folder, scenario.arguments.replace(" --quiet", ""), log, layer, k, mode)
    told_well(log, status)
    if scenario.arguments.startswith("run"):
        book.look(announced_in(log.read_text()))
        require((book.lost, book.doubled) == (0, 0), "lost" if book.lost else "doubled", log.read_text())
    elif scenario.prepared is not None:
        book.look({})
        require(not book.lost, "lost", "a trial of the search changed")
    if (folder / "best.safetensors").exists() and (folder / "best.json").exists():
        check_exported(folder)
    if (folder / "report.html").exists():
        check_reported(folder)
    check_integrity(folder / "store.db")
    ended = run(folder, scenario.arguments, again)
    told_well(again, ended)
    require(ended == 0, "other", f"the same command does not go on: {again.read_text()[-2000:]}")
    scenario.check(folder)
    return {0: "went on", 1: "told in a line"}.get(status, "killed")


def operations(scenario: Scenario, template: Path, folder: Path, layer: Layer) -> int:
    """How many operations the command makes without a fault."""
    shutil.copytree(template, folder)
    log = folder.with_suffix(".log")
    status = run(folder, scenario.arguments.replace(" --quiet", ""), log, layer)
    require(status == 0, "other", log.read_text())
    seen, modules = json.loads(log.with_suffix(".seen").read_text())
    for module in modules:  # what the command imported on its way, so that the next forks need not
        if module.startswith(("torch.", "mtlsearch.", "optuna.", "sqlalchemy.", "plotly", "pandas")):
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    return int(seen)


def enumerate_faults(
    layer: Layer,
    names: list[str],
    faults: list[str],
    every: int,
    budget_s: float = float("inf"),
    jobs: int = 1,
    first: int = 0,
) -> Counts:
    """Every `every`-th k of each command with each fault, until the budget is spent; the counts.

    The commands take turns, and the steps of each come in an order that `first` draws. The first turn comes whatever
    the budget: it cuts off no command.
    """
    found = Counts()
    root = Path(tempfile.mkdtemp(prefix="mtlsearch-faults-"))
    turns: list[list[tuple[str, int, str]]] = []
    try:
        for name in names:
            scenario = COMMANDS[name]
            total = operations(scenario, prepared(root, scenario.prepared), root / f"{name}-count", layer)
            turns.append([(name, k, mode) for k in range(first % every, total, every) for mode in faults])
            random.Random(first).shuffle(turns[-1])
            print(f"{name}: {total} operations, {len(turns[-1])} faults", flush=True)
        end = time.monotonic() + budget_s

        def one(numbered: tuple[int, tuple[str, int, str]]) -> None:
            number, (name, k, mode) = numbered
            if number >= len(names) and time.monotonic() > end:
                return
            scenario, folder = COMMANDS[name], root / f"{name}-{mode}-{k}"
            try:
                found.endings[case(scenario, prepared(root, scenario.prepared), folder, layer, k, mode)] += 1
            except (Problem, AssertionError) as problem:
                kind = problem.kind if isinstance(problem, Problem) else "other"
                found.problems.append(f"{name} {mode} {k}: {kind}: {problem}")
                print(found.problems[-1], flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            found.cases[f"{name}, {mode}"] += 1

        in_turn = [which for turn in zip_longest(*turns) for which in turn if which is not None]
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, enumerate(in_turn)))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return found


def preloaded(arguments: list[str], folder: Path) -> int | None:
    """Run this program again under the shim; its status, None where there is no compiler."""
    library = built_shim(folder)
    if library is None:
        return None
    environment = {**os.environ, "LD_PRELOAD": str(library), PRELOADED: str(library), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, __file__, *arguments], env=environment, check=False).returncode


def main() -> int:
    """Inject as the command line says, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every k")
    parser.add_argument("--every", type=int, default=20, help="every how many-th k")
    parser.add_argument("--first", type=int, default=0, help="the first k; another one takes other steps")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--layer", choices=("shim", "python"), default="shim", help="python needs no C compiler")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no case begins")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    layer: Layer = PythonLayer()
    if options.layer == "shim" and PRELOADED not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            status = preloaded(sys.argv[1:], Path(folder))
        if status is not None:
            return status
        print("SKIPPED the shim: there is no C compiler; the layer in Python is used", flush=True)
    elif options.layer == "shim":
        layer = Shim(Path(os.environ.pop(PRELOADED)))
        del os.environ["LD_PRELOAD"]  # this process has it; what it starts does not need it
    warm()
    every = 1 if options.all else options.every
    found = enumerate_faults(
        layer, options.commands, options.faults, every, options.budget, options.jobs, options.first
    )
    for line in found.lines():
        print(line)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())

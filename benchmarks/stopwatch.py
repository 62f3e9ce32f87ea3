"""Where the time of a search goes: each part's own seconds, taken while a search runs in this process."""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import torch
from common import rounded, synchronize, table

from mtlsearch.store.record import Record
from mtlsearch.training.population import population
from mtlsearch.training.population.lane import Lane
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Captured, Compiled
from mtlsearch.training.solo import SoloMember
from mtlsearch.tuning import studies
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import run_search

# Every timed part of a search: (owner, function to patch, part).
PARTS: tuple[tuple[Any, str, str], ...] = (
    (studies, "load_data", "data: read, check, divide"),
    (Record, "ask", "ask: sampler and store"),
    (Record, "should_prune", "pruner"),
    (Record, "enter", "store"),
    (Record, "report", "store"),
    (Record, "note", "store"),
    (Record, "tell", "store"),
    (PopulationTrainer, "add", "members: build and seat"),
    (Lane, "train_epoch", "training"),
    (SoloMember, "train_epoch", "training"),
    (Lane, "results", "evaluation"),
    (population, "evaluate_lanes", "evaluation"),
    (SoloMember, "evaluate", "evaluation"),
)
COMPILING, REST = "compiling: each program's first step", "all else"


class Stopwatch:
    """Each part's own seconds: while one part runs inside another, only the inner clock runs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.stack = [REST]
        self.since = time.perf_counter()

    def turn(self) -> None:
        """Add the time since the last turn to the part that is running."""
        synchronize(self.device)
        now = time.perf_counter()
        self.spent[self.stack[-1]] += now - self.since
        self.since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.turn()
        self.stack.append(name)
        self.calls[name] += 1
        try:
            yield
        finally:
            self.turn()
            self.stack.pop()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*args, **options)

        return run

    def first_timed(self, of: Callable[..., Any]) -> Callable[..., Any]:
        """Time the first call of every step that `of` makes, which compiles or captures it."""
        met: set[Callable[..., None]] = set()

        @wraps(of)
        def make(*args: Any) -> Callable[..., None]:
            step: Callable[..., None] = of(*args)

            def run(*state: Any) -> None:
                if step in met:
                    step(*state)
                    return
                met.add(step)
                with self.part(COMPILING):
                    step(*state)

            return run

        return make


def profile(options: argparse.Namespace, study: str, folder: Path, store: Path) -> Stopwatch:
    """Where the time of a search of fewer trials goes."""
    watch = Stopwatch(torch.device(options.device))
    run_options = RunOptions(
        study=study,
        trials=options.profile_trials,
        storage=f"sqlite:///{store}",
        data=folder,
        device=options.device,
        threads=options.threads,
        precision=options.precision,
        confirm=False,
    )
    with ExitStack() as patches:
        for owner, name, part in PARTS:
            patches.enter_context(patch.object(owner, name, watch.timed(getattr(owner, name), part)))
        outer = Captured if watch.device.type == "cuda" else Compiled
        patches.enter_context(patch.object(outer, "of", watch.first_timed(outer.of)))
        watch.since = time.perf_counter()
        run_search(run_options, Progress(options.profile_trials, quiet=True), Event())
        watch.turn()
    return watch


def start_seconds() -> float:
    """Seconds of Python's start and the imports of a run, in a process of their own."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mtlsearch.tuning.run"], check=True)
    return time.perf_counter() - begun


def profile_table(watch: Stopwatch, start: float, trials: int) -> str:
    """Each part's own time, the longest first."""
    spent = {"Python's start and imports (a process of its own)": start, **watch.spent}
    total = sum(spent.values())
    rows = [
        [part, rounded(took), f"{100 * took / total:.0f} %", watch.calls.get(part, "–")]
        for part, took in sorted(spent.items(), key=lambda item: -item[1])
    ]
    return f"Where the time of {trials} trials goes:\n\n" + table(["part", "s", "share", "calls"], rows)

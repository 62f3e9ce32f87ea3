"""The search from Python, in a script or a notebook: `search` gives a `Result`, which reads from the store."""

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import nn

from mtlsearch.errors import UsageError
from mtlsearch.evidence.answer import best_answer
from mtlsearch.files import data_directory
from mtlsearch.report.terminal_table import show_config
from mtlsearch.store.artifacts import artifacts_folder
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.model_file import read_model, restore
from mtlsearch.store.record import DEFAULT_STORAGE, best_artifact, find_record
from mtlsearch.store.trials import trials_frame
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study
from mtlsearch.tuning.confirm import Confirming
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import RunOptions, recorded_name, run_search

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Result:
    """What a search has found; `storage` and `name` say where it is kept. Printed, it is the best config's table."""

    study: Study = field(repr=False)
    storage: str
    name: str
    artifacts: Path
    best: Mapping[str, Any] = field(repr=False)

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """What the confirmation says of the task weights: its `kind`, numbers and `lines`; None without one."""
        found: Mapping[str, Any] | None = self.best.get("verdict")
        return found

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """Every trial, a row each: number, state, score, params, task weights, metrics, times."""
        with open_storage(self.storage, create=False) as storage:
            return trials_frame(find_record(storage, self.name, self.artifacts))

    @cached_property
    def front(self) -> "pd.DataFrame":
        """The complete trials that no other beats on every task: what can be had by trading tasks off."""
        frame = self.frame[self.frame["state"] == "complete"]
        oriented = [
            frame[f"validation.{task}.{about['metric']}"] * (1 if about["higher_is_better"] else -1)
            for task, about in self.best["tasks"].items()
        ]
        rows = list(zip(*oriented, strict=True))
        return frame[[not any(_dominates(other, row) for other in rows) for row in rows]]

    def model(self) -> nn.Module:
        """The best model as it was trained, in evaluation mode on the CPU: {task: input} -> {task: output}."""
        with open_storage(self.storage, create=False) as storage:
            _, holder, trial = best_answer(find_record(storage, self.name, self.artifacts))
            path = best_artifact(holder, trial)
        state, config = read_model(path)
        return restore(self.study, config, state, str(path))

    def plots(self) -> "dict[str, go.Figure]":
        """The report's figures by name: task trade-off, learning curves, best so far, hyperparameters."""
        import plotly.graph_objects as go

        from mtlsearch.report.figures import plots
        from mtlsearch.report.reading import read_report

        with open_storage(self.storage, create=False) as storage:
            report = read_report(find_record(storage, self.name, self.artifacts))
        return {plot.name: go.Figure(plot.picture()) for plot in plots(report)}

    def __str__(self) -> str:
        text = io.StringIO()
        # Plain in a notebook too, where rich would draw each line by itself, in colours, and leave nothing here.
        plain = Console(file=text, width=110, highlight=False, force_jupyter=False, force_terminal=False)
        show_config(self.best, plain)
        return text.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def search(
    study: Study | str | Path,
    *,
    trials: int = 100,
    storage: str = DEFAULT_STORAGE,
    name: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    seed: int | None = None,
    sampler: str = "tpe",
    pruner: str = RunOptions.pruner,
    score: str | None = None,
    epochs: int | None = None,
    timeout: float | None = None,
    population: int | None = None,
    threads: int | None = None,
    precision: str = "fp32",
    fixed: Mapping[str, object] | None = None,
    artifacts: str | Path | None = None,
    confirm: bool = True,
    seeds: int = 5,
    top: int = 2,
    quiet: bool = False,
) -> Result:
    """Search `study` until it has `trials` trials, and confirm its best configs: `mtlsearch run` as a function.

    `study` is a `Study`, a shipped name or the path of a study file; one that is defined in Python needs a
    `name`. The same call goes on where an earlier one stopped. `fixed` holds dimensions of the space at a value.
    Raises MtlsearchError, with the line that the command would print.
    """
    if isinstance(study, Path):
        study = str(study)
    if trials < 1:
        raise UsageError(f"a search needs 1 trial or more, but got {trials}")
    options = RunOptions(
        study=study,
        trials=trials,
        storage=storage,
        name=name,
        data=data_directory(None if data is None else Path(data)),
        device=device,
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        score=score,
        epochs=epochs,
        timeout=timeout,
        population=population,
        threads=threads,
        precision=precision,
        settings=tuple((dimension, str(value)) for dimension, value in (fixed or {}).items()),
        artifacts=None if artifacts is None else Path(artifacts),
        confirming=Confirming(seeds, top) if confirm else None,
    )
    definition = study if isinstance(study, Study) else load_study(study)
    named = recorded_name(options, definition)
    with Progress(trials, quiet=quiet) as progress:
        best = run_search(options, progress, Event())
    return Result(definition, storage, named, artifacts_folder(storage, options.artifacts), best)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` is as good everywhere and better somewhere."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))

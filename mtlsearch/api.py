"""The search from Python, in a script or a notebook: `search` gives a `Result`, which reads from the store."""

import html
import inspect
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, ParamSpec

from optuna.trial import TrialState
from rich.console import Console

from mtlsearch.errors import UsageError
from mtlsearch.evidence.answer import best_answer
from mtlsearch.evidence.questions.asking import Question, asked_answer, front_of, metrics_of, question
from mtlsearch.inference.plain.folder import write_folder
from mtlsearch.inference.trained import TrainedModel
from mtlsearch.report.terminal_table import show_config
from mtlsearch.store.artifacts import artifacts_folder
from mtlsearch.store.config_file import config_of
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.model_file import read_model, trained
from mtlsearch.store.trials import trials_frame
from mtlsearch.study.study import Study
from mtlsearch.study.study_file import load_study
from mtlsearch.tuning.options.reading import MODEL_FORMATS
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.progress import Progress
from mtlsearch.tuning.run import run_search
from mtlsearch.tuning.studies import recorded_name

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Result:
    """The result of a search, kept in `storage` under `name`. Printed, it is the table of the best config."""

    study: Study = field(repr=False)
    storage: str
    name: str
    artifacts: Path
    best: Mapping[str, Any] = field(repr=False)

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """The confirmation's verdict on the task weights: its `kind`, numbers and `lines`; None without one."""
        found: Mapping[str, Any] | None = self.best.get("verdict")
        return found

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """Every trial, a row each: number, state, score, params, task weights, metrics, times."""
        with open_storage(self.storage, create=False) as storage:
            return trials_frame(find_record(storage, self.name, self.artifacts).trials())

    @cached_property
    def front(self) -> "pd.DataFrame":
        """The complete trials that no other beats on every task: the possible trade-offs between tasks."""
        frame = self.frame[self.frame["state"] == "complete"]
        with open_storage(self.storage, create=False) as storage:
            record = find_record(storage, self.name, self.artifacts)
            metrics = metrics_of(record.info)
            found = front_of(record.trials(TrialState.COMPLETE), metrics, metrics)
        return frame[frame["number"].isin([trial.number for trial in found])]

    def choose(
        self,
        *,
        at_least: Mapping[str, float] | None = None,
        maximize: str | None = None,
        prefer: Mapping[str, float] | str | None = None,
        knee: bool = False,
        trial: int | None = None,
    ) -> Mapping[str, Any]:
        """The config of the trial that answers a question, without training, as `mtlsearch best` asks it.

        `at_least` holds metrics that the trial must reach, by task. Of those that do, it is the one that is best in the
        task `maximize`, nearest to the best of all tasks by their weights in `prefer`, or the `knee` of the front; else
        the one of the best score. The sentences that say why are in `["question"]["lines"]`. Raises UsageError, and
        StoreError where no trial meets the requirements.
        """
        with open_storage(self.storage, create=False) as storage:
            record = find_record(storage, self.name, self.artifacts)
            asked = question(
                list(metrics_of(record.info)),
                at_least=at_least,
                maximize=maximize,
                prefer=prefer,
                knee=knee,
                trial=trial,
            )
            return asked_answer(record, asked or Question())[0]

    def model(self) -> TrainedModel:
        """The best model in evaluation mode on the CPU: {task: input} -> {task: output in the label's unit}."""
        with open_storage(self.storage, create=False) as storage:
            _, holder, trial = best_answer(find_record(storage, self.name, self.artifacts))
            path = holder.parameters(trial)
        state, config = read_model(path)
        return trained(self.study, config, state, str(path))

    def export(self, folder: str | Path, format: str | None = None) -> list[str]:
        """Write the best model for use without mtlsearch, as `mtlsearch export --model` does; the files' names.

        `format` is None, "torch-export" or "onnx". Raises MtlsearchError.
        """
        if format is not None and format not in MODEL_FORMATS:
            raise UsageError(f"format must be {' or '.join(MODEL_FORMATS)}, but got {format!r}")
        model = self.model()
        own = self.study.own(config_of(model.config, self.study), seed=0)
        return write_folder(model, own, Path(folder), format)

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


P = ParamSpec("P")


def _taking(
    options: Callable[P, RunOptions],
) -> Callable[[Callable[[RunOptions], Result]], Callable[P, Result]]:
    """Let a function of options take the arguments that make them, with their types and defaults."""

    def decorate(function: Callable[[RunOptions], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*given: P.args, **named: P.kwargs) -> Result:
            return function(options(*given, **named))

        call.__signature__ = inspect.signature(options).replace(return_annotation=Result)  # type: ignore[attr-defined]
        return call

    return decorate


@_taking(RunOptions)
def search(options: RunOptions) -> Result:
    """Search `study` until it has `trials` trials, and confirm its best configs: `mtlsearch run` as a function.

    `study` is a `Study`, a shipped name or the path of a study file; one that is defined in Python needs a
    `name`. The same call goes on where an earlier one stopped. `fixed` holds dimensions of the space at a value.
    The other arguments are the options of `mtlsearch run`. Raises MtlsearchError, with the line that the command
    would print.
    """
    if options.study is None:
        raise UsageError("search needs a study: a Study, a shipped name, or the path of a study file")
    study = options.study
    definition = study if isinstance(study, Study) else load_study(str(study))
    name = recorded_name(options, definition)
    with Progress(options.trials, quiet=options.quiet) as progress:
        best = run_search(options, progress, Event())
    artifacts = artifacts_folder(options.storage, options.artifacts_path)
    return Result(definition, options.storage, name, artifacts, best)

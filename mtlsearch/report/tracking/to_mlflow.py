"""MLflow: a run for each trial, nested under one for the study."""

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from mtlsearch.errors import UsageError, one_line
from mtlsearch.report.tracking.tracker import Values
from mtlsearch.wording import message_line

EXPERIMENT = "mtlsearch"
STUDY, TRIAL, PARENT = "mtlsearch.study", "mtlsearch.trial", "mlflow.parentRunId"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}
LONGEST = 500  # letters of a value


class MlflowTracker:
    """Runs of the experiment `mtlsearch` at a tracking URI; the same study and trial is the same run again."""

    def __init__(self, uri: str | None, study: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a library must not report what its user does
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise UsageError("MLflow is not installed: pip install 'mtlsearch[mlflow]'") from error
        try:
            self.client = MlflowClient(tracking_uri=uri)
            found = self.client.get_experiment_by_name(EXPERIMENT)
            self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
            self.study = study
            self.parent = self._run({STUDY: study}, f"tags.`{STUDY}` = {_quoted(study)}", study)
        except Exception as error:  # its own kinds, and those of its database and of HTTP
            raise UsageError(f"MLflow at {uri or 'its default'}: {message_line(one_line(error), 300)}") from error
        self.runs: dict[int, str] = {}

    def _run(self, tags: Mapping[str, str], query: str, name: str) -> str:
        """The id of the run with these tags, made where there is none."""
        found = self.client.search_runs([self.experiment], query, max_results=1)
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        made = self.client.create_run(self.experiment, tags={**tags, "mlflow.runName": name})
        return str(made.info.run_id)

    def begun(self, number: int, params: Mapping[str, Any], weights: Mapping[str, float]) -> None:
        from mlflow.entities import Param

        query = f"tags.`{PARENT}` = {_quoted(self.parent)} AND tags.`{TRIAL}` = '{number}'"
        tags = {PARENT: self.parent, TRIAL: str(number)}
        self.runs[number] = self._run(tags, query, f"trial {number}")
        given = [Param(_name(key), str(value)[:LONGEST]) for key, value in params.items()]
        self.client.log_batch(self.runs[number], params=given)
        self._values(self.runs[number], {f"weight/{task}": weight for task, weight in weights.items()}, 0)

    def epoch(self, number: int, epoch: int, values: Values) -> None:
        self._values(self.runs[number], values, epoch)

    def ended(self, number: int, state: str, values: Values, reason: str | None) -> None:
        run = self.runs.pop(number)
        self._values(run, {f"best/{name}": value for name, value in values.items()}, 0)
        self.client.set_tag(run, "mtlsearch.state", state)
        if reason is not None:
            self.client.set_tag(run, "mtlsearch.reason", reason[:LONGEST])
        self.client.set_terminated(run, STATUS.get(state, "FINISHED"))

    def concluded(self, verdict: Mapping[str, Any]) -> None:
        self.client.set_tag(self.parent, "mtlsearch.verdict", str(verdict["kind"]))
        self.client.set_tag(self.parent, "mlflow.note.content", "\n\n".join(map(str, verdict["lines"])))

    def close(self) -> None:
        self.client.set_terminated(self.parent, "FINISHED")

    def _values(self, run: str, values: Values, step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.client.log_batch(run, metrics=[Metric(_name(name), value, now, step) for name, value in finite.items()])


def _quoted(text: str) -> str:
    """A text in a query of MLflow, which knows no escapes."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def _name(text: str) -> str:
    """A name as MLflow takes it."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in text)[:250]

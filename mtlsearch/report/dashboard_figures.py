"""The figures that optuna-dashboard does not draw itself, made when somebody looks at a study's page.

A run does not draw them at its end: importing plotly takes seconds, and few look.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mtlsearch.collection import without_collection
from mtlsearch.errors import StoreError
from mtlsearch.report.reading import Report, read_report
from mtlsearch.store.curves import task_curves
from mtlsearch.store.database.opening import Storage
from mtlsearch.store.finding import find_record
from mtlsearch.store.record import Record
from mtlsearch.terminal import notice

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STUDY_PAGE = re.compile(r"/api/studies/(\d+)")


def figures_of(report: Report) -> dict[str, str]:
    """The JSON of each figure of a study, by the name that the dashboard gives it."""
    with without_collection():
        from mtlsearch.report.figures import curves, trade_offs
        from mtlsearch.report.figures_confirmed import comparison, confirmation

    drawn = [*trade_offs(report), *confirmation(report), *comparison(report)]
    if any(map(task_curves, report.trials)):  # which the dashboard knows nothing of
        drawn.append(curves(report))
    # The dashboard only asks for JSON, and plotly would validate every number again.
    return {
        f"mtlsearch-{plot.name}": json.dumps(plot.for_dashboard(), separators=(",", ":"))
        for plot in drawn
        if not plot.folded
    }


class WithFigures:
    """A dashboard's application, whose answers for the page of a study have its figures too."""

    def __init__(self, application: Application, storage: Storage, artifacts: Path) -> None:
        self.application, self.storage, self.artifacts = application, storage, artifacts
        self.drawn: dict[int, tuple[object, dict[str, str]]] = {}  # by the study's id, with what they were made of

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        found = STUDY_PAGE.fullmatch(str(environment.get("PATH_INFO", "")))
        if found is None or environment.get("REQUEST_METHOD") != "GET":
            return self.application(environment, start)
        begun: list[Any] = []

        def begin(*arguments: Any) -> None:
            begun[:] = arguments

        body = b"".join(self.application(environment, begin))
        status, headers, *rest = begun
        if status.startswith("200"):
            detail = json.loads(body)
            given = {each["id"]: each for each in detail["plotly_graph_objects"]}
            own = {name: {"id": name, "graph_object": text} for name, text in self._figures(int(found[1])).items()}
            detail["plotly_graph_objects"] = [*{**given, **own}.values()]
            body = json.dumps(detail).encode()
            headers = [(n, str(len(body)) if n.lower() == "content-length" else value) for n, value in headers]
        start(status, headers, *rest)
        return [body]

    def _figures(self, study_id: int) -> dict[str, str]:
        """The figures of a study, drawn anew where it has changed; none of another program's, or where that fails."""
        try:
            record = find_record(self.storage, self.storage.get_study_name_from_id(study_id), self.artifacts)
        except StoreError:
            return {}
        made_of = _content(record)
        if study_id not in self.drawn or self.drawn[study_id][0] != made_of:
            try:
                self.drawn[study_id] = made_of, figures_of(read_report(record))
            except Exception as error:
                notice(f"the dashboard shows no figures of {record.name} ({type(error).__name__}: {error})")
                self.drawn[study_id] = made_of, {}
        return self.drawn[study_id][1]


def _content(record: Record) -> object:
    """A key of a study's figures: it changes with the trials that have ended, and with the study's attributes."""
    ended = sum(trial.state.is_finished() for trial in record.trials())
    attributes = dict(record.study.user_attrs)
    name = attributes.get("confirmation")
    concluded = None
    if isinstance(name, str):
        studies = {study.study_name: study for study in record.storage.get_all_studies()}
        concluded = studies[name].user_attrs.get("conclusion") if name in studies else None
    return ended, json.dumps([attributes, concluded], sort_keys=True, default=str)

"""A search as the API and the pages show it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from mtlsearch.service.queue import STATES, STOP, STOPPED, Search

State = Literal["queued", "starting", "running", "stopping", "done", "failed", "stopped"]
assert {*STATES, "stopping"} == set(State.__args__)  # type: ignore[attr-defined]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str | list[dict[str, Any]] = Field(description="One line, or for a wrong body what is wrong in each field.")


class Point(BaseModel):
    """A point of a curve: the best score after a trial."""

    trial: int
    score: float


class Summary(BaseModel):
    """A search in a list: what was submitted, where it stands, and what it has found."""

    id: int
    kind: Literal["run", "confirm", "compare"]
    study: str = Field(description="As it was submitted: a shipped study, or a file below --studies.")
    name: str = Field(description="The study's name in the store.")
    state: State
    reason: str | None = Field(description="Why it failed, stopped or begins again.")
    options: dict[str, Any] = Field(description="The options that differ from the command's defaults.")
    priority: int
    device: str | None = Field(description="The device that it runs on.")
    submitted: str = Field(description="When, as ISO 8601 in UTC.")
    began: str | None
    ended: str | None
    trials: int = Field(description="Trials with an outcome of their own.")
    total: int | None = Field(description="The trials that it is to have; null for a confirmation.")
    best: float | None = Field(description="The best score so far.")
    verdict: str | None = Field(description="The verdict in a sentence.")
    line: str | None = Field(description="The live line of its command.")
    seconds_left: float | None


class SearchView(Summary):
    """A search with its curve."""

    curve: list[Point] = Field(description="The best score by trial, at most 60 points.")


class SearchList(BaseModel):
    """A page of searches, the newest first."""

    searches: list[Summary]
    next_before: int | None = Field(description="Give it as `before` for the next page; null on the last one.")


def view(search: Search, progress: Mapping[str, Any] | None = None) -> SearchView:
    """A search with its latest progress."""
    told = search.progress if progress is None else progress
    state = "stopping" if search.wanted == STOP and search.state != STOPPED else search.state
    total = None
    if search.kind != "confirm":
        total = int(search.options.get("trials", 100 if search.kind == "run" else 50))
    return SearchView(
        id=search.id,
        kind=search.kind,  # type: ignore[arg-type]
        study=search.study,
        name=search.name,
        state=state,  # type: ignore[arg-type]
        reason=search.reason,
        options=dict(search.options),
        priority=search.priority,
        device=search.device,
        submitted=_time(search.submitted) or "",
        began=_time(search.began),
        ended=_time(search.ended),
        trials=int(told.get("trials") or 0),
        total=total,
        best=told.get("best"),
        curve=[Point(trial=number, score=score) for number, score in told.get("curve") or ()],
        verdict=told.get("verdict"),
        line=told.get("line") if search.is_active else None,
        seconds_left=told.get("seconds_left") if search.state == "running" else None,
    )


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

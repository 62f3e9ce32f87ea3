"""The API: /api/v1, as its OpenAPI page describes it. What a request does stands in `office`."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from mtlsearch.limits import MOST_TRIALS
from mtlsearch.service.office import Office
from mtlsearch.service.queue import Search
from mtlsearch.service.results import KINDS
from mtlsearch.service.submission import SearchSubmission, Submission, model_of
from mtlsearch.service.views import Problem, SearchList, SearchView, State
from mtlsearch.tuning.options.groups import LONGEST_NAME

PREFIX = "/api/v1"
MOST_LISTED = 200
MOST_LINES = 2000
LONGEST_KEY = 200

Responses = dict[int | str, dict[str, Any]]


def _refusals(**descriptions: str) -> Responses:
    """How refusals are described: JSON, whatever the route answers else."""
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {int(code[1:]): {"content": problem, "description": text} for code, text in descriptions.items()}


REFUSALS = _refusals(
    _400="The request cannot be read.",
    _401="The token is missing or wrong.",
    _403="A foreign Host header, or a request from another site.",
    _413="The body is too large.",
    _422="A value is not allowed.",
    _503="The store is away, or its disk is full: try again later.",
)
MISSING = _refusals(_404="There is no such search.")
CONFLICT = _refusals(_409="The search is not in a state for that, or has no such result yet.")

router = APIRouter(prefix=PREFIX, responses=REFUSALS)
Id = Annotated[int, PathParameter(alias="search_id", ge=1, le=2**31 - 1, description="The id of the search.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=LONGEST_KEY,
        pattern=r"^[\x21-\x7e]+$",
        description="The same submission with the same key is one search.",
    ),
]
if TYPE_CHECKING:  # a type checker cannot know models that are made from the options

    class RunRequest(SearchSubmission):
        name: str | None

    class ConfirmRequest(Submission): ...

    class CompareRequest(Submission): ...
else:
    RunRequest, ConfirmRequest, CompareRequest = map(model_of, ("run", "confirm", "compare"))


def office(request: Request) -> Office:
    """The office of the server that a request came to."""
    found: Office = request.app.state.office
    return found


TheOffice = Annotated[Office, Depends(office)]


class StudyList(BaseModel):
    """The studies that may be submitted."""

    studies: list[str]


class More(BaseModel):
    """Changes of a search that goes on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trials: int | None = Field(None, ge=1, le=MOST_TRIALS, description="The new total of trials.")


@router.get(
    "/studies",
    summary="List the studies that may be submitted",
    responses={503: {"model": Problem}},  # so that the description knows the model
)
def list_studies(office: TheOffice) -> StudyList:
    return StudyList(studies=office.machine.studies.names())


@router.get("/searches", summary="List searches, the newest first", response_model=SearchList)
def list_searches(
    office: TheOffice,
    state: Annotated[list[State] | None, Query(description="Those in one of these states.")] = None,
    name: Annotated[str | None, Query(max_length=LONGEST_NAME, description="Those of this study.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Those with an id below this.")] = None,
) -> Response:
    states = None if state is None else ["running" if each == "stopping" else each for each in state]
    unknown = name is not None and "\0" in name
    found = [] if unknown else office.queue.find(states=states, name=name, limit=limit + 1, before=before)
    after = found[limit - 1].id if len(found) > limit else None
    # The texts are joined, and not made and checked again: fifty clients may ask for them at once.
    texts = ",".join(office.text(each) for each in found[:limit])
    return Response(f'{{"searches":[{texts}],"next_before":{json.dumps(after)}}}', media_type="application/json")


@router.post(
    "/searches",
    status_code=201,
    summary="Submit a search",
    responses={200: {"model": SearchView, "description": "It was submitted before with this key."}, **CONFLICT},
)
def submit(request: RunRequest, office: TheOffice, response: Response, key: Key = None) -> SearchView:
    return _submitted(office, response, *office.submit("run", request.study, request.name, request, key))


@router.get("/searches/{search_id}", summary="Show a search", responses=MISSING)
def show(search_id: Id, office: TheOffice) -> SearchView:
    return office.show(office.find(search_id))


@router.delete(
    "/searches/{search_id}",
    status_code=204,
    summary="Delete a search and its study",
    description="Asked twice: without `confirm` the answer is 409, and says what would be deleted.",
    responses={**MISSING, **CONFLICT},
)
def delete(
    search_id: Id,
    office: TheOffice,
    confirm: Annotated[str | None, Query(max_length=LONGEST_NAME, description="The name of its study.")] = None,
) -> None:
    office.delete(search_id, confirm)


@router.post(
    "/searches/{search_id}/stop",
    status_code=202,
    summary="Stop a search",
    description="Its process stores what is in training and ends; a second request ends it at once.",
    responses={**MISSING, **CONFLICT},
)
def stop(search_id: Id, office: TheOffice) -> SearchView:
    return office.show(office.stop(search_id))


@router.post(
    "/searches/{search_id}/resume",
    status_code=202,
    summary="Let a search that has ended go on",
    responses={**MISSING, **CONFLICT},
)
def resume(search_id: Id, office: TheOffice, request: Annotated[More | None, Body()] = None) -> SearchView:
    changes = {} if request is None or request.trials is None else {"trials": request.trials}
    return office.show(office.go_on(search_id, changes))


@router.post(
    "/searches/{search_id}/confirm",
    status_code=201,
    summary="Submit a confirmation of a search",
    responses={200: {"model": SearchView, "description": "It was submitted before."}, **MISSING, **CONFLICT},
)
def confirm(
    search_id: Id, request: ConfirmRequest, office: TheOffice, response: Response, key: Key = None
) -> SearchView:
    return _submitted(office, response, *office.submit_after(search_id, "confirm", request, key))


@router.post(
    "/searches/{search_id}/compare",
    status_code=201,
    summary="Submit a comparison of weighting methods on a search's study",
    responses={200: {"model": SearchView, "description": "It was submitted before."}, **MISSING, **CONFLICT},
)
def compare(
    search_id: Id, request: CompareRequest, office: TheOffice, response: Response, key: Key = None
) -> SearchView:
    return _submitted(office, response, *office.submit_after(search_id, "compare", request, key))


def _submitted(office: Office, response: Response, search: Search, is_new: bool) -> SearchView:
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"{PREFIX}/searches/{search.id}"
    return office.show(search)


def found_search(search_id: Id, office: TheOffice) -> SearchView:
    """The search of a request, looked up before its answer begins."""
    return office.show(office.find(search_id))


Found = Annotated[SearchView, Depends(found_search)]


@router.get(
    "/searches/{search_id}/events",
    summary="Follow a search",
    description="Server-sent events: the search as JSON each time that it changes, until it has ended.",
    response_class=EventSourceResponse,
    responses=MISSING,
)
async def events(search: Found, office: TheOffice) -> AsyncIterator[ServerSentEvent]:
    text = search.model_dump_json()
    yield ServerSentEvent(raw_data=text, event="search")
    if search.ended is None:
        async for now in office.board.follow(search.id):
            yield ServerSentEvent(raw_data=now, event="search")


def _file(kind: str, summary: str) -> dict[str, Any]:
    """How the route of a result is described."""
    about = {200: {"content": {KINDS[kind].media_type: {"schema": {}}}, "description": summary}}
    return {"summary": summary, "response_class": FileResponse, "responses": {**MISSING, **CONFLICT, **about}}


async def answer(office: Office, search: SearchView, kind: str) -> FileResponse:
    """A result as a file to save, or a page to show."""
    path = await office.results.make(search, kind)
    name = f"{_safe(search.name)}-{path.name}"
    shown = KINDS[kind].shown or kind == "best"
    return FileResponse(
        path,
        media_type=KINDS[kind].media_type,
        filename=name,
        content_disposition_type="inline" if shown else "attachment",
    )


def _safe(name: str) -> str:
    return (
        "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".")[:80] or "search"
    )


@router.get("/searches/{search_id}/best", **_file("best", "The best config, its metrics and the verdict"))
async def best(search: Found, office: TheOffice) -> FileResponse:
    return await answer(office, search, "best")


@router.get("/searches/{search_id}/export", **_file("export", "The best config as a file, for `mtlsearch train`"))
async def export(search: Found, office: TheOffice) -> FileResponse:
    return await answer(office, search, "export")


@router.get("/searches/{search_id}/checkpoint", **_file("checkpoint", "The parameters of the best model (safetensors)"))
async def checkpoint(search: Found, office: TheOffice) -> FileResponse:
    return await answer(office, search, "checkpoint")


@router.get("/searches/{search_id}/report", **_file("report", "The report, one HTML page"))
async def report(search: Found, office: TheOffice) -> FileResponse:
    return await answer(office, search, "report")


_TRIALS: dict[str, Any] = {KINDS[kind].media_type: {"schema": {}} for kind in ("json", "csv", "parquet")}


@router.get(
    "/searches/{search_id}/trials",
    summary="Every trial",
    response_class=FileResponse,
    responses={**MISSING, **CONFLICT, 200: {"content": _TRIALS, "description": "The trials as a table."}},
)
async def trials(
    search: Found,
    office: TheOffice,
    kind: Annotated[Literal["json", "csv", "parquet"], Query(alias="format")] = "json",
) -> FileResponse:
    return await answer(office, search, kind)


@router.get(
    "/searches/{search_id}/log",
    summary="The last lines of the log",
    response_class=PlainTextResponse,
    responses={**MISSING, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text."}},
)
async def read_log(
    search: Found, office: TheOffice, lines: Annotated[int, Query(ge=1, le=MOST_LINES)] = 200
) -> PlainTextResponse:
    found = await run_in_threadpool(office.folder.last_lines, search.id, lines)
    return PlainTextResponse("".join(f"{line}\n" for line in found))

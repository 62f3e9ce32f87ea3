"""The pages: searches with their progress, one search, the forms, the login. They work without a script.

Every page is rendered by the templates' one environment, which escapes each value. With a script, cards that change
are fetched again; the server draws them too.
"""

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ValidationError

from mtlsearch.errors import MtlsearchError, UsageError
from mtlsearch.offline_page import render
from mtlsearch.service.office import Office
from mtlsearch.service.submission import Submission, model_of
from mtlsearch.service.views import SearchView
from mtlsearch.service.web.api import Found, Id, TheOffice, answer
from mtlsearch.service.web.security import COOKIE, Keys
from mtlsearch.wording import measured

ON_A_PAGE = 20
LINES = 40
FIRST = ("study", "trials", "name", "priority")
COOKIE_S = 30 * 86_400
WRONG_TOKEN_S = 1.0  # before the answer to a wrong one

EXAMPLE = """curl -X POST http://127.0.0.1:8080/api/v1/searches -H 'Content-Type: application/json' \\
  -H "Authorization: Bearer $(cat token)" -d '{"study": "digits", "trials": 100}'"""

router = APIRouter(include_in_schema=False)


@cache
def _script() -> tuple[str, str]:
    """The script of the pages, and its digest for the Content-Security-Policy."""
    text = files("mtlsearch.service.web").joinpath("templates/service.js").read_text(encoding="utf-8")
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    script, digest = _script()
    text = render(
        f"service/web/templates/{template}", script=script, digest=digest, curve=curve, score=measured, **values
    )
    return HTMLResponse(text, status)


def curve(search: SearchView) -> str:
    """The points of a polyline in a box of 220 by 46: the best score by trial number."""
    if len(search.curve) < 2:
        return ""
    numbers, scores = [at.trial for at in search.curve], [at.score for at in search.curve]
    width = max(numbers[-1] - numbers[0], 1)
    height = max(scores) - min(scores) or 1.0
    return " ".join(
        f"{3 + 214 * (number - numbers[0]) / width:.1f},{42 - 38 * (score - min(scores)) / height:.1f}"
        for number, score in zip(numbers, scores, strict=True)
    )


def ask(title: str, words: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page that tells something, and may ask for a decision."""
    nothing = {"action": None, "secret": False, "confirm": "", "button": "", "back": None}
    return _page("ask.html.j2", status, title=title, words=words, **{**nothing, **values})


# Reading.


@router.get("/")
def start(office: TheOffice, before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None) -> HTMLResponse:
    return _start(office, before)


def _start(office: Office, before: int | None = None, refused: str | None = None, status: int = 200) -> HTMLResponse:
    found = office.queue.find(limit=ON_A_PAGE + 1, before=before)
    fields = form_fields(office)
    return _page(
        "start.html.j2",
        status,
        searches=[office.show(each) for each in found[:ON_A_PAGE]],
        next_before=found[ON_A_PAGE - 1].id if len(found) > ON_A_PAGE else None,
        counts=office.counts(),
        trouble=office.scheduler.trouble,
        refused=refused,
        key=str(uuid.uuid4()),
        first=[fields[name] for name in FIRST],
        others=[field for name, field in fields.items() if name not in FIRST],
    )


@router.get("/searches/{search_id}")
def search_page(search: Found, office: TheOffice) -> HTMLResponse:
    return _search_page(office, search)


def _search_page(office: Office, search: SearchView, refused: str | None = None, status: int = 200) -> HTMLResponse:
    log = "\n".join(office.folder.last_lines(search.id, LINES))
    return _page("search.html.j2", status, it=search, log=log, refused=refused)


@router.get("/searches/{search_id}/card")
def card(search: Found, whole: bool = False) -> HTMLResponse:

    return _page("card_alone.html.j2", it=search, whole=whole)


@router.get("/searches/{search_id}/report")
async def report(search: Found, office: TheOffice) -> FileResponse:
    return await answer(office, search, "report")


@router.get("/events", response_class=EventSourceResponse)
async def events(office: TheOffice) -> AsyncIterator[ServerSentEvent]:
    async for search_id in office.board.follow_all():
        yield ServerSentEvent(raw_data=str(search_id), event="changed")


@router.get("/api/v1/docs")
def describe(request: Request) -> HTMLResponse:
    """The API's page, from its OpenAPI description."""
    described = request.app.openapi()
    return _page("api.html.j2", paths=described["paths"], schemas=described["components"]["schemas"], example=EXAMPLE)


# Forms.


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that are filled in."""
    body = (await request.body()).decode("utf-8", errors="replace")
    try:
        return {name: value for name, value in parse_qsl(body, max_num_fields=100) if value.strip()}
    except ValueError:
        raise UsageError("a form has at most 100 fields") from None


def _to(search_id: int) -> RedirectResponse:
    return RedirectResponse(f"/searches/{search_id}", 303)


@router.post("/searches")
async def submit(request: Request, office: TheOffice) -> Any:
    given = await _form(request)
    try:
        key = given.pop("key", None)
        asked: Any = submission("run", given)
        name = asked.name
        found, _ = await run_in_threadpool(office.submit, "run", asked.study, name, asked, key)
    except UsageError as error:
        return await run_in_threadpool(_start, office, None, str(error), 422)
    return _to(found.id)


@router.post("/searches/{search_id}/{action}")
async def act(
    search_id: Id,
    action: Literal["stop", "resume", "confirm", "compare", "delete"],
    request: Request,
    office: TheOffice,
) -> Any:
    given = await _form(request)
    try:
        if action == "delete":
            await run_in_threadpool(office.delete, search_id, given.get("confirm"))
            return RedirectResponse("/", 303)
        if action == "stop":
            return _to((await run_in_threadpool(office.stop, search_id)).id)
        if action == "resume":
            asked = submission("run", {"study": "any", **{k: v for k, v in given.items() if k == "trials"}})
            changes = asked.model_dump(exclude_unset=True, include={"trials"})
            return _to((await run_in_threadpool(office.go_on, search_id, changes)).id)
        found, _ = await run_in_threadpool(office.submit_after, search_id, action, submission(action, {}), None)
        return _to(found.id)
    except UsageError as error:
        search = await run_in_threadpool(office.find, search_id)
        return await run_in_threadpool(_search_page, office, office.show(search), str(error), 409)


@router.get("/searches/{search_id}/delete")
def ask_to_delete(search_id: Id, office: TheOffice) -> HTMLResponse:
    search = office.find(search_id)
    where = f"/searches/{search_id}"
    if search.is_active:
        return ask("Delete a search", f"Search {search_id} is {search.state}: stop it first.", 409, back=where)
    words = f"This deletes {office.what_goes(search)}. It cannot be undone."
    return ask(
        f"Delete {search.name}?", words, action=f"{where}/delete", confirm=search.name, button="Delete", back=where
    )


def submission(kind: str, given: Mapping[str, str]) -> Submission:
    """The request that the fields of a form make. Raises UsageError."""
    model = model_of(kind)
    try:
        values = {name: _typed(name, text, model) for name, text in given.items()}
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'][:1]))}: {first['msg']}") from None


def _typed(name: str, text: str, model: type[Submission]) -> Any:
    """The value that a text of a form stands for."""
    field = model.model_fields.get(name)
    kinds = _kinds(field.annotation) if field is not None else ()
    text = text.strip()
    if bool in kinds and text in ("yes", "no"):
        return text == "yes"
    if dict in kinds and str not in kinds:
        return _pairs(name, text)
    for kind in (int, float):
        if kind in kinds and text != "auto":
            try:
                return kind(text)
            except ValueError:
                raise UsageError(f"{name} must be a number, but got {text[:60]!r}") from None
    return text


def _pairs(name: str, text: str) -> dict[str, str]:
    """NAME=VALUE, one a line."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().rpartition("=")
        if line.strip() and not (key and equals and value):
            raise UsageError(f"{name} takes NAME=VALUE, one a line, but got {line[:60]!r}")
        if key:
            found[key] = value
    return found


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The plain types that a field's values may have."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    parts = get_args(annotation) if get_origin(annotation) not in (None, dict, list) else ()
    return tuple(kind for part in parts for kind in _kinds(part)) or (get_origin(annotation) or annotation,)


def form_fields(office: Office) -> dict[str, dict[str, Any]]:
    """The fields of the form that submits a search, from the options of `run`."""
    found = {}
    for name, about in model_of("run").model_fields.items():
        kinds = _kinds(about.annotation)
        default = None if about.is_required() else about.default
        choices: list[str] = []
        if name == "study":
            choices = office.machine.studies.names()
        elif bool in kinds and dict not in kinds:
            choices = ["yes", "no"] if isinstance(default, bool) else ["", "yes", "no"]
            default = {True: "yes", False: "no", None: ""}[default]
        elif get_origin(about.annotation) is Literal:
            choices = [str(each) for each in get_args(about.annotation)]
        number = (int in kinds or float in kinds) and "auto" not in kinds and dict not in kinds
        kind = "number" if number else "lines" if dict in kinds and str not in kinds[:1] else "text"
        label = name.replace("_", " ")
        value = "" if default is None else default
        found[name] = {
            "name": name,
            "label": label,
            "help": about.description,
            "choices": choices,
            "kind": kind,
            "value": value,
        }
    return found


# Login.


@router.get("/login")
def login_page() -> HTMLResponse:
    return ask("Log in", "This server needs its token.", action="/login", secret=True, button="Log in")


@router.post("/login")
async def login(request: Request) -> Any:
    keys: Keys = request.app.state.keys
    if keys.cookie is None:
        return RedirectResponse("/", 303)
    if not keys.opens((await _form(request)).get("token", "").strip()):
        await asyncio.sleep(WRONG_TOKEN_S)
        return ask("Log in", "That is not the token.", 401, action="/login", secret=True, button="Log in")
    answered = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answered.set_cookie(COOKIE, keys.cookie, max_age=COOKIE_S, httponly=True, samesite="lax", secure=secure)
    return answered


def problem_page(error: MtlsearchError, status: int) -> HTMLResponse:
    """The page of an error."""
    return ask("This did not work", str(error), status, back="/")

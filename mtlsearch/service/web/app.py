"""The application: API, pages, metrics and the dashboard behind one guard."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from mtlsearch import __version__
from mtlsearch.errors import MtlsearchError, StoreError, UsageError
from mtlsearch.service.logs import log
from mtlsearch.service.office import Missing, Office
from mtlsearch.service.queue import Conflict
from mtlsearch.service.results import NotYet
from mtlsearch.service.web import api, metrics, pages
from mtlsearch.service.web.security import Guard, Keys
from mtlsearch.store.artifacts import artifact_store
from mtlsearch.store.database.opening import open_storage

PAUSE_S = 6.0  # for searches to store what is in training, when the server stops
DASHBOARD = ("/dashboard", "/static/", "/api/studies", "/api/meta", "/csv/")
STATUS: Sequence[tuple[type[MtlsearchError], int]] = (
    (Missing, 404),
    (Conflict, 409),
    (NotYet, 409),
    (UsageError, 422),
    (StoreError, 503),
    (MtlsearchError, 409),
)


def make_application(office: Office, keys: Keys, host: str, others: Sequence[str]) -> Guard:
    """The whole application of a server on `host`, which browsers may also call by `others`."""

    @asynccontextmanager
    async def life(application: FastAPI) -> AsyncIterator[None]:
        office.board.loop = asyncio.get_running_loop()
        office.scheduler.start()
        yield
        office.board.close()
        await run_in_threadpool(office.scheduler.leave, PAUSE_S)
        await run_in_threadpool(office.queue.close)

    application = FastAPI(
        title="mtlsearch",
        version=__version__,
        description="Searches of task weights and hyperparameters, queued for one machine.",
        openapi_url=f"{api.PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    application.state.office, application.state.keys = office, keys
    for part in (api, metrics, pages):
        application.include_router(part.router)
    application.exception_handler(MtlsearchError)(_told)
    application.exception_handler(RequestValidationError)(_invalid)
    return Guard(WithDashboard(application, office.storage, office.machine.artifacts), host, others, keys)


def _told(request: Request, error: Exception) -> Response:
    """The answer to an error that a user can mend."""
    assert isinstance(error, MtlsearchError)
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    if status == 503:
        log.error("%s %s: %s", request.method, request.url.path, error)
    if request.url.path.startswith(api.PREFIX):
        return JSONResponse({"detail": str(error)}, status, {"Retry-After": "5"} if status == 503 else None)
    return pages.problem_page(error, status)


def _invalid(request: Request, error: Exception) -> Response:
    """The answer to a request that does not fit its description, without an echo of what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = [{"loc": list(map(str, each["loc"])), "msg": str(each["msg"])} for each in error.errors()]
    if request.url.path.startswith(api.PREFIX):
        return JSONResponse({"detail": wrong}, 422)
    return pages.ask("This did not work", str(wrong[0]["msg"]), 422, back="/")


class WithDashboard:
    """Hands the paths of optuna-dashboard to it; it is loaded when somebody first asks for it, and only reads."""

    def __init__(self, application: Any, storage: str, artifacts: Path) -> None:
        self.application, self.storage, self.artifacts = application, storage, artifacts
        self.dashboard: Any = None
        self.lock = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(DASHBOARD):
            await self.application(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            refusal = JSONResponse({"detail": "the dashboard only reads"}, 405, {"Allow": "GET, HEAD"})
            await refusal(scope, receive, send)
            return
        async with self.lock:
            if self.dashboard is None:
                try:
                    self.dashboard = await run_in_threadpool(self._load)
                except StoreError as error:
                    await JSONResponse({"detail": str(error)}, 503)(scope, receive, send)
                    return
        await self.dashboard(scope, receive, send)

    def _load(self) -> Any:
        from a2wsgi import WSGIMiddleware
        from optuna_dashboard import wsgi

        from mtlsearch.report.dashboard_figures import WithFigures

        storage = open_storage(self.storage, create=False)
        dashboard = wsgi(storage, artifact_store(self.artifacts) if self.artifacts.is_dir() else None)
        figures: Any = WithFigures(dashboard, storage, self.artifacts)
        return WSGIMiddleware(figures, workers=1)

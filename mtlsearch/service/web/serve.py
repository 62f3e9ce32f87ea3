"""`mtlsearch serve`: checks, puts the parts together, and runs them in one process until it is told to stop."""

import re
import signal
from pathlib import Path
from types import FrameType

import uvicorn

from mtlsearch.errors import UsageError
from mtlsearch.files import check_path
from mtlsearch.report.serving import check_free
from mtlsearch.service.board import Board
from mtlsearch.service.folder import Folder, server_folder
from mtlsearch.service.logs import log, set_up
from mtlsearch.service.machine import Machine
from mtlsearch.service.office import Office
from mtlsearch.service.options import ServeOptions
from mtlsearch.service.queue import Queue
from mtlsearch.service.results import Results
from mtlsearch.service.scheduler import Scheduler
from mtlsearch.service.submission import DEVICE, Studies
from mtlsearch.service.web.app import make_application
from mtlsearch.service.web.security import Keys, check_reach, read_token
from mtlsearch.store.artifacts import artifacts_folder, check_folder
from mtlsearch.store.database.errors import parse_url
from mtlsearch.store.database.opening import mask_password

REQUESTS_S = 2  # for requests to end, when the server stops


class Server(uvicorn.Server):
    """Ends streams and pauses searches at the first signal, so that all of it takes less than ten seconds."""

    def __init__(self, config: uvicorn.Config, office: Office) -> None:
        super().__init__(config)
        self.office = office

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and the process would end by it, with a status of its own.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self.office.scheduler.is_leaving = True
        self.office.scheduler.wake()
        if self.office.board.loop is not None:
            self.office.board.loop.call_soon_threadsafe(self.office.board.close)


def make_office(options: ServeOptions) -> Office:
    """The parts of a server, with the store made where it is missing. Raises UsageError, StoreError."""
    folder = Folder(server_folder(options.storage, options.folder))
    if options.studies is not None and not options.studies.is_dir():
        raise UsageError(f"--studies must be a folder, but got {options.studies}")
    for device in options.devices or ("",):
        if not re.match(DEVICE, device):
            raise UsageError(f"--devices takes auto, cpu, cuda or cuda:N, separated by commas, but got {device!r}")
    artifacts = artifacts_folder(options.storage, options.artifacts_path).absolute()
    for path in (folder.path, artifacts):
        check_path(path)
        check_folder(path)
    queue, board = Queue(options.storage, create=True), Board()
    studies = Studies(None if options.studies is None else options.studies.absolute())
    data = None if options.data is None else options.directory.absolute()
    machine = Machine(tuple(dict.fromkeys(options.devices)), options.at_once, studies, data, artifacts)
    storage = absolute(options.storage)
    scheduler = Scheduler(queue, folder, machine, storage, board.tell)
    return Office(storage, queue, folder, machine, scheduler, board, Results(storage, artifacts, folder))


def absolute(storage: str) -> str:
    """The store's URL for a process in any folder."""
    url = parse_url(storage)
    if url.get_backend_name() != "sqlite":
        return storage
    return f"sqlite:///{Path(str(url.database)).absolute()}"


def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises UsageError where it cannot listen, or must not without a token."""
    token = None if options.token_file is None else read_token(options.token_file)
    check_reach(options.host, token)
    check_free(options.host, options.port)
    set_up(options.log_format)
    office = make_office(options)
    application = make_application(office, Keys(token), options.host, options.allow_host)
    config = uvicorn.Config(
        application,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=REQUESTS_S,
    )
    shown = f"[{options.host}]" if ":" in options.host else options.host
    log.info("serving %s at http://%s:%d/", mask_password(options.storage), shown, options.port)
    Server(config, office).run()
    log.info("stopped")

"""A server's application in this process, without its scheduler: nothing is trained."""

from dataclasses import replace
from pathlib import Path

from commands import STUDY_FILE
from starlette.testclient import TestClient

from mtlsearch.service.office import Office
from mtlsearch.service.options import ServeOptions
from mtlsearch.service.web.app import make_application
from mtlsearch.service.web.security import Keys
from mtlsearch.service.web.serve import make_office

TOKEN = "0123456789abcdef0123456789abcdef"


def office_in(folder: Path, storage: str | None = None) -> Office:
    """The office of a server whose store, and whose study file `tiny.py`, lie in a folder."""
    (folder / "studies").mkdir(exist_ok=True)
    (folder / "studies" / "tiny.py").write_text(STUDY_FILE)
    storage = storage or f"sqlite:///{folder / 'store.db'}"
    return make_office(ServeOptions(storage=storage, studies=folder / "studies"))


def client_of(office: Office, token: str | None = None, **options: object) -> TestClient:
    """A client of the application; it follows no redirection."""
    application = make_application(office, Keys(token), "127.0.0.1", ["box.lab.example"])
    return TestClient(application, "http://127.0.0.1:8080", follow_redirects=False, **options)  # type: ignore[arg-type]


def on_devices(office: Office, *devices: str, at_once: int = 1) -> Office:
    """The same office on a machine with these devices."""
    machine = replace(office.machine, devices=devices, at_once=at_once)
    office.scheduler.machine = machine
    return replace(office, machine=machine)

"""A server's application in this process, without its scheduler: nothing is trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import browser, chromium  # noqa: F401

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from mtlsearch.service.office import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator["Office"]:
    from offices import office_in

    made = office_in(tmp_path)
    yield made
    made.queue.close()


@pytest.fixture
def client(office: "Office") -> "TestClient":
    from offices import client_of

    return client_of(office)

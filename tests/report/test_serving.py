"""The dashboard answers only requests that are meant for it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mtlsearch.errors import UsageError
from mtlsearch.report.serving import check_free, is_named, only_for


@pytest.mark.parametrize(
    ("host", "header", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "localhost:8080", True),
        ("127.0.0.1", "[::1]:8080", True),
        ("box.lab.example", "BOX.lab.example", True),
        ("127.0.0.1", "attacker.example:8080", False),
        ("127.0.0.1", "127.0.0.1.attacker.example", False),
        ("127.0.0.1", "", False),
    ],
)
def test_a_request_is_answered_by_its_host_header(host: str, header: str, answered: bool) -> None:
    assert is_named(host, header) is answered


@pytest.mark.parametrize(
    ("header", "status", "body"), [("localhost", "200 OK", b"studies"), ("evil.example", "403 Forbidden", b"only")]
)
def test_a_request_for_another_name_comes_to_nothing_of_the_store(header: str, status: str, body: bytes) -> None:
    def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        return [b"studies"]

    statuses: list[str] = []
    answer = only_for("127.0.0.1", application)({"HTTP_HOST": header}, lambda status, headers: statuses.append(status))
    assert statuses == [status]
    assert body in b"".join(answer)


@pytest.mark.parametrize("host", ["", " 127.0.0.1", "127.0.0.1\n", "\x1b[31m"])
def test_host_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="--host must be an address or a name of this machine"):
        check_free(host, 8080)

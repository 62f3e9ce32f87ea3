"""A client of the service, with the standard library alone: `connect(url)` gives a `Service`."""

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from mtlsearch.errors import MtlsearchError, UsageError
from mtlsearch.files import check_writable, replacing

API = "/api/v1"
PATIENCE_S = 60.0  # for an answer
SILENCE_S = 45.0  # between two signs of life of a stream; the server sends one each 15 s
AGAIN_S = 2.0  # before a lost connection is tried again
TRIES = 5
UNAUTHORIZED = 401


class ServiceError(MtlsearchError):
    """The server cannot be reached, or refuses a request."""


class Service:
    """The searches of a server. Made by `connect`."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self._token = url, token

    def submit(self, study: str, *, priority: int = 0, key: str | None = None, **options: Any) -> "RemoteSearch":
        """Submit a search of a shipped study, or of a file below the server's `--studies`.

        `options` are those of `mtlsearch.search` that are no matter of the machine, such as `trials`, `name` or
        `fixed`. The same submission with the same `key` is one search. Raises ServiceError.
        """
        body = {"study": study, "priority": priority, **options}
        # A lost answer must not make a second search when the request is sent again.
        told = self._json("POST", "/searches", body, {"Idempotency-Key": key or str(uuid.uuid4())})
        return RemoteSearch(self, int(told["id"]))

    def searches(self, name: str | None = None) -> list[dict[str, Any]]:
        """Every search as the server shows it, the newest first; those of the study `name`."""
        found: list[dict[str, Any]] = []
        before = None
        while True:
            given = {"limit": 200, "name": name, "before": before}
            query = urlencode({key: value for key, value in given.items() if value is not None})
            page = self._json("GET", f"/searches?{query}")
            found += page["searches"]
            before = page["next_before"]
            if before is None:
                return found

    def search(self, which: int | str) -> "RemoteSearch":
        """The search with that id, or where that is unique of that study. Raises ServiceError."""
        text = str(which)
        if text.isdecimal() and len(text) < 10:
            return RemoteSearch(self, int(self._json("GET", f"/searches/{text}")["id"]))
        found = [each["id"] for each in self.searches(text)]
        if len(found) != 1:
            several = f"{len(found)} searches of that study, with the ids {', '.join(map(str, found[:10]))}"
            raise ServiceError(f"search {text!r}: the server has {several if found else 'none of that study'}")
        return RemoteSearch(self, found[0])

    # HTTP.

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        with self._answer(method, path, body, headers) as answer:
            text = answer.read()
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServiceError(f"{self.url} does not answer as mtlsearch does: check --server")
        return found

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_S,
    ) -> Iterator[HTTPResponse]:
        """The server's answer. Raises ServiceError where it refuses, or cannot be reached."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{API}{path}", data, {**(headers or {})}, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with _OPENER.open(request, timeout=patience) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            raise ServiceError(_refusal(error)) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise Unreachable(f"{self.url} cannot be reached ({reason}): start it, or correct --server") from error


class Unreachable(ServiceError):
    """The server cannot be reached now."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it would take the token elsewhere."""

    def redirect_request(self, *arguments: Any, **more: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _refusal(error: urllib.error.HTTPError) -> str:
    """Why the server refused a request, in one line."""
    if error.code == UNAUTHORIZED:
        return "the server needs its token: name its file with --token-file or MTLSEARCH_TOKEN_FILE"
    try:
        detail = json.loads(error.read())["detail"]
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        return f"the server answers with status {error.code} ({error.reason})"
    if isinstance(detail, list):
        wrong = [
            f"{'.'.join(map(str, each.get('loc', ())[1:2]))}: {each.get('msg')}"
            for each in detail
            if isinstance(each, dict)
        ]
        return "; ".join(wrong)
    return str(detail)


@dataclass(frozen=True)
class RemoteSearch:
    """A search of a server."""

    service: Service = field(repr=False)
    id: int

    def status(self) -> dict[str, Any]:
        """How it stands: state, trials, best score, verdict, live line. Raises ServiceError."""
        return self.service._json("GET", f"/searches/{self.id}")

    def follow(self) -> Iterator[dict[str, Any]]:
        """How it stands, each time that this changes, until it has ended; a lost connection is taken up again."""
        left = TRIES
        while True:
            try:
                with self.service._answer("GET", f"/searches/{self.id}/events", patience=SILENCE_S) as answer:
                    for now in _events(answer):
                        left = TRIES
                        yield now
                        if now["ended"] is not None:
                            return
            except Unreachable:
                left -= 1
                if not left:
                    raise
            time.sleep(AGAIN_S)

    def wait(self) -> dict[str, Any]:
        """Wait for its end; how it stands then."""
        last = self.status()
        if last["ended"] is None:
            for now in self.follow():
                last = now
        return last

    def stop(self) -> dict[str, Any]:
        """Stop it in order; a second call ends it at once. Raises ServiceError."""
        return self.service._json("POST", f"/searches/{self.id}/stop")

    def resume(self, trials: int | None = None) -> dict[str, Any]:
        """Let it go on where it has ended, with `trials` as the new total. Raises ServiceError."""
        return self.service._json("POST", f"/searches/{self.id}/resume", {"trials": trials})

    def confirm(self, **options: Any) -> "RemoteSearch":
        """Submit a confirmation of it, with the options of `mtlsearch confirm`. Raises ServiceError."""
        return self._after("confirm", options)

    def compare(self, **options: Any) -> "RemoteSearch":
        """Submit a comparison of weighting methods on its study. Raises ServiceError."""
        return self._after("compare", options)

    def _after(self, kind: str, options: Mapping[str, Any]) -> "RemoteSearch":
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return RemoteSearch(
            self.service, int(self.service._json("POST", f"/searches/{self.id}/{kind}", options, key)["id"])
        )

    def delete(self, confirm: str) -> None:
        """Delete it with its study; `confirm` is the study's name, as a second asking. Raises ServiceError."""
        self.service._json("DELETE", f"/searches/{self.id}?confirm={quote(confirm, safe='')}")

    def best(self) -> dict[str, Any]:
        """The best config, its metrics and the verdict, as `mtlsearch best --json` gives it. Raises ServiceError."""
        return self.service._json("GET", f"/searches/{self.id}/best")

    def save(self, what: str, path: str | Path) -> Path:
        """Save a result: export, checkpoint, report, or trials in the format of the file's ending.

        Raises ServiceError, ConfigError where the file cannot be written.
        """
        path = Path(path)
        check_writable(path)
        query = ""
        if what == "trials":
            query = f"?format={quote(path.suffix.removeprefix('.') or 'csv', safe='')}"
        address = f"/searches/{self.id}/{what}{query}"
        with self.service._answer("GET", address) as answer, replacing(path) as partial, partial.open("wb") as file:
            while piece := answer.read(1 << 20):
                file.write(piece)
        return path


def _events(answer: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The data of server-sent events; each is one line of JSON."""
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def connect(url: str | None = None, token_file: str | Path | None = None) -> Service:
    """A server's searches, at `url` (else MTLSEARCH_SERVER, else this machine's port 8080).

    The token is read from `token_file` (else MTLSEARCH_TOKEN_FILE), else it is the value of MTLSEARCH_TOKEN. Raises
    UsageError for what is no URL of a server.
    """
    url = (url or os.environ.get("MTLSEARCH_SERVER") or "http://127.0.0.1:8080").rstrip("/")
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or not url.isprintable()
    ):
        raise UsageError(f"a server's URL is http://HOST:PORT or https://HOST, but got {url!r}")
    if parts.username is not None:
        raise UsageError("a server's URL holds no password: its token is in --token-file or MTLSEARCH_TOKEN")
    token_file = token_file or os.environ.get("MTLSEARCH_TOKEN_FILE")
    if token_file is None:
        return Service(url, os.environ.get("MTLSEARCH_TOKEN"))
    try:
        return Service(url, Path(token_file).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--token-file {token_file} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error

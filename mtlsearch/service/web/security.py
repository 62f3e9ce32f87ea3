"""Who is answered: the token, the Host header, requests from other sites, and the size of a body.

`Guard` stands before everything, the dashboard included. A browser logs in once and gets a cookie, which holds no
token but a digest that follows from it.
"""

import hashlib
import hmac
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from mtlsearch.errors import UsageError
from mtlsearch.report.serving import LOOPBACK, is_named

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mtlsearch"
OPEN = ("/login", "/healthz")  # without a token
SAFE = ("GET", "HEAD", "OPTIONS")
LARGEST_BODY = 64 << 10  # bytes; the options of a search are arguments of a process
SHORTEST_TOKEN = 16
TOO_LARGE = f"a body has at most {LARGEST_BODY} bytes"
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
}


def read_token(path: Path) -> str:
    """The token in a file. Raises UsageError where others may read it, or where it is short."""
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--token-file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and os.name == "posix":
        raise UsageError(f"--token-file {path} can be read by others: chmod 600 {path}")
    if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f"a token has {SHORTEST_TOKEN} or more ASCII letters without spaces, but the one in {path} has not:"
            f" openssl rand -hex 32 > {path}"
        )
    return text


def check_reach(host: str, token: str | None) -> None:
    """Raise UsageError where others could reach the server without a token."""
    if host not in LOOPBACK and token is None:
        raise UsageError(
            f"--host {host} lets others reach the server, so it needs --token-file: openssl rand -hex 32 > token,"
            " chmod 600 token"
        )


class Keys:
    """What proves that a request may be answered; comparing takes the same time wherever two texts differ."""

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.cookie = (
            None if token is None else hmac.new(token.encode(), b"mtlsearch cookie", hashlib.sha256).hexdigest()
        )

    def opens(self, given: str) -> bool:
        """Whether it is the token."""
        return self.token is None or hmac.compare_digest(self.token.encode(), given.encode())

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request has the token or the cookie."""
        if self.token is None or self.cookie is None:
            return True
        kind, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "bearer" and self.opens(given.strip()):
            return True
        try:
            found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(self.cookie.encode(), found.value.encode())


class Guard:
    """Refuses what is not meant for the server, before anything else looks at it."""

    def __init__(self, application: Application, host: str, others: Sequence[str], keys: Keys) -> None:
        self.application, self.host, self.others, self.keys = application, host, others, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *((n, v) for n, v in HEADERS.items() if n not in names)]
            await send(message)

        await self.application(scope, _limited(receive), with_headers)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[int, str, dict[bytes, bytes]] | None:
        """The status, the line and the headers with which a request is refused; None where it is answered."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not any(is_named(name, host) for name in (self.host, *self.others)):
            return 403, "this server answers only to its own address; --allow-host adds another name", {}
        if self._is_foreign(scope, headers, host):
            return 403, "a request from another site is refused", {}
        if scope["path"] not in OPEN and not self.keys.admits(headers):
            if b"text/html" in headers.get(b"accept", b"") and scope["method"] in SAFE:
                return 303, "log in first", {b"location": b"/login"}
            return 401, "this server needs its token: Authorization: Bearer TOKEN", {b"www-authenticate": b"Bearer"}
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return 413, TOO_LARGE, {b"connection": b"close"}
        return None

    def _is_foreign(self, scope: Scope, headers: Mapping[bytes, bytes], host: str) -> bool:
        """Whether a page of another site has sent the request; following a link from there is not refused."""
        site = headers.get(b"sec-fetch-site", b"none").decode("latin-1")
        if site not in ("none", "same-origin"):
            goes_here = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
            return not (goes_here and scope["method"] in SAFE)
        origin = headers.get(b"origin")
        if origin is None:
            return False
        if origin == b"null":
            return True
        return urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()


class TooLarge(HTTPException):
    """A body without a length was longer than it may be; FastAPI lets an error of this kind through."""

    def __init__(self) -> None:
        super().__init__(413, TOO_LARGE)


def _limited(receive: Receive) -> Receive:
    """Receives a body up to its limit; a client may send one without a length."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY:
            raise TooLarge
        return message

    return limited


async def _refuse(send: Send, status: int, why: str, headers: Mapping[bytes, bytes]) -> None:
    import json

    body = json.dumps({"detail": why}).encode()
    given = {b"content-type": b"application/json", b"content-length": str(len(body)).encode(), **headers, **HEADERS}
    await send({"type": "http.response.start", "status": status, "headers": list(given.items())})
    await send({"type": "http.response.body", "body": body})

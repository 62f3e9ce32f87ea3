"""What a server refuses: each with its status, its line, and nothing done."""

import html
import re
from pathlib import Path

import pytest
from commands import refused
from offices import TOKEN, client_of
from starlette.testclient import TestClient

from mtlsearch.service.folder import Folder
from mtlsearch.service.office import Office
from mtlsearch.service.web.security import COOKIE, LARGEST_BODY, Keys

SUBMISSION = {"study": "digits", "trials": 3}
OURS = "http://127.0.0.1:8080"
NASTY = """<script>alert(1)</script>"><img src=x onerror=alert(2)>'&amp;"""


def test_without_the_token_nothing_is_answered_but_the_health(office: Office) -> None:
    client = client_of(office, TOKEN)
    for path in ("/api/v1/searches", "/metrics", "/api/v1/openapi.json", "/dashboard", "/api/studies", "/static/x.js"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    assert client.post("/api/v1/searches", json=SUBMISSION).status_code == 401
    page = client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert client.get("/healthz").json() == {"status": "failing"}  # its scheduler does not run in this test
    assert office.queue.find() == []


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"]
)
def test_a_wrong_token_is_refused(office: Office, given: str) -> None:
    answer = client_of(office, TOKEN).get("/api/v1/searches", headers={"authorization": given.encode("latin-1")})
    assert answer.status_code == 401
    assert TOKEN not in answer.text


def test_the_token_opens_api_pages_and_dashboard(office: Office) -> None:
    client = client_of(office, TOKEN, headers={"authorization": f"Bearer {TOKEN}"})
    assert client.get("/api/v1/searches").json() == {"searches": [], "next_before": None}
    assert client.get("/").status_code == 200
    assert client.get("/dashboard").status_code == 200


def test_a_browser_logs_in_once_and_its_cookie_holds_no_token(office: Office) -> None:
    client = client_of(office, TOKEN)
    wrong = client.post("/login", content="token=wrong")
    assert (wrong.status_code, wrong.cookies.get(COOKIE)) == (401, None)
    entered = client.post("/login", content=f"token={TOKEN}")
    assert entered.status_code == 303
    set_cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in set_cookie
    assert "samesite=lax" in set_cookie
    assert TOKEN not in set_cookie
    assert client.get("/").status_code == 200
    forged = client_of(office, TOKEN, cookies={COOKIE: "0" * 64})
    assert forged.get("/api/v1/searches").status_code == 401


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("mtlsearch.service.web.security.hmac.compare_digest", compare)
    keys = Keys(TOKEN)
    assert keys.opens(TOKEN)
    assert not keys.admits({b"authorization": b"Bearer no", b"cookie": f"{COOKIE}=no".encode()})
    assert len(compared) == 3


def test_another_address_than_loopback_needs_a_token_file_that_others_cannot_read(tmp_path: Path) -> None:
    store = ("--storage", f"sqlite:///{tmp_path / 'store.db'}")
    assert "needs --token-file" in refused("serve", *store, "--host", "0.0.0.0", status=2)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    serve = ("serve", *store, "--host", "0.0.0.0", "--token-file", token)
    assert "can be read by others: chmod 600" in refused(*serve, status=2)
    token.chmod(0o600)
    token.write_text("short\n")
    assert "a token has 16 or more" in refused(*serve, status=2)
    token.unlink()
    assert "cannot be read" in refused(*serve, status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8080.evil.example"},
        {"sec-fetch-site": "cross-site", "origin": OURS},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)
def test_a_post_from_another_site_is_refused(client: TestClient, office: Office, headers: dict[str, str]) -> None:
    for path in ("/api/v1/searches", "/searches", "/login", "/api/studies"):
        assert client.post(path, json=SUBMISSION, headers=headers).status_code == 403, path
    assert office.queue.find() == []


def test_pages_of_another_site_read_nothing_and_may_link_here(client: TestClient) -> None:
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert [client.get("/", headers=each).status_code for each in (fetched, framed, linked)] == [403, 403, 200]
    assert client.get("/").headers["x-frame-options"] == "DENY"
    assert client.post("/api/v1/searches", json=SUBMISSION, headers={"origin": OURS}).status_code == 201


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "box.lab.example.evil.example"])
def test_a_foreign_host_header_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/healthz", "/api/v1/searches", "/dashboard", "/api/studies"):
        assert client.get(path, headers={"host": host}).status_code == 403, path


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "box.lab.example"])
def test_its_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/searches", headers={"host": host}).status_code == 200


def test_a_body_of_100_megabytes_is_refused_before_it_is_read(client: TestClient, office: Office) -> None:
    def pieces():
        for _ in range(100):
            yield b" " * (1 << 20)

    told = client.post("/api/v1/searches", content=b"x" * (LARGEST_BODY + 1))
    assert (told.status_code, told.json()["detail"]) == (413, f"a body has at most {LARGEST_BODY} bytes")
    for path in ("/api/v1/searches", "/searches"):
        untold = client.post(path, content=pieces(), headers={"content-type": "application/json"})
        assert untold.status_code == 413, path
    lying = client.post("/api/v1/searches", content=b"{}", headers={"content-length": "-1"})
    assert lying.status_code == 413
    assert office.queue.find() == []


@pytest.mark.parametrize(
    "study",
    [
        "../secret.py",
        "studies/../../secret.py",
        "/etc/passwd",
        "{folder}/secret.py",
        "{folder}/studies/tiny.py/../../secret.py",
        "link.py",
        "tiny.txt",
        ".hidden.py",
        "nothing",
        "tiny.py\0",
        "a" * 1000 + ".py",
        "os.system",
    ],
)
def test_a_study_outside_the_servers_folder_is_refused(
    client: TestClient, office: Office, tmp_path: Path, study: str
) -> None:
    for name in ("secret.py", "studies/tiny.txt", "studies/.hidden.py"):
        (tmp_path / name).write_text("raise SystemExit")
    (tmp_path / "studies" / "link.py").symlink_to(tmp_path / "secret.py")
    answer = client.post("/api/v1/searches", json={"study": study.replace("{folder}", str(tmp_path))})
    assert answer.status_code == 422
    assert office.queue.find() == []


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".", "a\\b", "/etc/passwd", "a\nb", "a\0b", "", "x" * 201, "\x7f"]
)
def test_a_name_that_is_a_path_is_refused(client: TestClient, office: Office, name: str) -> None:
    assert client.post("/api/v1/searches", json={**SUBMISSION, "name": name}).status_code == 422
    assert office.queue.find() == []


@pytest.mark.parametrize(
    "more",
    [
        {"sampler": "os.system"},
        {"pruner": "subprocess.Popen"},
        {"storage": "sqlite:////tmp/other.db"},
        {"artifacts": "/tmp"},
        {"data": "/etc"},
        {"study_path": "/etc/passwd"},
        {"device": "cuda:0; rm -rf /"},
        {"fixed": {"hidden": "a=b"}},
        {"fixed": {"a\0b": 1}},
        {"score": "x" * 5000},
        {"trials": "5"},
        {"unknown": 1},
    ],
)
def test_options_that_are_the_servers_own_or_wrong_are_refused(client: TestClient, office: Office, more: dict) -> None:
    assert client.post("/api/v1/searches", json={**SUBMISSION, **more}).status_code == 422
    assert office.queue.find() == []


def test_a_path_in_the_address_reaches_no_file(client: TestClient) -> None:
    for path in ("/searches/..%2f..%2fetc%2fpasswd", "/api/v1/searches/../../etc/passwd", "/static/..%2f..%2f_app.py"):
        assert client.get(path).status_code in (403, 404, 422), path
    assert client.get("/api/v1/searches/1/trials?format=../../x").status_code in (404, 422)


def test_html_is_escaped_in_every_field_that_a_page_shows(client: TestClient, office: Office) -> None:
    name = NASTY.replace("/", "")
    (office.machine.studies.folder / f"{name}.py").write_text("")
    given = {"study": f"{name}.py", "name": name, "score": NASTY, "fixed": {NASTY: NASTY.replace("=", "")}, "trials": 3}
    search_id = client.post("/api/v1/searches", json=given).json()["id"]
    queued = office.find(search_id)
    secret = office.queue.take(queued, {"pid": 1}, NASTY[:32], 0)
    assert secret is not None
    told = {"trials": 2, "best": 0.5, "curve": [[0, 0.4], [1, 0.5]], "verdict": NASTY, "line": NASTY}
    office.queue.end(office.find(search_id), "failed", NASTY, told)
    folder: Folder = office.folder
    folder.make(search_id)
    folder.log(search_id).write_text(NASTY)
    office.scheduler.trouble = NASTY
    pages = [
        client.get(path).text
        for path in ("/", f"/searches/{search_id}", f"/searches/{search_id}/card", f"/searches/{search_id}/delete")
    ]
    pages.append(client.post("/searches", content=f"study={NASTY}&trials=3").text)
    pages.append(client.post(f"/searches/{search_id}/delete", content="confirm=no").text)
    for text in pages:
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        body = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
        assert "alert(1)" in html.unescape(body)
    log = client.get(f"/api/v1/searches/{search_id}/log")
    assert log.headers["content-type"].startswith("text/plain")
    assert log.headers["x-content-type-options"] == "nosniff"

"""The API answers as its description says, whatever is sent; and its options are those of the command line."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from offices import client_of, office_in
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.errors import SerializationNotPossible
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from mtlsearch.cli.main import main
from mtlsearch.service.office import Office
from mtlsearch.service.results import NotYet, Results
from mtlsearch.service.submission import KINDS, arguments, check_options, model_of, remote_fields
from mtlsearch.tuning.options.flags import Options
from mtlsearch.tuning.options.training import RunOptions

EXAMPLES = int(os.environ.get("MTLSEARCH_EXAMPLES", "8"))  # requests of each kind to each route
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """A server with a search in each state, and its description."""
    folder = tmp_path_factory.mktemp("described")
    office = office_in(folder)
    (folder / "result.json").write_text("{}")
    for number, state in enumerate(("queued", "running", "done", "failed", "stopped")):
        search, _ = office.queue.submit("run", "digits", f"n{number}", {"trials": 3})
        if state == "queued":
            continue
        secret = office.queue.take(search, {"pid": 1}, "auto", 0)
        assert secret is not None
        office.queue.begin(search.id, secret, {"pid": 1})
        if state != "running":
            office.queue.end(office.find(search.id), state, None, {"trials": 3, "best": 0.5, "curve": [[0, 0.5]]})

    async def make(self: Results, search: object, kind: str) -> Path:
        if kind == "report":
            raise NotYet("no complete trial yet")
        return folder / "result.json"

    patch = pytest.MonkeyPatch()
    patch.setattr(Results, "make", make)
    patch.setattr("mtlsearch.service.web.security.is_named", lambda host, header: True)
    guard = client_of(office).app

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":  # each request would start and end the server
            for part in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{part}.complete"})
        else:
            await guard(scope, receive, send)

    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", application)
    patch.undo()
    office.queue.close()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_is_answered_in_a_way_that_is_not_described(
    described: schemathesis.BaseSchema, mode: GenerationMode
) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 16
    answers: Counter[int] = Counter()
    for operation in operations:
        try:
            cases = operation.as_strategy(generation_mode=mode)
        except SerializationNotPossible:
            continue

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=cases)
        def holds(case: schemathesis.Case) -> None:
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "study" in case.body:
                case.body["study"] = "digits"  # which studies there are is not in the description
            answer = case.call()
            answers[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing can be wrong where nothing is sent
            holds()
    assert answers[422 if mode is GenerationMode.NEGATIVE else 201]


def test_the_description_has_every_route_and_every_option_of_run(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    routes = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    assert "POST /api/v1/searches" in routes
    assert len(routes) >= 16
    given = described["components"]["schemas"]["RunSubmission"]["properties"]
    own = {each.name for each in fields(RunOptions)}
    server = {"storage", "artifacts", "data", "quiet", "devices", "ray", "workers", "resources", "asked_first"}
    assert own - given.keys() == server | ({"mlflow", "tensorboard"} & own)
    assert given["trials"]["default"] == 100
    assert (given["trials"]["minimum"], given["trials"]["maximum"]) == (1, 10**6)
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    assert all(path in page.text for path in described["paths"])


GIVEN = {
    "trials": 7,
    "score": {"left": 1.0, "right": 2.5},
    "at_least": {"left": 0.9, "a=b": 1},
    "fixed": {"hidden": 32, "weight:left": 0.25, "norm": "batch"},
    "single": False,
    "confirm": False,
    "threads": 1,
    "timeout": 3.5,
    "sampler": "random",
    "name": "a name",
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_options_become_arguments_that_the_command_line_reads_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {each.name for each, _, _ in remote_fields(KINDS[kind])}
    given = {name: value for name, value in GIVEN.items() if name in known}
    if kind == "compare":
        given["methods"] = ["famo", "rlw"]
    check_options(kind, given)
    command = main.commands[kind]
    context = command.make_context(kind, ["digits", *arguments(kind, given)])
    read = {name: value for name, value in context.params.items() if name in given}
    assert read.pop("score", None) in ("left=1.0,right=2.5", None)
    for name in ("at_least", "fixed"):
        if name in read:
            assert read.pop(name) == {key: str(value) for key, value in GIVEN[name].items()}
    expected = {name: value for name, value in given.items() if name in read}
    assert read == {**expected, **({"methods": ("famo", "rlw")} if kind == "compare" else {})}


def test_every_default_of_a_request_is_the_commands() -> None:
    for kind, options in KINDS.items():
        model = model_of(kind)
        own: dict[str, object] = {each.name: each.default for each in fields(options)}  # type: ignore[arg-type]
        for name, field in model.model_fields.items():
            if name not in ("study", "priority"):
                assert field.default == (list(own[name]) if isinstance(own[name], tuple) else own[name]), name
        assert issubclass(options, Options)


def test_a_list_comes_in_pages_and_by_state_and_name(client: TestClient, office: Office) -> None:
    ids = [office.queue.submit("run", "digits", f"n{i % 2}", {})[0].id for i in range(5)]
    first = client.get("/api/v1/searches?limit=2").json()
    assert [each["id"] for each in first["searches"]] == ids[:2:-1]
    second = client.get(f"/api/v1/searches?limit=3&before={first['next_before']}").json()
    assert ([each["id"] for each in second["searches"]], second["next_before"]) == (ids[2::-1], None)
    assert len(client.get("/api/v1/searches?name=n1").json()["searches"]) == 2
    assert len(client.get("/api/v1/searches?state=queued&state=done").json()["searches"]) == 5
    assert client.get("/api/v1/searches?state=done").json()["searches"] == []


def test_the_same_key_is_one_search_and_another_submission_with_it_a_conflict(client: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    one, two = (client.post("/api/v1/searches", json={"study": "digits"}, headers=key) for _ in range(2))
    assert (one.status_code, two.status_code) == (201, 200)
    assert one.json() == two.json()
    assert one.headers["location"] == f"/api/v1/searches/{one.json()['id']}"
    other = client.post("/api/v1/searches", json={"study": "poisson"}, headers=key)
    assert other.status_code == 409
    assert len(client.get("/api/v1/searches").json()["searches"]) == 1


def test_a_form_submits_what_the_api_would(client: TestClient, office: Office) -> None:
    form = "study=digits&trials=9&confirm=no&single=&threads=auto&fixed=hidden%3D32%0D%0Anorm%3Dbatch&timeout=2.5&key=f"
    for _ in range(2):  # a form that is sent twice is one search
        answer = client.post("/searches", content=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/searches/1")
    (found,) = office.queue.find()
    expected = {
        "trials": 9,
        "confirm": False,
        "threads": "auto",
        "fixed": {"hidden": "32", "norm": "batch"},
        "timeout": 2.5,
    }
    assert found.options == expected
    wrong = client.post("/searches", content="study=digits&trials=many")
    assert wrong.status_code == 422
    assert "trials must be a number" in wrong.text


def test_a_device_that_the_server_does_not_have_is_refused(client: TestClient, office: Office) -> None:
    from offices import on_devices

    there = client_of(on_devices(office, "cuda:0", "cuda:1"))
    assert there.post("/api/v1/searches", json={"study": "digits", "device": "cuda:1"}).status_code == 201
    refused = there.post("/api/v1/searches", json={"study": "digits", "device": "cuda:7"})
    assert (refused.status_code, json.loads(refused.text)["detail"]) == (
        422,
        "this server has no device 'cuda:7': it has cuda:0, cuda:1",
    )

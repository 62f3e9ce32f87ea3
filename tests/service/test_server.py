"""A real server with real searches: what a client submits is trained, shown, stopped, fetched and deleted."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import command, done, refused, stored
from serving import DIRECT, TINY, Served

import mtlsearch
from mtlsearch.service.remote.client import ServiceError

if TYPE_CHECKING:
    from postgres_server import PostgresServer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served")).start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="module")
def finished(served: Served) -> mtlsearch.service.remote.client.RemoteSearch:
    """A search of four trials that has ended."""
    search = served.client.submit(**TINY, trials=4, name="first")
    assert search.wait()["state"] == "done", served.log
    return search


def get(served: Served, path: str) -> str:
    with DIRECT.open(f"{served.url}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def test_a_search_that_is_submitted_has_its_trials_and_its_best_score(served: Served, finished) -> None:
    now = finished.status()
    trials = stored(served.folder / "store.db", "first")
    assert (now["state"], now["trials"], now["total"]) == ("done", 4, 4)
    assert len(trials) == 4
    best = max(trial.value for trial in trials if trial.value is not None)
    assert now["best"] == best == now["curve"][-1]["score"]
    assert now["options"] == {**{k: v for k, v in TINY.items() if k != "study"}, "trials": 4}


def test_results_are_those_of_the_command_line(served: Served, finished, tmp_path: Path) -> None:
    url = f"sqlite:///{served.folder / 'store.db'}"
    own = done("best", "--storage", url, "--name", "first", "--json").json
    assert finished.best() == own
    done("fetch", "first", "--server", served.url, "-o", tmp_path / "best.json", "--trials", tmp_path / "trials.csv")
    assert json.loads((tmp_path / "best.json").read_text())["trial"] == own["trial"]
    assert (tmp_path / "trials.csv").read_text().count("\n") == 5
    done("fetch", finished.id, "--server", served.url, "--checkpoint", tmp_path / "best.safetensors")
    model = mtlsearch.load_model(tmp_path / "best.safetensors", study=str(served.folder / "studies" / "tiny.py"))
    assert list(model.tasks) == ["a", "b"]


def test_the_report_and_the_dashboard_show_the_study(served: Served, finished) -> None:
    assert "first" in get(served, f"/searches/{finished.id}/report")
    studies = json.loads(get(served, "/api/studies"))["study_summaries"]
    assert "first" in [each["study_name"] for each in studies]
    assert "<title>" in get(served, "/dashboard")


def test_commands_submit_follow_and_list(served: Served) -> None:
    to = ("--server", served.url)
    options = ("--trials", 2, "--epochs", 1, "--threads", 1, "--population", 1, "--no-confirm", "--name", "second")
    told = done("submit", "tiny.py", *options, *to, "--wait", "--json")
    assert told.json["state"] == "done"
    assert told.json["trials"] == 2
    assert "is queued" in told.err or "is starting" in told.err
    assert re.search(r"done +second +2/2", done("status", *to).out)
    assert "is done: 2 of 2 trials" in done("status", "second", *to).out
    assert done("status", "second", "--wait", *to).out.startswith("search")
    assert refused("stop", "second", *to).endswith("there is nothing to stop")
    assert "none of that study" in refused("status", "nothing", *to)


def test_a_search_that_fails_shows_its_reason_and_its_log(served: Served) -> None:
    (served.folder / "studies" / "wrong.py").write_text("study = 1\n")
    search = served.client.submit("wrong.py", trials=1)
    failed = search.wait()
    assert failed["state"] == "failed"
    assert "must define `study = Study(...)`" in failed["reason"]
    assert "must define" in get(served, f"/api/v1/searches/{search.id}/log")
    assert command("status", search.id, "--server", served.url).status == 1


@pytest.mark.slow
def test_a_search_on_postgresql_is_queued_trained_killed_and_fetched(server: "PostgresServer", tmp_path: Path) -> None:
    served = Served(tmp_path, ("--artifacts", "kept"), server.url()).start()
    try:
        search = served.client.submit(**TINY, trials=40, name="remote")
        before = next(now for now in search.follow() if now["trials"] >= 1)
        served.kill()
        served.start()
        now = search.wait()
        assert (now["state"], now["trials"], now["total"]) == ("done", 40, 40)
        assert now["began"] == before["began"]
        assert search.best()["trial"] >= 0
        search.delete("remote")
        assert served.client.searches() == []
        assert "s3cret" not in served.log
        assert not any("s3cret" in path.read_text() for path in tmp_path.rglob("log"))
    finally:
        served.stop()


def test_metrics_tell_queue_trials_and_leases(served: Served, finished) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    found = {family.name: family for family in text_string_to_metric_families(get(served, "/metrics"))}
    states = {sample.labels["state"]: sample.value for sample in found["mtlsearch_searches"].samples}
    assert states["done"] >= 1
    assert {
        "mtlsearch_trials_per_second",
        "mtlsearch_trial_epochs_per_second",
        "mtlsearch_lease_oldest_seconds",
    } <= set(found)
    assert {"mtlsearch_queue_oldest_seconds", "mtlsearch_device_memory_bytes"} <= set(found)


def test_a_graceful_stop_pauses_searches_within_ten_seconds_and_they_go_on_until_they_are_stopped_and_deleted(
    served: Served,
) -> None:
    search = served.client.submit(**TINY, trials=5000, name="paused", key="k")
    assert served.client.submit(**TINY, trials=5000, name="paused", key="k").id == search.id
    before = next(now for now in search.follow() if now["trials"] >= 1)
    begun = time.monotonic()
    assert served.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 10
    served.start()
    now = next(now for now in search.follow() if now["trials"] > before["trials"])
    assert now["reason"] is None
    search.stop()
    stopped = search.wait()
    assert stopped["state"] == "stopped"
    # The scheduler may take it before the answer is written.
    assert search.resume(trials=stopped["trials"])["state"] in {"queued", "starting", "running", "done"}
    assert search.wait()["state"] == "done"
    with pytest.raises(ServiceError, match=r"this deletes search .* 'paused' with its \d+ trials"):
        search.delete("")
    search.delete("paused")
    with pytest.raises(ServiceError, match="there is no search"):
        search.status()
    assert "holds no study 'paused'" in refused(
        "best", "paused", "--storage", f"sqlite:///{served.folder / 'store.db'}"
    )
    assert not (served.folder / "store.service" / str(search.id)).exists()

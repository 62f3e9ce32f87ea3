"""The queue and the scheduler, without processes: who begins when, on what, and that nothing begins twice."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from offices import office_in, on_devices

from mtlsearch.processes import this_process
from mtlsearch.service.office import Office
from mtlsearch.service.queue import Conflict, Queue
from mtlsearch.service.scheduler import MOST_TRIES

if TYPE_CHECKING:
    from postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    """An empty queue on each kind of store."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("server")
        url = server.url()
    made = Queue(url, create=True)
    yield made
    with made.connection() as connection:
        connection.exec_driver_sql("DELETE FROM mtlsearch_searches")
    made.close()


def test_a_search_is_taken_begun_and_ended_once(queue: Queue) -> None:
    search, is_new = queue.submit("run", "digits", "d", {"trials": 3}, 2, "key")
    assert is_new
    assert queue.submit("run", "digits", "d", {"trials": 3}, 2, "key") == (search, False)
    with pytest.raises(Conflict, match="another submission"):
        queue.submit("run", "digits", "d", {"trials": 4}, 2, "key")
    me = this_process()
    secret = queue.take(search, me, "cpu", 0)
    assert secret is not None
    assert queue.take(search, me, "cpu", 0) is None
    assert not queue.begin(search.id, "another secret", me)
    assert queue.begin(search.id, secret, me)
    assert not queue.begin(search.id, secret, me)
    running = queue.get(search.id)
    assert running is not None
    assert (running.state, running.owner, running.device, running.tries) == ("running", me, "cpu", 1)
    assert not queue.delete(search.id)
    assert queue.end(running, "done", None, {"trials": 3})
    assert not queue.end(running, "failed", None, {})
    assert queue.counts() == {"queued": 0, "starting": 0, "running": 0, "done": 1, "failed": 0, "stopped": 0}
    assert queue.queue_again(search.id, {"trials": 5})
    again = queue.get(search.id)
    assert again is not None
    assert (again.state, again.options, again.progress) == ("queued", {"trials": 5}, {"trials": 3})


def test_a_launch_that_was_given_up_begins_nothing(queue: Queue) -> None:
    search, _ = queue.submit("run", "digits", "d", {})
    secret = queue.take(search, this_process(), "auto", 0)
    assert secret is not None
    taken = queue.get(search.id)
    assert taken is not None
    assert queue.end(taken, "queued", None, {})
    assert not queue.begin(search.id, secret, this_process())


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office whose processes sleep and do not begin."""
    made = office_in(tmp_path)
    begun: list[subprocess.Popen[bytes]] = []

    def start(search_id: int, secret: str, command: Any) -> "subprocess.Popen[bytes]":
        begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        made.queue.begin(
            search_id, secret, {**this_process(), "pid": begun[-1].pid, "started": _started(begun[-1].pid)}
        )
        return begun[-1]

    monkeypatch.setattr(made.scheduler, "_start", start)
    yield made
    monkeypatch.undo()  # a test may have replaced `os.kill`
    for process in begun:
        process.kill()
        process.wait()
    made.queue.close()


def _started(pid: int) -> int | None:
    from mtlsearch.processes import _started as started

    return started(pid)


def running(office: Office) -> dict[str, str | None]:
    office.scheduler.look()
    return {each.name: each.device for each in office.queue.find(states=["running"])}


def submitted(office: Office, name: str, priority: int = 0, device: str = "auto") -> int:
    return office.queue.submit("run", "digits", name, {"device": device}, priority)[0].id


def test_higher_priority_goes_first_then_first_come(office: Office) -> None:
    ids = {name: submitted(office, name, priority) for name, priority in (("low", -1), ("a", 0), ("b", 0), ("high", 5))}
    order = []
    for _ in ids:
        (name,) = running(office)
        order.append(name)
        process = office.scheduler.children[ids[name]]
        office.folder.result(ids[name]).write_text("{}")
        process.terminate()
        process.wait()
        office.folder.result(ids[name]).write_text('{"verdict": {"lines": ["well"]}}')
        process.returncode = 0
        office.scheduler.look()
    assert order == ["high", "a", "b", "low"]
    assert {each.state for each in office.queue.find()} == {"done"}
    assert office.show(office.find(ids["a"])).verdict == "well"


def test_each_device_has_its_searches_and_two_of_one_study_do_not_run_at_once(office: Office) -> None:
    there = on_devices(office, "cuda:0", "cuda:1", at_once=2)
    for name in ("a", "b", "c"):
        submitted(there, name, device="cuda:1")
    submitted(there, "a")
    submitted(there, "d")
    assert running(there) == {"a": "cuda:1", "b": "cuda:1", "d": "cuda:0"}
    command = there.machine.command(there.queue.find(name="d")[0], "cuda:0")
    assert command == [
        "run",
        "digits",
        "--name=d",
        "--device=cuda:0",
        f"--artifacts={there.machine.artifacts}",
        "--json",
    ]


def test_a_killed_process_goes_on_and_one_that_dies_without_progress_fails_with_its_reason(office: Office) -> None:
    search_id = submitted(office, "dies")
    for _ in range(MOST_TRIES):
        assert running(office)
        office.scheduler.children[search_id].kill()
        office.scheduler.children[search_id].wait()
        office.scheduler.is_leaving = True
        office.scheduler.look()
        office.scheduler.is_leaving = False
        now = office.find(search_id)
        assert "SIGKILL" in (now.reason or "")
    assert now.state == "failed"
    assert now.reason == f"its process was ended by SIGKILL, {MOST_TRIES} times without a new trial in between"


def test_a_process_that_never_begins_is_started_a_few_times_and_then_has_failed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id = submitted(office, "broken")

    def start(*arguments: Any) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(75)"])
        process.wait()
        office.folder.log(search_id).write_text("mtlsearch: no module\n")
        return process

    monkeypatch.setattr(office.scheduler, "_start", start)
    for _ in range(2 * MOST_TRIES):
        office.scheduler.look()
    failed = office.find(search_id)
    assert failed.state == "failed"
    assert failed.reason == f"its process did not begin, {MOST_TRIES} times: no module"


def test_a_search_that_was_told_to_pause_is_not_told_twice(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    search_id = submitted(office, "pausing")
    assert running(office)
    office.queue.want(search_id, "pause")  # by a server before, which did not wait long enough
    told: list[int] = []
    monkeypatch.setattr("mtlsearch.service.scheduler.os.kill", lambda pid, number: told.append(pid))
    office.scheduler.look()
    assert told == []
    office.queue.want(search_id, "stop")
    office.scheduler.look()
    office.scheduler.look()
    assert told == [office.scheduler.children[search_id].pid]


def test_a_store_that_is_away_is_a_trouble_that_passes(office: Office, tmp_path: Path) -> None:
    from offices import client_of

    client = client_of(office)
    scheduler = office.scheduler
    for suffix in ("", "-wal", "-shm"):
        path = tmp_path / f"store.db{suffix}"
        if path.exists():
            path.rename(tmp_path / f"away{suffix}")
    office.queue.engine.dispose()
    answer = client.get("/api/v1/searches")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "it cannot be opened" in answer.json()["detail"]
    scheduler.start()
    try:
        _until(lambda: scheduler.trouble is not None)
        assert client.get("/healthz").status_code == 503
        for suffix in ("", "-wal", "-shm"):
            if (tmp_path / f"away{suffix}").exists():
                (tmp_path / f"away{suffix}").rename(tmp_path / f"store.db{suffix}")
        _until(lambda: scheduler.trouble is None)
        assert client.get("/healthz").json() == {"status": "ok"}
    finally:
        scheduler.leave(0.5)


def test_a_full_disk_leaves_a_search_in_the_queue(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    search_id = submitted(office, "full")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(office.scheduler, "_start", full)
        with pytest.raises(Exception, match="No space left on device"):
            office.scheduler.look()
    assert office.find(search_id).state == "queued"
    assert running(office) == {"full": "auto"}


def _until(holds: Any) -> None:
    import time

    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)

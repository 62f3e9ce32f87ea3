"""optuna-dashboard, in a real browser, on a store to which a run is writing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner
from optuna.trial import FrozenTrial, TrialState
from playwright.sync_api import Browser, Page

from mtlsearch.cli.main import main

SCRIPTS = Path(sys.executable).parent
PATIENCE_S = 180.0
BEST = re.compile(r"Best Trial \(number=(\d+)\)\s+([\d.e-]+)")


@dataclass(frozen=True)
class Live:
    """A search in another process, and its store."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'mtlsearch.db'}"

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials as plain Optuna reads them."""
        storage = optuna.storages.RDBStorage(self.url)
        try:
            study = optuna.load_study(study_name="digits", storage=storage)
            return study.get_trials(deepcopy=False, states=states or None)
        finally:
            storage.engine.dispose()

    def announced(self) -> int:
        """The number of complete trials that the search has announced; from the first on its store can be read."""
        return (self.folder / "mtlsearch.stderr").read_text().count(" complete after ")

    def best(self) -> FrozenTrial:
        complete = self.trials(TrialState.COMPLETE)
        return max(complete, key=lambda trial: (trial.value, -trial.number))


def start(program: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    """An installed program with its stderr in a file; a pipe could fill up and stop it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / f"{program}.stderr").open("w") as errors:
        return subprocess.Popen(
            [SCRIPTS / program, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
        )


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Wait for `what` while `process` lives."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None, f"{process.args} ended with {process.returncode} before {what}"
        assert time.monotonic() < deadline, f"no {what} after {PATIENCE_S:g} s"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A search of `digits` that outlasts every test here, once it has finished a few trials."""
    folder = tmp_path_factory.mktemp("live")
    quick = ("--epochs", "5", "--population", "1", "--pruner", "none", "--threads", "1")  # compiles nothing
    process = start("mtlsearch", "run", "digits", "--trials", "100000", *quick, folder=folder)
    search = Live(process, folder)
    try:
        wait_until(lambda: search.announced() >= 3, process, "three complete trials")
        yield search
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


@contextmanager
def served(program: str, *arguments: str, folder: Path) -> Iterator[str]:
    """The address of a served dashboard, which ends as by Ctrl-C."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(program, *arguments, "--port", str(port), folder=folder)
    try:
        wait_until(lambda: answers(port), process, "an answer of the dashboard")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def address(live: Live) -> Iterator[str]:
    """The address at which `mtlsearch dashboard` serves the store."""
    with served("mtlsearch", "dashboard", "--storage", live.url, folder=live.folder) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    page.close()


def study_page(page: Page, address: str) -> str:
    """The text of the page of `digits`, opened from the list of studies as a person does."""
    page.goto(address)
    page.get_by_text(re.compile(r"^1\. digits$")).click()
    page.get_by_text("Best Trial (number=").wait_for()
    page.get_by_text("trial #0").first.wait_for()
    return page.inner_text("body")


def trial_page(page: Page, address: str, number: int) -> str:
    """The text of one trial's page."""
    page.goto(f"{address}/dashboard/studies/1/trials?numbers={number}")
    page.get_by_text("User Attributes").wait_for()
    page.get_by_role("heading", name=f"Trial {number} (").wait_for()
    return page.inner_text("body")


@pytest.mark.slow
def test_best_value_on_the_page_is_the_stores_while_a_run_writes(live: Live, page: Page, address: str) -> None:
    check_best_value(live, page, address)


@pytest.mark.slow
def test_unmodified_optuna_dashboard_shows_the_best_value_too(live: Live, page: Page) -> None:
    with served("optuna-dashboard", live.url, folder=live.folder) as address:
        check_best_value(live, page, address)


def check_best_value(live: Live, page: Page, address: str) -> None:
    """Assert that the best trial on the page has this value in the store, and was best at that time."""
    before = live.best()
    shown = BEST.search(study_page(page, address))
    after = live.best()
    assert live.process.poll() is None, "the run ended too soon for this test to say anything"
    assert shown is not None
    number, value = int(shown[1]), float(shown[2])
    assert live.trials()[number].value == pytest.approx(value, abs=1e-9)
    assert before.value is not None
    assert after.value is not None
    assert before.value - 1e-9 <= value <= after.value + 1e-9


@pytest.mark.slow
def test_page_of_a_trial_shows_its_weights_metrics_and_every_epoch(live: Live, page: Page, address: str) -> None:
    best = live.best()
    text = trial_page(page, address, best.number)
    assert f"task_weights {json.dumps(best.user_attrs['task_weights'])}" in text
    for task, metrics in best.user_attrs["validation"].items():
        for metric, value in metrics.items():
            assert f"{task} {metric} {value}" in text
    for step, score in best.intermediate_values.items():
        assert f"{step} {score}" in text
    assert len(best.intermediate_values) == best.user_attrs["epochs"]


@pytest.mark.slow
def test_study_page_names_the_score_and_draws_learning_curves(live: Live, page: Page, address: str) -> None:
    text = study_page(page, address)
    assert re.search(r"y Axis\s+mean", text)
    assert "Intermediate values" in text
    curves = set(re.findall(r"trial #(\d+)", text))
    complete = {str(trial.number) for trial in live.trials(TrialState.COMPLETE)}
    assert len(curves & complete) >= 3


def test_dashboard_without_a_store_makes_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["dashboard", "--storage", f"sqlite:///{tmp_path / 'none.db'}"])
    assert result.exit_code == 1
    assert re.fullmatch(r"mtlsearch: .*none\.db.*\n", result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_taken_port_is_an_error_of_one_line(live: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["dashboard", "--storage", live.url, "--port", str(port)])
    assert result.exit_code == 2
    assert re.fullmatch(rf"mtlsearch: .*127\.0\.0\.1:{port}.*--port.*\n", result.stderr)


def test_address_beyond_loopback_gives_a_warning(live: Live, tmp_path: Path) -> None:
    arguments = ["dashboard", "--storage", live.url, "--host", "0.0.0.0"]
    with served("mtlsearch", *arguments, folder=tmp_path):
        pass
    assert "has no password" in (tmp_path / "mtlsearch.stderr").read_text()

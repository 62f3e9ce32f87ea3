"""The report: a page that fetches nothing, in a real browser; the notes and figures of the dashboard."""

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from commands import contents, done, refused
from optuna.trial import TrialState
from playwright.sync_api import Browser, Page
from plotly.offline import get_plotlyjs
from report_stores import states, store

from mtlsearch.cli.main import main
from mtlsearch.report import dashboard, dashboard_figures
from mtlsearch.report.dashboard import publish
from mtlsearch.report.dashboard_figures import WithFigures, figures_of
from mtlsearch.report.page_tables import Cell, tasks_table
from mtlsearch.report.reading import Report, read_report
from mtlsearch.report.reproduce import commands
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.finding import find_record
from mtlsearch.study.score import Score, parsed_score

TWO = {"mnist": "accuracy", "fashion": "accuracy"}
MANY = {f"attribute {i}": "accuracy" for i in range(14)}
EVIL = "<script>alert(1)</script>\"'&</title>`|%{x}"
HOSTILE = {EVIL: "accuracy", "x</script><img src=x onerror=alert(2)>": "accuracy"}


class Elements(HTMLParser):
    """The elements of a page with their attributes, the text of each script, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        last = self.found[-1][0] if self.found else ""
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif last != "style":
            self.words.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'mtlsearch.db'}"


def reported(folder: Path, *options: object) -> str:
    """The page that the command writes for the only study of the store in `folder`."""
    done("report", "--storage", url(folder), "-o", folder / "report.html", *options)
    return (folder / "report.html").read_text(encoding="utf-8")


def report_of(folder: Path) -> Report:
    with open_storage(url(folder), create=False) as storage:
        return read_report(find_record(storage, None, folder))


def made(folder: Path, *arguments: Any, **options: Any) -> Path:
    with store(folder, *arguments, **options):
        return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two tasks, searched, confirmed and compared; no test changes it."""
    return made(tmp_path_factory.mktemp("two"), TWO, states(30), seeds=3, compared=True)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with names that are code unless they are escaped."""
    folder, found = tmp_path_factory.mktemp("evil"), [*states(12), TrialState.FAIL]
    return made(folder, HOSTILE, found, name=EVIL, seeds=2, compared=True, source=EVIL)


@pytest.fixture(scope="module")
def page_of_two(two: Path) -> str:
    return reported(two)


# The words.


def test_page_has_the_mean_on_test_beside_that_on_validation(two: Path, page_of_two: str) -> None:
    report = report_of(two)
    assert report.verdict is not None
    assert report.answer is not None
    found = tasks_table(report)
    assert found is not None
    row = dict(zip(found.head, [Cell("mean score"), *found.foot["mean score"]], strict=True))
    value, tuned = report.answer["score"]["value"], report.verdict["score"]["mean"]
    assert row["validation"].value == f"{100 * value:.2f} %"
    assert 100 * tuned == pytest.approx(float(row["tuned, test"].value.removesuffix(" %")), abs=0.5)
    assert row["equal, test"].interval.startswith("(")
    words = " ".join(" ".join(Elements(page_of_two).words).split())
    assert f"mean score {row['validation'].value} {row['tuned, test'].value} {row['tuned, test'].interval}" in words
    alone = replace(report, answer={**report.answer, "task_weights": {"mnist": 1.0}}, concluded=None)
    assert (tasks_table(alone) or found).foot == {}


def test_page_has_every_line_of_the_verdict_as_it_is_printed(two: Path, page_of_two: str) -> None:
    verdict, elements = report_of(two).verdict, Elements(page_of_two)
    assert verdict is not None
    assert len(verdict["lines"]) >= 5
    for line in verdict["lines"]:
        assert line in elements.words


def test_page_has_every_task_and_every_method_with_its_cost(two: Path, page_of_two: str) -> None:
    words, report = Elements(page_of_two).words, report_of(two)
    assert report.answer is not None
    assert report.comparison is not None
    for task, weight in report.answer["task_weights"].items():
        assert task in words
        assert f"{weight:.4f}" in words
    for method in report.comparison["methods"]:
        assert method["method"] in words
        assert f"{method['trial_epochs']:,}" in words
    assert report.comparison["lines"][0] in words
    assert report.digest in words


def test_page_of_an_unconfirmed_study_names_the_command_that_confirms_it(tmp_path: Path) -> None:
    words = Elements(reported(made(tmp_path, TWO, states(9)))).words
    best = report_of(tmp_path).best
    assert best is not None
    assert "Not confirmed yet" in words
    assert any(line.startswith(f"trial {best.number} is the best of the search") for line in words)
    assert "mtlsearch confirm digits --name made" in words


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "no trial has ended yet"),
        ([TrialState.PRUNED] * 3, "no trial is complete yet"),
        ([TrialState.FAIL] * 2, "the loss of task a is not finite in epoch 2"),
    ],
)
def test_page_of_a_study_without_a_complete_trial_says_so(tmp_path: Path, found: list[TrialState], said: str) -> None:
    words = Elements(reported(made(tmp_path, TWO, found))).words
    assert said in words
    assert "No answer yet" in words
    assert "mtlsearch run digits --name made" in words


def test_page_says_that_trials_came_after_the_confirmation(two: Path, tmp_path: Path) -> None:
    with store(tmp_path, TWO, states(9), seeds=2) as record:
        record.study.add_trial(record.trials()[0])
        record.storage.flush()
    words = " ".join(Elements(reported(tmp_path)).words)
    assert "the confirmation is of the first 9 of 10 trials" in words


def test_commands_on_the_page_are_commands_of_mtlsearch(two: Path, evil: Path) -> None:
    for report in (report_of(two), report_of(evil)):
        lines = [line for _, text in commands(report) for line in text.split("\n")]
        called = [shlex.split(line) for line in lines if line.startswith("mtlsearch ")]
        assert [words[1] for words in called] == ["run", "confirm", "compare", "export", "verify"]
        for _, name, *arguments in called:
            main.commands[name].make_context(name, arguments)
    report = report_of(two)
    run = shlex.split(next(commands(report))[1])
    assert run[run.index("--trials") + 1] == "30"
    assert run[run.index("--seed") + 1] == "0"


def test_search_is_reproduced_with_its_score_and_what_it_must_reach(two: Path) -> None:
    report, weights = report_of(two), {"x, y": 2.0, "ä=1": 0.5}
    fingerprint = {**report.info["fingerprint"], "at least": {"ä=1": 0.25}}
    about = {"scoring": Score(weights).describe(), "score": Score(weights).name, "fingerprint": fingerprint}
    run = shlex.split(next(commands(replace(report, info={**report.info, **about})))[1])
    assert parsed_score(run[run.index("--score") + 1], list(weights)).of == weights
    assert run[run.index("--at-least") + 1] == "ä=1=0.25"
    named = {**report.info, **about, "score": "harmonic"}
    assert "--score" not in next(commands(replace(report, info=named)))[1]


# One file that fetches nothing.


def test_page_names_no_other_resource_and_lets_only_its_own_scripts_run(page_of_two: str) -> None:
    elements = Elements(page_of_two)
    for tag, attributes in elements.found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "href", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    [policy] = [a["content"] for a in elements.tags("meta") if a.get("http-equiv")]
    run = [s for s, a in zip(elements.scripts, elements.tags("script"), strict=True) if "type" not in a]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert policy is not None
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert page_of_two.count(get_plotlyjs()) == 1


def test_hostile_names_are_only_text_on_the_page_and_in_its_data(evil: Path) -> None:
    text = reported(evil)
    elements = Elements(text)
    assert elements.tags("img") == []
    assert [a for a in elements.tags("script") if "type" not in a] == [{}, {}, {}]
    assert elements.words.count(EVIL) >= 2
    without_plotly = text.replace(get_plotlyjs(), "")
    assert without_plotly.count("</script>") == len(elements.scripts)
    for script, attributes in zip(elements.scripts, elements.tags("script"), strict=True):
        if attributes.get("type") == "application/json":
            json.loads(script)


def test_page_of_a_thousand_trials_is_below_eight_megabytes(tmp_path: Path) -> None:
    made(tmp_path, TWO, states(1000))
    assert len(reported(tmp_path).encode()) < 8e6
    figures = [s for s in Elements((tmp_path / "report.html").read_text()).scripts if s.startswith('{"data"')]
    assert max(map(len, figures)) < 500_000


def test_report_changes_nothing_in_the_store_and_needs_no_torch(two: Path, tmp_path: Path) -> None:
    before = contents(two)
    code = (
        "import sys; from mtlsearch.cli import main\n"
        f"main(['report', '--storage', {url(two)!r}, '-o', {str(tmp_path / 'r.html')!r}], standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
    assert (tmp_path / "r.html").stat().st_size > 1e6
    assert contents(two) == before


# In a browser.


def opened(browser: Browser, path: Path, width: int, scheme: Any) -> tuple[Page, list[str]]:
    """The page once it has drawn every figure, offline, and its errors, messages and requests."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=all]", timeout=120_000)
    return page, wrong


def check_layout(page: Page) -> None:
    """Assert that each figure is drawn and as wide as its place, and that the page does not scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    figures = page.locator(".plot:visible")
    assert figures.count() >= 3
    for i in range(figures.count()):
        figure = figures.nth(i)
        assert figure.locator("svg.main-svg").count() >= 1
        assert figure.locator(".scatterlayer .trace").count() >= 1
        box, inner = figure.bounding_box(), figure.locator("svg.main-svg").first.bounding_box()
        assert box is not None
        assert inner is not None
        assert abs(box["width"] - inner["width"]) < 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_page_draws_its_figures_offline_in_the_colours_of_the_scheme(
    browser: Browser, two: Path, page_of_two: str, width: int
) -> None:
    page, wrong = opened(browser, two / "report.html", width, "light")
    check_layout(page)
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    assert page.evaluate(ink) == "rgb(58, 67, 80)"
    page.emulate_media(color_scheme="dark")
    page.locator(".plot[data-drawn=dark]").last.wait_for()
    assert page.evaluate(ink) == "rgb(197, 204, 214)"
    check_layout(page)
    assert wrong == []
    page.context.close()


@pytest.mark.slow
def test_hostile_names_run_nothing_in_a_browser(browser: Browser, evil: Path) -> None:
    reported(evil)
    page, wrong = opened(browser, evil / "report.html", 400, "dark")
    check_layout(page)
    page.locator("details summary").first.click()
    assert page.inner_text("h1") == EVIL
    assert page.locator("img").count() == 0
    assert wrong == []
    page.context.close()


@pytest.mark.slow
def test_folded_figure_of_many_tasks_is_drawn_on_opening_and_scrolls(browser: Browser, tmp_path: Path) -> None:
    reported(made(tmp_path, MANY, states(12)))
    page, wrong = opened(browser, tmp_path / "report.html", 400, "light")
    folded = page.locator("#all-metrics .plot")
    assert folded.locator("svg.main-svg").count() == 0
    page.locator("#all-metrics summary").click()
    folded.locator("svg.main-svg").first.wait_for()
    assert page.locator("#all-metrics .scroll").evaluate("place => place.scrollWidth > place.clientWidth")
    check_layout(page)
    assert wrong == []
    page.context.close()


# Pictures.


@pytest.mark.slow
def test_every_figure_is_written_as_a_picture(chromium: Path, tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    made(tmp_path, TWO, states(6))
    reported(tmp_path, "--png", tmp_path / "pictures")
    files = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert set(files) == {f"{name}.png" for name in ("trade-off", "learning-curves", "best-so-far", "hyperparameters")}
    assert all(data.startswith(b"\x89PNG") and len(data) > 10_000 for data in files.values())


@pytest.mark.parametrize(
    ("missing", "rule"),
    [
        ("kaleido", "they need kaleido (pip install kaleido) and Chrome or Chromium"),
        ("browser", "they need Chrome or Chromium; BROWSER_PATH names one that is not on the PATH"),
    ],
)
def test_page_is_written_without_a_program_for_pictures_and_one_line_names_it(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, rule: str
) -> None:
    if missing == "kaleido":
        monkeypatch.setitem(sys.modules, "kaleido", None)
    else:
        pytest.importorskip("kaleido")
        monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    page, folder = tmp_path / "r.html", tmp_path / "pictures"
    outcome = done("report", "made", "--storage", url(two), "-o", page, "--png", folder)
    [line] = [line for line in outcome.err.splitlines() if "no PNGs" in line]
    assert line.startswith(f"mtlsearch: no PNGs: {rule}")
    assert page.stat().st_size > 1e6
    assert not list(folder.glob("*"))


# Bad input.


def test_report_without_a_store_makes_nothing(tmp_path: Path) -> None:
    assert "there is no such file" in refused("report", "--storage", url(tmp_path), "-o", tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "pictures", "rule"),
    [
        ("missing/r.html", None, "there is no folder"),
        ("", None, "it is a folder"),
        ("r.html", "there.txt", "--png names a folder"),
        ("r.html", "missing/pictures", "there is no folder"),
    ],
)
def test_place_that_cannot_be_written_is_an_error_before_anything_is_written(
    two: Path, tmp_path: Path, output: str, pictures: str | None, rule: str
) -> None:
    (tmp_path / "there.txt").touch()
    options = () if pictures is None else ("--png", tmp_path / pictures)
    assert rule in refused("report", "--storage", url(two), "-o", tmp_path / output, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["there.txt"]


def test_error_for_an_unknown_study_names_the_studies_of_the_store(two: Path, tmp_path: Path) -> None:
    line = refused("report", "nothing", "--storage", url(two), "-o", tmp_path / "r.html")
    assert "holds no study 'nothing'; it holds: made" in line


# The dashboard.


def shown(record: Any) -> str:
    """The note as the dashboard reads it."""
    return optuna_dashboard.get_note(record.study)


def test_dashboard_gets_the_verdict_as_a_note(tmp_path: Path) -> None:
    with store(tmp_path, TWO, states(30), seeds=2, compared=True) as record:
        publish(record)
        verdict, note = read_report(record).verdict, shown(record)
        publish(record)
        assert shown(record) == note
    assert verdict is not None
    assert verdict["sentence"] in note.replace("\\", "")
    assert record.study.user_attrs["verdict"] == verdict["sentence"]


@pytest.mark.parametrize("lengths", [(5000, 100, 3000), (1, 4090, 0)])
def test_note_is_written_as_the_dashboard_itself_would(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    with store(tmp_path, TWO, []) as record:
        for version, length in enumerate(lengths, 1):
            text = "".join(f"{i % 10}" for i in range(length))
            dashboard.save_note(record.study, text)
            assert shown(record) == text
            assert record.storage.get_study_system_attrs(record.study._study_id)[dashboard.VERSION] == version
        optuna_dashboard.save_note(record.study, "by a person")
        assert shown(record) == "by a person"


def test_end_of_a_run_imports_neither_plotly_nor_the_dashboard() -> None:
    code = "import sys, mtlsearch.report.dashboard; print({'plotly', 'optuna_dashboard'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def asked(application: Any, path: str) -> dict[str, Any]:
    """The answer of the dashboard's server to a browser."""
    environment: dict[str, Any] = {}
    setup_testing_defaults(environment)
    environment["PATH_INFO"] = path
    begun: list[Any] = []
    body = b"".join(application(environment, lambda *arguments: begun.append(arguments)))
    ((status, pairs, *_),) = begun
    headers = dict(pairs)
    assert status == "200 OK"
    assert int(headers["Content-Length"]) == len(body)
    found: dict[str, Any] = json.loads(body)
    return found


def test_page_of_a_study_has_the_figures_that_the_dashboard_does_not_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counted(report: Report) -> dict[str, str]:
        drawn.append(report.name)
        return figures_of(report)

    monkeypatch.setattr(dashboard_figures, "figures_of", counted)
    with store(tmp_path, TWO, states(30), seeds=2, compared=True) as record:
        optuna.create_study(storage=record.storage, study_name="foreign")
        record.storage.flush()
        with open_storage(url(tmp_path), create=False) as storage:
            application = WithFigures(optuna_dashboard.wsgi(storage), storage, tmp_path)
            listed = asked(application, "/api/studies")["study_summaries"]
            studies = {each["study_name"]: each["study_id"] for each in listed}
            assert not drawn
            page = f"/api/studies/{studies['made']}"
            detail = asked(application, page)
            figures = {each["id"]: json.loads(each["graph_object"]) for each in detail["plotly_graph_objects"]}
            assert set(figures) == {f"mtlsearch-{n}" for n in ("trade-off", "confirmation", "methods")}
            for figure in figures.values():
                assert figure["data"]
                assert figure["layout"]["title"]["text"]
                assert "height" not in figure["layout"]
            assert len(detail["trials"]) == 30
            assert asked(application, page) == detail
            for other in ("foreign", "made/confirmation"):
                assert asked(application, f"/api/studies/{studies[other]}")["plotly_graph_objects"] == []
            assert drawn == ["made"]
            record.study.set_user_attr("comparison", {})
            record.storage.flush()
            assert len(asked(application, page)["plotly_graph_objects"]) == 2


def test_figures_that_cannot_be_drawn_leave_the_page_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard_figures, "read_report", lambda record: 1 / 0)
    with store(tmp_path, TWO, states(6)) as record:
        application = WithFigures(optuna_dashboard.wsgi(record.storage), record.storage, tmp_path)
        assert asked(application, f"/api/studies/{record.study._study_id}")["plotly_graph_objects"] == []
    assert capsys.readouterr().err == (
        "mtlsearch: the dashboard shows no figures of made (ZeroDivisionError: division by zero)\n"
    )


def test_confirmation_page_of_the_dashboard_says_that_its_scores_are_not_to_be_ranked(tmp_path: Path) -> None:
    from mtlsearch.evidence.trainings import find_confirmation

    with store(tmp_path, TWO, states(9), seeds=2) as record:
        publish(record)
        confirmation = find_confirmation(record)
        assert confirmation is not None
        assert "Do not rank them by score" in shown(confirmation)
        assert "not to be ranked" in confirmation.study.user_attrs["scores"]


def test_note_before_confirmation_and_before_any_trial_says_so(tmp_path: Path) -> None:
    with store(tmp_path, TWO, states(6)) as record:
        publish(record)
        assert "Not confirmed" in shown(record)
    (tmp_path / "none").mkdir()
    with store(tmp_path / "none", TWO, []) as record:
        publish(record)
        assert shown(record) == dashboard.note(read_report(record))
        assert "No trial is complete yet" in shown(record)


def test_names_are_no_markup_in_a_note(tmp_path: Path) -> None:
    with store(tmp_path, {"[a](http://x)": "accuracy", "*b*|c": "accuracy"}, states(6), seeds=2) as record:
        publish(record)
        note = shown(record)
    for line in note.splitlines():
        assert "[a]" not in line
        assert "*b*" not in line
    assert r"\[a\]\(http://x\)" in note
    assert r"\*b\*\|c" in note


def test_finished_run_succeeds_although_the_dashboard_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "save_note", lambda study, text: 1 / 0)
    with store(tmp_path, TWO, states(3)) as record:
        publish(record)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("mtlsearch: the dashboard shows no verdict (ZeroDivisionError")


@pytest.mark.parametrize(("tasks", "trials"), [(TWO, 1000), ({f"t{i}": "accuracy" for i in range(600)}, 22)])
def test_very_many_trials_or_tasks_are_published_in_a_second(
    tmp_path: Path, tasks: dict[str, str], trials: int
) -> None:
    with store(tmp_path, tasks, states(trials), seeds=2 if tasks is TWO else 0) as record:
        publish(record)
        before = time.process_time()
        publish(record)
        assert time.process_time() - before < 1.0

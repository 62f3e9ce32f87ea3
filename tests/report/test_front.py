"""The part of the page that answers questions: its sliders agree with the command line, offline, in both schemes."""

from pathlib import Path

import pytest
from commands import done
from known_trials import known_store
from playwright.sync_api import Browser, Page

REACHED = [[0.95, 0.95], [0.99, 0.80], [0.98, 0.96], [0.90, 0.98], [0.985, 0.85], [0.93, 0.97]]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("front")
    with known_store(folder, REACHED):
        pass
    done("report", "known", "--storage", f"sqlite:///{folder}/mtlsearch.db", "-o", folder / "r.html")
    return folder / "r.html"


def opened(browser: Browser, html: Path, width: int = 1280, scheme: str = "light") -> Page:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(html.as_uri())
    page.wait_for_selector("body[data-drawn=all]", timeout=60_000)
    page.wait_for_function("document.querySelector('#front .plot').data?.[2].x.length === 1")
    return page


def move(page: Page, kind: str, task: int, value: float) -> None:
    script = "([k, t, v]) => { const e = document.querySelectorAll(`#front input[data-${k}]`)[t]; e.value = v;"
    page.evaluate(script + " e.dispatchEvent(new Event('input', {bubbles: true})); }", [kind, task, value])


def test_sliders_answer_as_the_command_does(browser: Browser, html: Path) -> None:
    page = opened(browser, html)
    answer = page.locator("#answer")
    assert answer.inner_text().startswith("Trial 2: mnist 98.00 %, fashion 96.00 %")
    page.select_option("#choice", "1")
    assert answer.inner_text().startswith("Trial 3:")
    move(page, "least", 0, 0.985)
    assert answer.inner_text().startswith("Trial 4:")
    assert "of 2 of 6 trials" in answer.inner_text()
    assert "mtlsearch confirm digits --name known --trial 4" in page.locator("#export").inner_text()
    move(page, "least", 1, 0.97)
    assert "No trial of 6 meets the requirements: each is met by some trial" in answer.inner_text()
    move(page, "least", 0, 0)
    move(page, "least", 1, 0)
    page.select_option("#choice", "prefer")
    for weights, number in (((1, 9), 5), ((1, 1), 2), ((10, 0), 1)):
        for task, weight in enumerate(weights):
            move(page, "weight", task, weight)
        asked = f"mnist={weights[0]},fashion={weights[1]}" if all(weights) else ""
        assert answer.inner_text().startswith(f"Trial {number}:")
        if asked:
            store = f"sqlite:///{html.parent}/mtlsearch.db"
            assert done("best", "known", "--prefer", asked, "--storage", store, "--json").json["trial"] == number


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light"), (400, "dark")])
def test_a_click_picks_a_trial_and_nothing_is_wider_than_the_page(
    browser: Browser, html: Path, width: int, scheme: str
) -> None:
    page = opened(browser, html, width, scheme)
    emit = "document.querySelector('#front .plot').emit('plotly_click', {points: [{customdata: 5}]})"
    page.evaluate(emit)
    assert page.locator("#answer").inner_text().startswith("Trial 5:")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

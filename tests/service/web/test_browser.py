"""The pages in a real browser: submit, watch, read the report, download the JSON; at 1280 and at 400 px."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from serving import Served

WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("browsed")).start()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    page.set_default_timeout(120_000)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda told: pytest.fail(told.text) if told.type == "error" else None)
    yield page
    page.close()


@pytest.mark.slow
def test_a_person_submits_watches_opens_the_report_and_downloads_the_json(
    served: Served, page: Page, tmp_path: Path
) -> None:
    page.goto(served.url)
    page.get_by_label("study").first.select_option("tiny.py")
    page.get_by_label("trials", exact=False).first.fill("30")
    page.get_by_label("name").first.fill("by <b>hand<b>")
    page.get_by_text("All options of").click()
    for label, value in (("epochs", "2"), ("threads", "1"), ("population", "1")):
        page.locator(f"[name={label}]").fill(value)
    page.locator("[name=confirm]").select_option("no")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Submit").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/searches/1")
    assert page.get_by_role("heading", name="by <b>hand<b>").count() == 1
    # Nobody reloads: the card is fetched again as the search goes on.
    page.locator(".card.running").wait_for()
    page.locator(".card.done").wait_for()
    assert page.locator(".card").inner_text().count("30 of 30 trials") == 1
    assert page.locator(".curve polyline").count() == 1
    assert "trial 29" in page.locator("#log").inner_text()
    with page.expect_download() as begun:
        page.get_by_role("link", name="best config").click()
    begun.value.save_as(tmp_path / "best.json")
    assert json.loads((tmp_path / "best.json").read_text())["format"] == "mtlsearch/config/1"
    page.get_by_role("link", name="report").click()
    page.get_by_text("mtlsearch report").wait_for()
    assert page.get_by_role("heading", name="by <b>hand<b>").count() == 1
    page.go_back()
    page.get_by_role("link", name="Delete").click()
    page.get_by_text("It cannot be undone").wait_for()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("No search has been submitted yet").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_window_and_can_be_read(served: Served, browser: Browser, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda told: wrong.append(told.text))
    for path in ("/", "/login", "/api/v1/docs"):
        page.goto(f"{served.url}{path}", wait_until="domcontentloaded")
        assert page.evaluate("document.documentElement.scrollWidth") == width, path
        ink, back = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
        assert contrast(ink, back) > 7
        if os.environ.get("MTLSEARCH_SHOTS"):
            name = path.strip("/").replace("/", "-") or "start"
            page.screenshot(path=Path(os.environ["MTLSEARCH_SHOTS"]) / f"{name}-{width}-{scheme}.png", full_page=True)
    assert wrong == []
    context.close()


def contrast(one: str, other: str) -> float:
    """The contrast of two CSS colours, from 1 to 21 (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)

"""The page in a browser: no errors, no request leaves it, no scrolling sideways, prints on A4.

Skipped, visibly, where there is no Chromium or no Playwright to drive it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reported import Month, Reporter

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

BOX = re.compile(rb"/MediaBox \[([0-9. ]+)\]")
LEAVING_THE_WINDOW = """[...document.querySelectorAll('body *:not(.unseen):not(thead, thead *)')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
LETTER_HEIGHTS = """[...document.querySelectorAll('svg.chart')]
    .map(s => Math.floor(12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"""
LEAVING_ITS_DRAWING = """[...document.querySelectorAll('svg.chart text')].filter(t => {
    const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect()
    return a.width && (a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1)
}).map(t => t.textContent)"""
MONTHS = ["demo", "hostile", "plain", "empty"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(month, language) for month in MONTHS for language in ("en", "zh")], ids="-".join)
def path(request: pytest.FixtureRequest, report: Reporter) -> Path:
    month, language = request.param
    settled: Month = request.getfixturevalue(month)
    return report(settled, language)


@pytest.mark.parametrize("width", [320, 360, 768, 1024, 1280])
def test_the_page_loads_quietly_and_never_scrolls_sideways(browser: Any, path: Path, width: int) -> None:
    said: list[str] = []
    requested: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: requested.append(request.url))
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(LEAVING_THE_WINDOW) == []
    tab.close()
    assert said == []
    assert [url for url in requested if not url.startswith("data:")] == [path.as_uri()]


def test_the_texts_of_a_drawing_can_be_read_on_a_telephone(
    browser: Any, report: Reporter, demo: Month
) -> None:
    """At 360 pixels a letter is still 10 pixels high, and no text leaves its drawing."""
    tab = browser.new_page(viewport={"width": 360, "height": 800})
    tab.goto(report(demo).as_uri())
    heights, leaving = tab.evaluate(LETTER_HEIGHTS), tab.evaluate(LEAVING_ITS_DRAWING)
    tab.close()
    assert heights
    assert min(heights) >= 10
    assert leaving == []


def test_it_prints_on_a4_with_its_draft_mark(browser: Any, report: Reporter, demo: Month) -> None:
    tab = browser.new_page()
    tab.goto(report(demo).as_uri())
    printed = tab.pdf(prefer_css_page_size=True, print_background=True)
    tab.emulate_media(media="print")
    mark = tab.locator(".watermark")
    assert mark.is_visible()
    tab.close()
    boxes = {tuple(size.split(b".")[0] for size in box.split()) for box in BOX.findall(printed)}
    assert boxes == {(b"0", b"0", b"594", b"841")} or boxes == {(b"0", b"0", b"595", b"841")}


def test_a_reader_sees_the_figures_of_the_ledger(browser: Any, report: Reporter, demo: Month) -> None:
    tab = browser.new_page()
    tab.goto(report(demo).as_uri())
    shown = tab.locator("[data-name=payable_points] data").inner_text()
    crossed = tab.locator("#daily_course figcaption").first.inner_text()
    tab.close()
    assert shown.replace(",", "") == str(demo.value("select sum(payable_points) from current_settlements"))
    assert crossed.startswith("Crossed on 2026-03-")

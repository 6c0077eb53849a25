"""The page in a real browser: nothing for axe to complain of, light and dark, wide, narrow and printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from meshmark.report.html import html

from .conftest import Told

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]

OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(cut: Told, whole: Told, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole run with two of its rounds: all kinds of parts, at a size that axe walks quickly."""
    directory: Path = tmp_path_factory.mktemp("page")
    file = directory / "report.html"
    run = type(whole.run)(
        **{field: getattr(whole.run, field) for field in whole.run.__slots__} | {"rounds": whole.run.rounds[:2]}
    )
    summary = whole.summary.model_copy(update={"rounds_done": 2, "warnings": (*cut.summary.warnings, "x" * 400)})
    file.write_text(html(run, summary), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, address: str, scheme: Literal["light", "dark"]) -> None:
    page = browser.new_page(viewport=WIDE, color_scheme=scheme)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    found = axe.Axe().run(page)
    page.close()
    assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == []


def test_dark_is_dark_and_light_is_light(browser: Any, address: str) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
        page.close()
    assert shades["dark"] < 200 < 600 < shades["light"]


def test_it_asks_for_nothing_but_itself(browser: Any, address: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    page.evaluate(OPEN_ALL)
    page.close()
    assert (asked, said) == ([address], [])


def test_it_needs_no_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("svg.chart").first.is_visible()
    assert page.locator("#answer table").first.is_visible()
    context.close()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_hangs_out_of_the_page(browser: Any, address: str, viewport: dict[str, int]) -> None:
    page = browser.new_page(viewport=viewport)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width == viewport["width"]


def test_words_in_pictures_are_not_cut(browser: Any, address: str) -> None:
    """Names may stand a few pixels out of their picture, where the page has room; not more."""
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    cut = page.evaluate(
        """() => [...document.querySelectorAll('svg.chart')].flatMap(svg => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.width && (box.left < frame.left - 16 || box.right > frame.right + 16);
            }).map(text => text.textContent);
        })"""
    )
    page.close()
    assert cut == []


def test_the_keyboard_reaches_the_answer_first(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#answer"
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer")
    page.close()


def test_the_figures_of_the_answer_fit_the_first_printed_page(browser: Any, address: str) -> None:
    """A4 less its margins, at the 96 pixels an inch that a printed page is laid out with."""
    page = browser.new_page(viewport={"width": 695, "height": 1017})
    page.goto(address)
    page.emulate_media(media="print")
    bottom = page.evaluate("document.querySelector('#figures').getBoundingClientRect().bottom")
    assert bottom <= 1017
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.close()

"""The page in a real browser: nothing for axe to complain of, light and dark, wide, narrow and printed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.report import panels, rounds
from meshmark.report.forms import FORMS
from meshmark.report.html import html
from meshmark.topology import Link, MeshCluster, Topology

from .conftest import METHOD, PLAN, Told, told

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]

OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
CHECKED: dict[str, dict[str, list[str]]] = {"light": {}, "dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}
"""By axe: all in light; in dark what has to do with colour, since nothing else is different there."""


@pytest.fixture(scope="module", autouse=True)
def _fewer_of_a_kind() -> Iterator[None]:
    """A round's pictures and the rows of the tables under them are alike, and axe takes milliseconds for each word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "FORMS", FORMS[::9])
        patch.setattr(rounds, "TABLE_ROWS_MAX", 2)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(cut: Told, whole: Told, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a whole run with pictures of two rounds: all kinds of parts, at a size that axe walks quickly."""
    directory: Path = tmp_path_factory.mktemp("page")
    file = directory / "report.html"
    summary = whole.summary.model_copy(update={"rounds_done": 2, "warnings": (*cut.summary.warnings, "x" * 400)})
    file.write_text(html(whole.run, summary, (1, 2)), encoding="utf-8")
    return file.as_uri()


CLUSTERS = (MeshCluster(name="west", brokers=2, clients=1), MeshCluster(name="east", brokers=1, gateway=True))


def stretched() -> Plan:
    """Two clusters at two distances, one of them behind a gateway where there is a mesh, and a link that loses."""
    scenarios = []
    for rtt_ms in (7, 24):
        link = Link(ends=("west", "east"), rtt_ms=rtt_ms, loss=0.001)
        for plane in (DataPlane.PLAIN, DataPlane.ISTIO_MTLS):
            clusters = CLUSTERS if plane.mtls else tuple(e.model_copy(update={"gateway": False}) for e in CLUSTERS)
            scenarios.append(
                Scenario(
                    name=f"{rtt_ms}ms-{plane}",
                    baseline=f"{rtt_ms}ms-plain",
                    data_plane=plane,
                    method=METHOD,
                    cluster=ClusterSpec(topology=Topology(clusters=clusters, links=(link,))),
                )
            )
    return PLAN.model_copy(update={"repeats": 2, "baseline": "7ms-plain", "scenarios": tuple(scenarios)})


def swept() -> Plan:
    """Disks under a cap and none, each setup with its logs on them."""
    plan = planfile.select(planfile.builtin("disk-sweep"), ("10mb-*", "nocap-*"))
    return planfile.furnished(planfile.effort(plan, "quick"))


def on_both_disks() -> Plan:
    """A profile's disks and RAM beside each other."""
    plan = planfile.select(planfile.builtin("banzai-2019"), ("plain", "istio-mtls"))
    equipped = planfile.equipped(plan, "eks-r5.4xlarge-io1", None)
    return planfile.furnished(planfile.effort(planfile.unmasked(equipped, "both"), "quick"))


PLANS = {"geography": stretched, "disk sweep": swept, "both disks": on_both_disks}


@pytest.fixture(scope="module", params=list(PLANS))
def special(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with parts of its own: the answer's tables by distance, or by disk. Pictures of one round."""
    directory: Path = tmp_path_factory.mktemp("special")
    made = told(directory / "run", PLANS[request.param]())
    file = directory / "report.html"
    file.write_text(html(made.run, made.summary, (1,)), encoding="utf-8")
    return file.as_uri()


def complaints(page: Any, context: str | None = None) -> list[tuple[str, str, str]]:
    found = []
    for scheme, options in CHECKED.items():
        page.emulate_media(color_scheme=scheme)
        told = axe.Axe().run(page, context, {"resultTypes": ["violations"], **options}).response
        assert "color-contrast" in {each["id"] for each in told["passes"]}
        found += [(scheme, each["id"], each["nodes"][0]["html"]) for each in told["violations"]]
    return found


def complaints_of_all(browser: Any, address: str) -> list[tuple[str, str, str]]:
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    found = complaints(page)
    page.close()
    return found


def test_axe_finds_nothing(browser: Any, address: str) -> None:
    assert complaints_of_all(browser, address) == []


def test_dark_is_dark_and_light_is_light(browser: Any, address: str) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
        page.close()
    assert shades["dark"] < 200 < 600 < shades["light"]


def asked_and_said(browser: Any, address: str) -> tuple[list[str], list[str]]:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    page.evaluate(OPEN_ALL)
    page.close()
    return asked, said


def test_it_asks_for_nothing_but_itself(browser: Any, address: str) -> None:
    assert asked_and_said(browser, address) == ([address], [])


def test_it_needs_no_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("svg.chart").first.is_visible()
    assert page.locator("#answer table").first.is_visible()
    assert page.locator(".span").first.is_hidden()
    context.close()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_hangs_out_of_the_page(browser: Any, address: str, viewport: dict[str, int]) -> None:
    page = browser.new_page(viewport=viewport)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert width == viewport["width"]


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_letters_in_charts_are_no_smaller_than_10_pixels(browser: Any, address: str, viewport: dict[str, int]) -> None:
    page = browser.new_page(viewport=viewport)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('svg.chart text')].filter(each => each.checkVisibility())
            .map(each => parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a)"""
    )
    page.close()
    assert len(sizes) > 100
    assert min(sizes) >= 10


def too_wide_for_paper(browser: Any, address: str) -> list[str]:
    """Tables that a sheet of A4 less its margins cuts, or for which a browser shrinks everything."""
    page = browser.new_page(viewport={"width": 695, "height": 1017})
    page.goto(address)
    page.evaluate(OPEN_ALL)
    page.emulate_media(media="print")
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.scroll')]
            .filter(each => each.checkVisibility() && each.scrollWidth > each.clientWidth)
            .map(each => each.getAttribute('aria-label'))"""
    )
    page.close()
    return list(cut)


def test_every_table_fits_a_sheet_of_paper(browser: Any, address: str) -> None:
    assert too_wide_for_paper(browser, address) == []


def words_cut(browser: Any, address: str) -> list[str]:
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
    return list(cut)


def test_words_in_pictures_are_not_cut(browser: Any, address: str) -> None:
    assert words_cut(browser, address) == []


def test_the_keyboard_reaches_the_answer_first(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#answer"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}#answer")
    page.close()


def test_a_page_with_parts_of_its_own_holds_as_well(browser: Any, special: str) -> None:
    """One page after the other, since each is a run: nothing for axe, nothing asked for, nothing cut or hanging out,
    and the keyboard gets through to every table that scrolls."""
    assert complaints_of_all(browser, special) == []
    assert asked_and_said(browser, special) == ([special], [])
    assert words_cut(browser, special) == []
    assert too_wide_for_paper(browser, special) == []
    for viewport in (WIDE, NARROW):
        page = browser.new_page(viewport=viewport)
        page.goto(special)
        page.evaluate(OPEN_ALL)
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        page.close()
    page = browser.new_page(viewport=WIDE)
    page.goto(special)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer")
    places = page.evaluate(
        "[...document.querySelectorAll('#answer a, #answer summary, #answer .scroll')]"
        ".filter(each => each.checkVisibility()).length"
    )
    for _ in range(places):
        page.keyboard.press("Tab")
    reached = page.evaluate("document.activeElement.compareDocumentPosition(document.querySelector('#answer'))")
    page.close()
    assert reached & 8, "the last of the answer's places is inside of it"


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


def times(page: Any, place: int) -> list[list[str]]:
    """The time axes of all pictures of a round, each once."""
    pictures = page.locator("details.round").nth(place).locator("svg.chart")
    found: list[list[str]] = pictures.evaluate_all(
        "all => [...new Set(all.map(svg => [...svg.querySelectorAll('.time text')].map(each => each.textContent)"
        ".join(' ')))].map(text => text.split(' '))"
    )
    return found


def shows(page: Any, place: int, axes: list[list[str]]) -> bool:
    """In the end: a page hears of another medium a moment after it has it."""
    for _ in range(100):
        if times(page, place) == axes:
            return True
        page.wait_for_timeout(50)
    return False


def drag(page: Any, picture: Any, start: float, end: float) -> None:
    """From one share of a plot's width to another."""
    picture.scroll_into_view_if_needed()
    box = picture.locator("rect.plot").bounding_box()
    height = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, height)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, height, steps=3)
    page.mouse.up()


def test_a_drag_over_one_picture_shows_that_time_in_all_of_its_round(browser: Any, address: str) -> None:
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    page.evaluate(OPEN_ALL)
    first = page.locator("details.round").first
    whole, other = times(page, 0), times(page, 1)
    end_s = float(first.get_attribute("data-end-s"))
    drag(page, first.locator("svg.chart").nth(1), 0.75, 0.5)
    (axis,) = times(page, 0)
    shown = [float(text.replace(",", "")) for text in axis]
    assert len(shown) > 2
    assert end_s * 0.49 <= min(shown) <= max(shown) <= end_s * 0.76
    from_s, to_s = (float(each.input_value()) for each in first.locator("input").all())
    assert (from_s / end_s, to_s / end_s) == pytest.approx((0.5, 0.75), abs=0.01)
    assert f"{from_s:g} to {to_s:g} s" in first.locator("output").text_content()
    assert page.evaluate("String(getSelection())") == ""
    assert times(page, 1) == other
    page.emulate_media(media="print")
    assert shows(page, 0, whole)
    page.emulate_media(media="screen")
    assert shows(page, 0, [axis])
    first.get_by_role("button", name="Whole round").click()
    assert times(page, 0) == whole
    page.close()


def test_what_was_measured_stays_at_its_time(browser: Any, address: str) -> None:
    """The edge of a measured window, in the picture and by the scale of its axis."""
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    edges = """
        () => [...document.querySelector("details.round svg.chart").querySelectorAll("g.marks > rect")].map(path => {
            const box = path.getBoundingClientRect(), svg = path.closest(".chart");
            const [one, other] = [...svg.querySelectorAll(".time text")].map(text => {
                const place = text.getBoundingClientRect();
                return {x: place.left + place.width / 2, s: Number(text.textContent)};
            });
            return one.s + (box.left - one.x) * (other.s - one.s) / (other.x - one.x);
        })
    """
    before = page.evaluate(edges)
    for _ in range(2):
        page.locator("details.round").first.get_by_role("button", name="Closer").click()
    assert before
    assert page.evaluate(edges) == pytest.approx(before, abs=0.25)
    page.close()


def test_the_keyboard_zooms(browser: Any, address: str) -> None:
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    first = page.locator("details.round").first
    whole = times(page, 0)
    start, end = first.locator("input").all()
    start.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("6")
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    page.keyboard.press("Tab")
    assert (start.input_value(), end.input_value()) == ("4", "6")
    assert first.locator("output").text_content() == "Shown: 4 to 6 s"
    assert page.evaluate("document.activeElement.textContent") == "Closer"
    for name, said in (("Wider", "3 to 7 s"), ("Later", "5 to 9 s"), ("Earlier", "3 to 7 s")):
        first.get_by_role("button", name=name).press("Enter")
        assert first.locator("output").text_content() == f"Shown: {said}"
    first.get_by_role("button", name="Whole round").press("Space")
    assert times(page, 0) == whole
    page.close()


def test_axe_finds_nothing_in_a_round_that_is_zoomed(browser: Any, address: str) -> None:
    page = browser.new_page(viewport=WIDE)
    page.goto(address)
    page.locator("details.round").first.get_by_role("button", name="Closer").click()
    assert complaints(page, "details.round") == []
    page.close()

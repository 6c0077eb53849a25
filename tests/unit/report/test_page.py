"""The page: complete, offline, escaped, and built so that everybody can read it."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from meshmark import store
from meshmark.analysis.summary import summarize
from meshmark.errors import UsageError
from meshmark.record import Event, Proof, RoundStarted
from meshmark.report import charts, rounds, sections
from meshmark.report.accounts import self_tests
from meshmark.report.html import html
from meshmark.report.lines import Window, lines
from meshmark.report.panels import Line, Panel
from meshmark.report.rounds import LOG_LINES, TABLE_ROWS_MAX
from meshmark.report.style import COLOURS, DASHES

from .conftest import PLAN, Tell, Told

HOSTILE = "<script>alert('x')</script><img src=//example.com onerror=alert(1)>\"'&{{ 7 * 7 }}"

SMALL = PLAN.model_copy(update={"repeats": 1, "scenarios": PLAN.scenarios[:1]})

Attributes = dict[str, str | None]


class Elements(HTMLParser):
    """Start tags in their order, with the elements around them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, Attributes, tuple[str, ...]]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), tuple(self._open)))
        if tag not in ("meta", "link", "br", "img", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def all(self, *tags: str) -> Iterator[Attributes]:
        return (attributes for tag, attributes, _ in self.found if tag in tags)


@pytest.fixture(scope="module")
def page(whole: Told) -> str:
    return html(whole.run, whole.summary)


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_it_asks_nobody_for_anything(page: str, elements: Elements) -> None:
    tags = {tag for tag, _, _ in elements.found}
    assert tags.isdisjoint({"link", "iframe", "img", "object", "embed", "image", "use", "base", "form"})
    targets = [
        value for _, attributes, _ in elements.found for key, value in attributes.items() if key in ("href", "src")
    ]
    assert [target for target in targets if not str(target).startswith("#")] == []
    assert not re.search(r"@import|url\(", page)


def test_a_policy_forbids_what_is_not_in_the_page(page: str, elements: Elements) -> None:
    """Of scripts it allows the one that meshmark has, by its digest."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [
        each["content"] for each in elements.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]
    assert [attributes for attributes in elements.all("script") if attributes] == []


def test_the_headline_stands_before_every_table(page: str) -> None:
    assert page.index("carried less than plain") < page.index("<table")


def test_it_has_every_part(page: str) -> None:
    for part in ("answer", "limits", "environment", "searches", "ledger", "path", "rounds", "record"):
        assert f'<section id="{part}"' in page
        assert f'href="#{part}"' in page


def test_every_link_of_a_page_leads_to_something_on_it(page: str, tell: Tell) -> None:
    """Of one with data planes of all kinds, and of one with plain alone, which has nothing to prove."""
    small = tell(SMALL)
    for text in (page, html(small.run, small.summary)):
        elements = Elements(text)
        targets = {str(each["href"])[1:] for each in elements.all("a") if str(each.get("href", "")).startswith("#")}
        assert "path" in targets
        assert targets - {str(each.get("id")) for _, each, _ in elements.found} == set()


def test_the_proofs_say_who_encrypts_which_hop(page: str) -> None:
    for plane, who in (("kafka-tls", "kafka"), ("istio-mtls", "envoy")):
        assert f" {plane}: client-broker, broker-broker by {who}." in page
    assert " istio: " not in page.partition("What was shown before any load")[2].partition("</section>")[0]


def test_results_are_in_the_section_of_the_environment(page: str) -> None:
    section = page[page.index('<section id="environment"') :].partition("</section>")[0]
    assert "Results against what the environment gives" in section


def test_every_round_has_its_section(page: str, whole: Told) -> None:
    titles = re.findall(r"<summary><h3>(.*?)</h3>", page)
    assert titles == [f"Round {slot.index}: {slot.scenario}, repeat {slot.repeat}" for slot in whole.run.plan.order()]


def test_headings_are_in_order(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_references_resolve(elements: Elements) -> None:
    ids = Counter(attributes["id"] for _, attributes, _ in elements.found if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    labels = {attributes["aria-labelledby"] for _, attributes, _ in elements.found if "aria-labelledby" in attributes}
    links = {str(each["href"]).removeprefix("#") for each in elements.all("a")}
    assert labels | links <= set(ids)


def test_every_picture_has_words_and_a_table(page: str, elements: Elements) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) > 30
    assert [
        figure for figure in figures if not all(part in figure for part in ("<figcaption", "<svg", "<table"))
    ] == []
    assert all(each.get("aria-hidden") == "true" for each in elements.all("svg"))


def test_tables_say_what_their_cells_belong_to(page: str, elements: Elements) -> None:
    assert [each for each in elements.all("th") if "scope" not in each] == []
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert [table for table in tables if not re.search(r"<caption[^>]*>\S", table)] == []


def test_pictures_take_their_colours_from_the_page(page: str) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    used = set(re.findall(r'(?:fill|stroke)="([^"]*)"', pictures))
    assert {name for name in used if not name.startswith("var(--")} <= {"none", "transparent"}
    defined = set(re.findall(r"(--[a-z0-9-]+):", page))
    assert {name.removeprefix("var(").removesuffix(")") for name in used if name.startswith("var(")} <= defined


def test_lines_differ_without_colour() -> None:
    names = [f"broker-{number}" for number in range(1, 10)]
    panel = Panel(
        title="x", unit="", times_s=(0.0, 1.0), lines=tuple(Line(label=name, values=(1.0, 2.0)) for name in names)
    )
    picture = lines(panel, 1.0, [])
    looks = re.findall(r'stroke="([^"]*)" stroke-dasharray="([^"]*)"', picture)
    assert len(looks) == len(set(looks)) == len(names)
    assert len({dashes for _, dashes in looks[:7]}) == 7, "without colour"
    places = [int(y) for name in names for y in re.findall(rf'y="(\d+)"[^>]*>{name}<', picture)]
    assert len(places) == len(names)
    places.sort()
    assert all(below - above >= 13 for above, below in pairwise(places)), "names do not touch"


@pytest.mark.parametrize(("looks", "turn"), [(DASHES, 1), (charts.SHAPES, 0)], ids=["dashes", "shapes"])
def test_a_dozen_setups_differ_on_pictures_of_all_of_them(looks: Sequence[Any], turn: int) -> None:
    names = [f"scenario-{number}" for number in range(12)]
    colours = charts._by_name(names, COLOURS)["scale"]["range"]
    others = charts._by_name(names, looks, turn)["scale"]["range"]
    assert len({(colour, str(other)) for colour, other in zip(colours, others, strict=True)}) == len(names)


def test_a_gap_in_a_series_is_a_gap_in_its_line() -> None:
    values = (1.0, 2.0, None, 2.0, 1.0)
    panel = Panel(title="x", unit="", times_s=(0, 1, 2, 3, 4), lines=(Line(label="a", values=values),))
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*stroke="var\(--c1\)"', lines(panel, 4.0, []))
    assert path.count("M") == 2


def test_windows_are_shaded_and_the_one_that_counts_darker() -> None:
    panel = Panel(title="x", unit="", times_s=(0, 9), lines=(Line(label="a", values=(1.0, 1.0)),))
    windows = [Window(start_s=place, end_s=place + 2, label="1", counted=place > 3) for place in (1, 5)]
    bands = re.findall(r'fill="var\(--band\)"[^>]*', lines(panel, 9.0, windows))
    assert ["opacity" in band for band in bands] == [True, False]


def test_a_value_alone_between_gaps_is_seen() -> None:
    panel = Panel(title="x", unit="", times_s=(0, 1, 2), lines=(Line(label="a", values=(None, 2.0, None)),))
    assert re.search(r'<path d="M200\.0,0\.0h0"[^>]*stroke-linecap="round"', lines(panel, 2.0, []))


def pictured(pages: list[rounds.RoundPage]) -> list[str]:
    return [page.ident for page in pages if page.figures]


def test_a_page_has_pictures_of_a_number_of_rounds_or_of_those_asked_for(
    whole: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [f"round-{data.started.index}" for data in whole.run.rounds]
    assert pictured(rounds.rounds(whole.run)) == every
    assert pictured(rounds.rounds(whole.run, [2])) == ["round-2"]
    page = html(whole.run, whole.summary, [2])
    assert page.count("-o html --round ") == len(every) - 1
    assert "`meshmark report DIR -o html --round 1` draws them" in page
    monkeypatch.setattr(rounds, "PICTURED_MOST", len(PLAN.scenarios))
    first = [f"round-{data.started.index}" for data in whole.run.rounds if data.started.repeat == 1]
    assert pictured(rounds.rounds(whole.run)) == first
    monkeypatch.setattr(rounds, "PICTURED_MOST", 1)
    *ended, last = whole.run.rounds
    dead = replace(whole.run, rounds=(*ended, replace(last, finished=None)))
    assert pictured(rounds.rounds(dead)) == [f"round-{last.started.index}"]


def test_a_round_that_is_not_there_cannot_be_pictured(whole: Told) -> None:
    with pytest.raises(UsageError, match="no round 99"):
        html(whole.run, whole.summary, [1, 99])


def test_tables_of_series_are_short(page: str) -> None:
    bodies = re.findall(
        r"<tbody>(.*?)</tbody>", page[page.index('id="rounds"') : page.index('id="record"')], re.DOTALL
    )
    assert bodies
    assert max(body.count("<tr>") for body in bodies) <= TABLE_ROWS_MAX + PLAN.scenarios[0].method.trials + 1


def test_a_run_that_is_not_whole_is_told_as_far_as_it_went(cut: Told) -> None:
    page = html(cut.run, cut.summary)
    assert page.index("Incomplete run: it failed") < page.index("<h2")
    assert "none recorded: the run ended inside this round" in page


@pytest.mark.parametrize("missing", ["finished.json", "environment.jsonl", "events.jsonl", "rounds"])
def test_whatever_is_missing_the_rest_is_told(tell: Tell, missing: str) -> None:
    directory = tell(SMALL).run.directory
    gone = directory / missing
    gone.rename(directory.parent / missing)
    run = store.load(directory)
    assert "<h2" in html(run, summarize(run))


def hostile_run(directory: Path) -> store.Run:
    """A run that ended in its first round, with HOSTILE wherever a record takes free text."""
    plan = PLAN.model_copy(update={"description": HOSTILE, "repeats": 1})
    made = json.loads((directory / "started.json").read_text(encoding="utf-8"))
    made["host"] |= {"hostname": HOSTILE, "cpuModel": HOSTILE, "features": {HOSTILE: True}}
    versions = dict.fromkeys(made["versions"], HOSTILE) | {"proxies": {HOSTILE: HOSTILE}}
    made |= {"command": [HOSTILE], "versions": versions}
    writer = store.RunWriter.create(directory.parent / "hostile", plan, type(store.load(directory).started)(**made))
    writer.event(Event(time_s=1.0, level="error", phase=HOSTILE, text=HOSTILE))
    first = plan.order()[0]
    started = RoundStarted(
        index=1,
        scenario=first.scenario,
        repeat=1,
        data_plane=plan.scenario(first.scenario).data_plane,
        started_at=1.0,
        time_s=1.0,
    )
    round_writer = writer.round(started)
    round_writer.proof(Proof(name=HOSTILE, host=HOSTILE, holds=False, detail=HOSTILE))
    round_writer.configurations({"broker-1.properties": HOSTILE})
    log = directory.parent / "broker.log"
    log.write_text("early line\n" + f"{HOSTILE}\n" * LOG_LINES, encoding="utf-8")
    round_writer.logs({"broker-1.log": log})
    return store.load(directory.parent / "hostile")


def test_hostile_text_stays_text(tell: Tell) -> None:
    run = hostile_run(tell(SMALL).run.directory)
    page = html(run, summarize(run))
    assert page.count("&lt;script&gt;alert(") > 8 + LOG_LINES
    assert "early line" not in page
    assert "{{ 7 * 7 }}" in page
    tags = Counter(tag for tag, _, _ in Elements(page).found)
    assert (tags["script"], tags["img"]) == (1, 0)


def test_a_name_in_a_picture_is_escaped() -> None:
    panel = Panel(title="x", unit="", times_s=(0, 1), lines=(Line(label=HOSTILE, values=(1.0, 1.0)),))
    picture = lines(panel, 1.0, []) + charts.bars([HOSTILE], {HOSTILE: [1.0]})
    assert {tag for tag, _, _ in Elements(picture).found}.isdisjoint({"script", "img"})


def test_bars_of_what_was_not_measured_are_dashes() -> None:
    picture = charts.bars(["plain"], {"sidecars": [None]})
    assert ">–<" in picture


def test_configurations_that_rounds_share_stand_once(page: str, whole: Told) -> None:
    texts = [data.configurations()["broker-1.properties"] for data in whole.run.rounds]
    assert len(set(texts)) < len(texts)
    assert page.count("broker-1.properties") == len(set(texts))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_in_pictures_can_be_read(page: str, scheme: int) -> None:
    """4.5 to 1 against the paper, for the names that lines carry in their colours; browsers' checks leave SVG out."""
    colours = dict(
        re.findall(r"(--[a-z0-9]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", page, re.DOTALL)[scheme])
    )
    paper = luminance(colours["--paper"])
    contrasts = {}
    for name in ("--ink", "--faint", "--link", *(f"--c{number}" for number in range(1, 8))):
        low, high = sorted((luminance(colours[name]), paper))
        contrasts[name] = round((high + 0.05) / (low + 0.05), 2)
    assert {name: contrast for name, contrast in contrasts.items() if contrast < 4.5} == {}


def test_what_the_self_test_counted_stands_between_its_bounds(whole: Told, page: str) -> None:
    assert "The instrument tested itself" in page
    grid = self_tests(whole.run)
    assert grid is not None
    done = whole.run.rounds[0].self_tests[-1]
    assert len(grid.rows) == len(done.checks) == 2
    for row, check in zip(grid.rows, done.checks, strict=True):
        assert {f"{check.low:,}", f"{check.counted:,}", f"{check.high:,}", "yes"} <= set(row)
    assert grid.note == "2 of 2 counts are what arithmetic says."


def test_many_setups_stand_in_several_tables_that_fit_a_sheet(whole: Told) -> None:
    row = whole.summary.scenarios[-1]
    names = [f"setup-{number}" for number in range(1, 10)]
    rows = tuple(row.model_copy(update={"name": name}) for name in names)
    summary = whole.summary.model_copy(update={"scenarios": rows})
    used = sections.evidence(summary)
    assert [grid.title.partition(": ")[2] for grid in used] == ["setup-1 to setup-6", "setup-7 to setup-9"]
    by_host = [grid for grid in sections.ledgers(summary) if ", by host" in grid.title]
    told = [[head for head, _ in grid.groups if head] for grid in by_host]
    assert told == [names[:4], names[4:8], names[8:]]


def test_a_component_that_no_setup_has_takes_no_column(whole: Told) -> None:
    ledger, *_ = sections.ledgers(whole.summary)
    heads = [column.head for column in ledger.columns]
    assert "sidecars" in heads
    assert "gateways" not in heads

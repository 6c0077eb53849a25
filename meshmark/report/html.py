"""A run as one offline HTML file: the answer first, then everything that it rests on.

Nothing is fetched, and no JavaScript is needed: pictures are SVG in the page. One script of its own shows a part of a
round's time; the page's Content-Security-Policy names its digest and forbids all else. All text is escaped, by the
template engine and, in tables' bodies, here; only pictures made in `charts.py` and `lines.py` and that script are put
in as they are.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable
from html import escape
from importlib.resources import files

import jinja2
from markupsafe import Markup

from meshmark.analysis.distributions import LONGER_LEAST
from meshmark.analysis.model import Summary
from meshmark.report import (
    accounts,
    against,
    cost,
    distributions,
    geography,
    hardware,
    hops,
    limits,
    nodes,
    rounds,
    sections,
    sensitivity,
    settings_apart,
    terms,
    thresholds,
    view,
)
from meshmark.report.caveats import caveats
from meshmark.report.view import Grid
from meshmark.store import Run

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("meshmark", "resources/templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["picture"] = Markup
_TEMPLATES.filters["rows"] = lambda grid: Markup(_rows(grid))
_TERMS = (terms.terms, terms.mtls, terms.settings, terms.bounds)
_NODES = (nodes.cpu, nodes.containers, nodes.spreads)
_CROSSINGS = (geography.crossed, geography.outages, geography.steadiness)
_SCRIPT = files("meshmark").joinpath("resources", "templates", "report.js").read_text(encoding="utf-8")


def _rows(grid: Grid) -> str:
    """A table's body. Not in the template: a page has tens of thousands of cells, and there each takes ten times as
    long."""
    opened = ['<th scope="row">', *('<td class="n">' if each.numeric else "<td>" for each in grid.columns[1:])]
    closed = ["</th>", *["</td>"] * (len(grid.columns) - 1)]
    return "\n".join(
        "<tr>\n" + "\n".join(map("{}{}{}".format, opened, map(escape, row), closed)) + "\n</tr>" for row in grid.rows
    )


def _of(summary: Summary, makers: Iterable[Callable[[Summary], Grid | None]]) -> list[Grid]:
    """The tables that have anything to say."""
    return [grid for make in makers if (grid := make(summary))]


def html(run: Run, summary: Summary, pictured: Collection[int] = ()) -> str:
    """The page, with pictures of the rounds whose indices are given; none: as `rounds` chooses. A run that is not
    whole is told as far as it went, and says so on top."""
    return _TEMPLATES.get_template("report.html").render(
        summary=summary,
        run=run,
        script=Markup(_SCRIPT),
        script_digest=b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
        view=view,
        caveats=" ".join(caveats(summary)),
        status=view.status(summary),
        headline=view.headline(summary),
        unlike=view.unlike(summary),
        answer=[grid for grid in (thresholds.grid(summary), view.carried(summary), cost.cost(summary)) if grid],
        extrapolation=hardware.extrapolation(summary),
        hardware=hardware.limits(summary),
        latency=[grid for grid in view.latencies(summary) if grid],
        distributions=distributions.figures(run),
        longer_least=LONGER_LEAST,
        hops=hops.hops(summary),
        sensitivity=sensitivity.figures(summary),
        figures=sections.answer_figures(summary),
        environment=sections.environment(summary),
        single_flow=hardware.single_flow(summary),
        against=against.grid(summary),
        links=geography.links(summary),
        laws=geography.laws(summary),
        terms=_of(summary, _TERMS),
        crossings=_of(summary, _CROSSINGS),
        evidence=sections.evidence(summary),
        explanations=limits.explanations(summary),
        searches=sections.searches(summary),
        repeats=sections.repeats(summary),
        ledgers=[*sections.ledgers(summary), *accounts.cpu_splits(summary), *_of(summary, _NODES)],
        path=sections.path(summary),
        traffic=accounts.traffic(summary),
        self_tests=accounts.self_tests(run),
        proofs=sections.proofs(summary),
        rounds=rounds.rounds(run, pictured),
        configurations=sections.configurations(run),
        asked_apart=sections.asked_apart(summary),
        ran_apart=settings_apart.tables(summary),
        events=sections.events(run),
        plan=summary.plan.model_dump_json(indent=2),
        started=view.started(summary),
        machine=sections.machine(summary),
        versions=sections.versions(summary),
    )

"""What mTLS costs over a distance: what is held against what, and when it is said to bind."""

from __future__ import annotations

import pytest

from meshmark.analysis.distance_law import laws
from meshmark.analysis.model import Interval, Summary
from meshmark.analysis.mtls import comparable, cost, ruled
from meshmark.analysis.stats import Estimate
from meshmark.analysis.wan_model import MtlsPrice, Term
from meshmark.data_plane import DataPlane
from meshmark.report.html import html
from meshmark.report.markdown import markdown
from meshmark.report.table import table
from tests.unit.report.conftest import Tell, Told
from tests.unit.report.test_terms import base, bound, plan, scenario, topology


def times(low: float, high: float) -> Estimate:
    return Estimate(mean=(low + high) / 2, low=low, high=high, count=2)


MORE, LESS = times(1, 3), times(-3, -1)


@pytest.mark.parametrize(
    ("binds", "added", "ratio", "alone", "expected"),
    [
        pytest.param(("CPU",), MORE, None, True, (True, "CPU"), id="CPU is full, and mTLS takes some"),
        pytest.param(("TCP buffers", "CPU"), MORE, None, True, (True, "CPU"), id="nearly full counts too"),
        pytest.param(("CPU",), MORE, None, False, (None, "CPU"), id="what is mTLS's and what the sidecars'?"),
        pytest.param(("CPU",), LESS, None, True, (False, None), id="CPU is full, of other work"),
        pytest.param(("CPU",), times(-1, 1), None, True, (None, None), id="it may be nothing"),
        pytest.param(("CPU",), None, times(0.5, 0.6), True, (None, None), id="CPU per GB is not known"),
        pytest.param(
            ("CPU",), Estimate(mean=2, low=None, high=None, count=1), None, True, (None, None), id="one repeat"
        ),
        pytest.param(
            ("TCP buffers",), MORE, times(0.5, 0.6), True, (True, "time per round trip"), id="less is carried"
        ),
        pytest.param(("TCP buffers",), MORE, times(0.95, 1.1), True, (False, None), id="as much as without"),
        pytest.param(("TCP buffers",), MORE, times(0.7, 1.3), True, (None, None), id="too wide to tell"),
        pytest.param(("TCP buffers",), MORE, None, True, (None, None), id="no rates to compare"),
        pytest.param(("TCP buffers",), MORE, times(0.5, 0.6), False, (None, None), id="sidecars split TCP as well"),
        pytest.param((), MORE, times(0.5, 0.6), True, (True, None), id="less is carried, nobody knows why"),
        pytest.param((), MORE, times(0.7, 1.3), True, (None, None), id="nobody knows what binds"),
    ],
)
def test_mtls_binds_by_cpu_or_over_the_round_trip_or_it_is_unknown(
    binds: tuple[Term, ...],
    added: Estimate | None,
    ratio: Estimate | None,
    alone: bool,
    expected: tuple[bool | None, str | None],
) -> None:
    found = ruled(base(bound("CPU", 100), binds=binds), added, ratio, alone=alone)
    assert (found.binds, found.through) == expected
    if found.binds is not None:
        assert found.explained.startswith("yes" if found.binds else "no: ")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(100, 100, True), (100, 200, True), (200, 100, True), (100, 201, False), (None, 5, False), (0, 0, False)],
)
def test_cpu_is_compared_only_while_rates_are_near(one: float | None, other: float | None, expected: bool) -> None:
    assert comparable(one, other) is expected


@pytest.fixture
def meshes(tell: Tell) -> Told:
    """Without a mesh, without mTLS and with it at three distances; at the last one without the second."""
    asked = plan(
        *(
            scenario(plane, name=f"{rtt_ms}ms-{plane}", where=topology(rtt_ms))
            for rtt_ms in (2, 50, 300)
            for plane in (DataPlane.PLAIN, DataPlane.ISTIO, DataPlane.ISTIO_MTLS)
            if (rtt_ms, plane) != (300, DataPlane.ISTIO)
        )
    )
    return tell(asked.model_copy(update={"repeats": 2}))


def price(summary: Summary, name: str) -> MtlsPrice:
    assert summary.mtls is not None
    [found] = [each for each in summary.mtls.prices if each.scenario == name]
    return found


def test_mtls_is_held_against_sidecars_without_it_where_there_are_any(meshes: Told) -> None:
    summary = meshes.summary
    near, far = price(summary, "2ms-istio-mtls"), price(summary, "300ms-istio-mtls")
    assert (near.against, near.alone) == ("2ms-istio", True)
    assert (far.against, far.alone) == ("300ms-plain", False)
    assert far.binds is None
    rows = {row.name: row for row in summary.scenarios}
    seconds = [
        sum(getattr(rows[name].cpu_s_per_gb, part) or 0.0 for part in ("brokers", "sidecars", "clients"))
        for name in ("2ms-istio-mtls", "2ms-istio")
    ]
    assert near.added_s_per_gb == pytest.approx(seconds[0] - seconds[1])
    assert near.cpu_share == pytest.approx((seconds[0] - seconds[1]) / seconds[0])
    with_it, without = rows["2ms-istio-mtls"].rate_msg_s, rows["2ms-istio"].rate_msg_s
    assert near.ratio == pytest.approx((with_it or 0) / (without or 1))
    for text in (table(summary), markdown(summary), html(meshes.run, summary)):
        assert "does mtls bind?" in text.lower()
        assert "2ms-istio-mtls: yes: which term binds is unknown, and 0." in " ".join(text.split())


def test_laws_are_set_side_by_side_with_the_intervals_of_both(meshes: Told) -> None:
    summary = meshes.summary
    found = laws(meshes.run, summary.scenarios)
    with_it = next(law for law in found if law.data_plane is DataPlane.ISTIO_MTLS)
    without = next(law for law in found if law.data_plane is DataPlane.PLAIN)
    told = tuple(
        law.model_copy(
            update={
                "rate_at_zero_msg_s": rate,
                "rate_at_zero_interval": Interval(low=rate * 0.9, high=rate * 1.1),
                "bytes_per_rtt": rate * 10,
                "bytes_per_rtt_interval": None,
            }
        )
        for law, rate in ((with_it, 50_000.0), (without, 100_000.0))
    )
    made = cost(meshes.run.plan, summary.scenarios, summary.distance_terms, told)
    assert made is not None
    [apart] = made.laws
    assert (apart.data_plane, apart.against) == (DataPlane.ISTIO_MTLS, DataPlane.PLAIN)
    assert apart.rate_at_zero_ratio == pytest.approx(0.5)
    assert apart.rate_at_zero_low is not None
    assert apart.rate_at_zero_high is not None
    assert 0.4 < apart.rate_at_zero_low < 0.45 < 0.55 < apart.rate_at_zero_high < 0.6
    assert apart.bytes_per_rtt_ratio == pytest.approx(0.5)
    assert apart.bytes_per_rtt_low is None
    told_of = summary.model_copy(update={"mtls": made, "distance_laws": told})
    assert "istio-mtls against plain: 0.5 (0." in " ".join(table(told_of).split())


def test_without_a_like_scenario_nothing_is_said_of_mtls(whole: Told, tell: Tell) -> None:
    assert whole.summary.mtls is None
    asked = plan(
        scenario(name="near", where=topology(2)), scenario(DataPlane.ISTIO_MTLS, name="far", where=topology(9))
    )
    assert tell(asked).summary.mtls is None

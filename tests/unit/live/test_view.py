"""The live view, without a terminal: what it shows at a moment of a run, and what its keys do."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import DataTable, RichLog, Static

from meshmark.backends.simulated import SimulatedClock
from meshmark.live import view
from meshmark.live.figures import figures
from meshmark.live.follow import Following
from meshmark.live.view import LiveView
from meshmark.record import LinkProbe, Sample
from meshmark.store import load
from meshmark.units import number

SIZE = (150, 45)
BOUND_S, POLL_S = 60.0, 0.01


def shown(directory: Path, look: Callable[[LiveView], None], keys: tuple[str, ...] = ()) -> list[str]:
    """Runs the view on a record; returns what it asked of the run."""
    asked: list[str] = []
    clock = SimulatedClock()
    app = LiveView(Following(directory), clock, lambda: False, lambda: asked.append("end"))

    async def play() -> None:
        async with app.run_test(size=SIZE) as pilot, asyncio.timeout(BOUND_S):
            while not text(app, "head"):  # on a busy machine the first look at the record comes late
                await pilot.pause(POLL_S)
            await pilot.pause()
            look(app)
            for key in keys:
                await pilot.press(key)
                await pilot.pause()

    asyncio.run(play())
    return asked


def text(app: LiveView, ident: str) -> str:
    return str(app.query_one(f"#{ident}", Static).content)


def test_it_says_which_round_goes_on_and_what_is_carried(going_on: Path) -> None:
    started = load(going_on).rounds[-1].started

    def look(app: LiveView) -> None:
        assert f"small · round 2 of 2 · {started.scenario}, repeat 1" in text(app, "head")
        assert "acknowledged" in text(app, "rates")
        assert "p99.9" in text(app, "rates")

    shown(going_on, look)


def test_every_host_and_every_trial_has_its_row(going_on: Path) -> None:
    trials = load(going_on).rounds[-1].trials

    def look(app: LiveView) -> None:
        hosts = app.query_one("#host-table", DataTable)
        assert [str(hosts.get_row_at(row)[0]) for row in range(hosts.row_count)] == [
            "broker-1",
            "broker-2",
            "broker-3",
            "client-1",
        ]
        assert app.query_one("#trial-table", DataTable).row_count == len(trials)

    shown(going_on, look)


def test_the_log_has_each_event_once(going_on: Path) -> None:
    count = len(load(going_on).events)

    def look(app: LiveView) -> None:
        lines = app.query_one("#lines", RichLog).lines
        app.look()
        assert len(lines) >= count
        assert len(app.query_one("#lines", RichLog).lines) == len(lines)

    shown(going_on, look)


def test_before_the_run_begins_it_waits(tmp_path: Path) -> None:
    shown(tmp_path / "later", lambda app: None)


def test_a_run_that_is_over_says_how_it_ended(whole: Path) -> None:
    def look(app: LiveView) -> None:
        assert "complete" in text(app, "head")

    shown(whole, look)


@pytest.mark.parametrize(("keys", "asked"), [(("q",), []), (("ctrl+c",), ["end"])])
def test_q_closes_the_view_alone_and_ctrl_c_ends_the_run(
    going_on: Path, keys: tuple[str, ...], asked: list[str]
) -> None:
    assert shown(going_on, lambda app: None, keys) == asked


def test_it_closes_when_the_run_closes_its_end_of_the_pipe() -> None:
    reading, writing = os.pipe()
    assert not view.closed(reading)
    os.close(writing)
    assert view.closed(reading)
    os.close(reading)


def test_rates_are_of_the_load_that_goes_on(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    found = figures(following, SimulatedClock())
    assert found is not None
    assert found.load is not None
    intervals = load(going_on).rounds[-1].intervals()
    totals = intervals[-1].totals
    assert found.load.outstanding == totals.outstanding
    assert 0 < found.load.acknowledged_msg_s <= totals.acknowledged
    assert len(found.load.history_msg_s) == 60


def test_the_cpus_that_are_shown_are_no_more_than_there_are(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    found = figures(following, SimulatedClock())
    assert found is not None
    assert 0 < sum(found.cpus.values()) <= found.machine_cpus * 1.01
    assert "brokers" in view.cpus(found)


def test_the_ledger_says_what_a_gb_takes_and_what_nobody_accounts_for(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    assert following.round is not None
    machine = {"idle": 4.0, "iowait": 0.5, "steal": 0.5}
    used = {"broker-1/kafka": 1.0, "broker-2/kafka": 0.5, "machine/kernel": 0.25, "machine/others": 0.5}
    following.round.edges.clear()
    following.round.samples = deque(
        Sample(
            time_s=time_s,
            values={f"machine/cpu/{part}_s": time_s * rate for part, rate in machine.items()}
            | {f"{key}/cpu_{part}_s": time_s * rate / 2 for key, rate in used.items() for part in ("user", "system")},
        )
        for time_s in (0.0, 4.0)
    )
    found = figures(following, SimulatedClock())
    assert found is not None
    assert found.load is not None
    unattributed = found.machine_cpus - 5.0 - 2.25
    assert found.cpus == {"kafka": 1.5, "kernel": 0.25, "others": 0.5, "unattributed": unattributed, "idle": 4.5}
    told = replace(found, load=replace(found.load, acknowledged_bytes_s=0.1e9))
    lines = {line.split()[0]: line.split()[-1] for line in view.cpus(told).splitlines()}
    assert (lines["brokers"], lines["others"], lines["unattributed"]) == ("15", "5", number(unattributed * 10))
    assert lines["idle"] == "%"


def test_without_a_load_nothing_is_told_of_a_gb(edges: Path) -> None:
    following = Following(edges)
    following.look()
    found = figures(following, SimulatedClock())
    assert found is not None
    assert all(line.endswith("%") for line in view.cpus(replace(found, load=None)).splitlines())


def test_cpu_that_is_read_at_edges_alone_is_shown_all_the_time(edges: Path) -> None:
    following = Following(edges)
    following.look()
    assert following.round is not None
    whole, ticks = figures(following, SimulatedClock()), deque(following.round.samples)
    ticks.pop()
    following.round.samples = ticks
    at_edge = figures(following, SimulatedClock())
    for found in (whole, at_edge):
        assert found is not None
        assert found.cpus["kernel"] > 0
        assert "others" in found.cpus


def test_a_gateway_s_cpu_is_shown_with_the_others(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    assert following.round is not None
    read = [
        Sample(time_s=time_s, values={f"gateway-far/gateway/cpu_{part}_s": time_s / 8 for part in ("user", "system")})
        for time_s in (0.0, 4.0)
    ]
    following.round.samples = deque(read)
    following.round.edges.clear()
    found = figures(following, SimulatedClock())
    assert found is not None
    assert found.cpus == {"gateway": 0.25}
    assert view.cpus(found).split()[:2] == ["gateways", "0.25"]


def test_a_link_of_the_kernel_tells_what_it_knows_at_edges(going_on: Path) -> None:
    """Of a way with both loss and a bandwidth it does not tell what was lost."""
    following = Following(going_on)
    following.look()
    assert following.round is not None
    grown = {"forward_bytes": 8e6, "forward_carried_packets": 1_000}
    following.round.edges.clear()
    following.round.edges += (
        Sample(time_s=time_s, values={f"link-near-far/netem/{name}": time_s * rate for name, rate in grown.items()})
        for time_s in (0.0, 30.0)
    )
    probe = LinkProbe(source="near", target="far", kind="netem", asked_rtt_s=0.02, rtt_s=0.02, rtt_max_s=0.03)
    following.round.links = {("near", "far"): probe}
    found = figures(following, SimulatedClock())
    assert found is not None
    assert view.links(found) == "near → far: round trip 20 ms (asked 20), 8 MB/s"


def test_a_link_has_its_round_trip_and_what_passes_and_is_lost_now(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    assert following.round is not None
    grown = {"forward_bytes": 8e6, "forward_carried_packets": 980, "forward_lost_packets": 20}
    grown |= {"back_bytes": 4e6, "back_carried_packets": 1_000, "back_lost_packets": 0}
    following.round.samples = deque(
        Sample(time_s=time_s, values={f"link-near-far/relay/{name}": time_s * rate for name, rate in grown.items()})
        for time_s in (0.0, 4.0)
    )
    probe = LinkProbe(
        source="near",
        target="far",
        kind="relay",
        asked_rtt_s=0.024,
        rtt_s=0.0242,
        rtt_max_s=0.03,
        asked_loss=0.02,
        asked_bandwidth_bytes_s=1e7,
    )
    other = probe.model_copy(
        update={"source": "far", "target": "near", "asked_bandwidth_bytes_s": None, "rtt_s": None}
    )
    third = probe.model_copy(update={"target": "third", "kind": "netem"})
    following.round.links = {(each.source, each.target): each for each in (probe, other, third)}
    found = figures(following, SimulatedClock())
    assert found is not None
    assert view.links(found).splitlines() == [
        "near → far: round trip 24.2 ms (asked 24), 8 MB/s (at most 10), lost 2 % (asked 2)",
        "far → near: round trip – ms (asked 24), 4 MB/s, lost 0 % (asked 2)",
        "near → third: round trip 24.2 ms (asked 24)",
    ]

"""Links between clusters in the record, the JSON, the table and the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshmark.analysis.links import carried, summaries
from meshmark.analysis.summary import summarize
from meshmark.plan import ClusterSpec, Plan
from meshmark.record import LinkProbe, Trial
from meshmark.report.geography import links
from meshmark.report.html import html
from meshmark.report.table import table
from meshmark.topology import Backward, Link, MeshCluster, Topology
from tests.unit.report.conftest import PLAN, Tell, Told

NEAR = MeshCluster(name="near", brokers=2, clients=1)
FAR = MeshCluster(name="far", brokers=1)


def plan(link: Link) -> Plan:
    cluster = ClusterSpec(topology=Topology(clusters=(NEAR, FAR), links=(link,)))
    first = PLAN.scenarios[0].model_copy(update={"cluster": cluster})
    return PLAN.model_copy(update={"scenarios": (first,), "repeats": 2})


def test_every_round_has_its_links_before_load_and_after_each_trial(tell: Tell) -> None:
    run = tell(plan(Link(ends=("near", "far"), rtt_ms=24))).run
    for data in run.rounds:
        trials = [None, *(trial.number for trial in data.trials)]
        assert sorted({probe.trial or 0 for probe in data.links}) == [trial or 0 for trial in trials]
        assert {(probe.source, probe.target) for probe in data.links} == {("near", "far"), ("far", "near")}


def test_distance_is_in_the_latency(tell: Tell, whole: Told) -> None:
    [near] = [row for row in whole.summary.scenarios if row.name == "plain"]
    [far] = tell(plan(Link(ends=("near", "far"), rtt_ms=100))).summary.scenarios
    assert near.repeats[0].trials[0].latency.p50_s is not None
    assert far.repeats[0].trials[0].latency.p50_s is not None
    assert far.repeats[0].trials[0].latency.p50_s > 0.1 > near.repeats[0].trials[0].latency.p50_s


def test_a_table_says_what_was_asked_for_and_what_was_found(tell: Tell) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.01, back=Backward(loss=0, bandwidth_bytes_s=5e6))
    told = tell(plan(link))
    grid = links(told.summary)
    assert grid is not None
    heads = [f"{column.group} {column.head}".strip() for column in grid.columns]
    there, back = (dict(zip(heads, row, strict=True)) for row in grid.rows)
    assert (there["from"], there["to"]) == ("near", "far")
    assert (there["RTT, ms asked"], there["RTT, ms found"], there["RTT, ms error"]) == ("24.0", "24.0", "+0.0 %")
    assert (there["loss asked"], there["loss found"], back["loss asked"], back["loss found"]) == (
        "1 %",
        "1 %",
        "0 %",
        "0 %",
    )
    assert back["bandwidth, MB/s found"].strip() == "5.00"
    assert "LINKS BETWEEN CLUSTERS" in table(told.summary)
    assert "Links between clusters, as asked for and as found" in html(told.run, told.summary)


@pytest.mark.parametrize(
    ("jitter_ms", "found_ms", "expected"),
    [
        (0, 24, []),
        (0, 25.1, []),
        (0, 25.3, ["plain: near and far were 25.3 ms apart before load, and 24 ms were asked for"]),
        (0, 22, ["plain: near and far were 22 ms apart before load, and 24 ms were asked for"]),
        (0, None, []),
        (2, 27, []),
    ],
)
def test_a_distance_that_is_not_the_one_asked_for_is_a_warning(
    tell: Tell, jitter_ms: float, found_ms: float | None, expected: list[str]
) -> None:
    run = tell(plan(Link(ends=("near", "far"), rtt_ms=24, jitter_ms=jitter_ms))).run
    found_s = None if found_ms is None else found_ms / 1e3
    rounds = tuple(
        replace(
            data,
            links=tuple(
                probe.model_copy(update={"rtt_s": found_s}) if probe.trial is None else probe for probe in data.links
            ),
        )
        for data in run.rounds
    )
    warnings = summarize(replace(run, rounds=rounds)).warnings
    assert [text for text in warnings if "apart before load" in text] == expected


def test_a_way_that_was_found_says_so_and_how_far_its_times_are_apart(tell: Tell) -> None:
    run = tell(plan(Link(ends=("near", "far"), rtt_ms=24))).run
    times = {"kind": "found", "rtt_s": 0.031, "rtt_min_s": 0.030, "rtt_max_s": 0.045}
    rounds = tuple(
        replace(data, links=tuple(probe.model_copy(update=times) for probe in data.links)) for data in run.rounds
    )
    summary = summarize(replace(run, rounds=rounds))
    grid = links(summary)
    assert grid is not None
    heads = [f"{column.group} {column.head}".strip() for column in grid.columns]
    there, _ = (dict(zip(heads, row, strict=True)) for row in grid.rows)
    assert [there[f"RTT, ms {head}"] for head in ("asked", "found", "least", "most")] == [
        "24.0",
        "31.0",
        "30.0",
        "45.0",
    ]
    assert grid.note.startswith("These ways were found, and not made")
    assert "Made by" not in grid.note
    assert "plain: near and far were 31 ms apart before load, and the plan says 24 ms" in summary.warnings


def test_without_a_topology_nothing_is_said_of_links(whole: Told) -> None:
    assert links(whole.summary) is None
    assert "LINKS BETWEEN" not in table(whole.summary)
    assert "Links between clusters" not in html(whole.run, whole.summary)


def test_errors_are_those_of_the_means_and_losses_those_of_all_packets() -> None:
    def probe(rtt_s: float, lost: int, trial: int | None = None) -> LinkProbe:
        return LinkProbe(
            source="a",
            target="b",
            kind="relay",
            trial=trial,
            asked_rtt_s=0.010,
            rtt_s=rtt_s,
            rtt_max_s=rtt_s,
            asked_loss=0.1,
            packets_sent=0 if trial else 1_000,
            packets_lost=lost,
        )

    [found] = summaries("x", [probe(0.010, 90), probe(0.012, 120), probe(0.020, 0, trial=1)])
    assert found.rtt_s == pytest.approx(0.011)
    assert found.rtt_error == pytest.approx(0.1)
    assert found.loaded_rtt_s == pytest.approx(0.020)
    assert found.loaded_rtt_error == pytest.approx(1.0)
    assert found.packets_sent == 2_000
    assert found.loss == pytest.approx(0.105)
    assert (found.loaded_packets, found.loaded_loss, found.loaded_bytes_s) == (0, None, None)


def counts(told: Told, *windows: tuple[int, int, int, float]) -> list[Trial]:
    """Trials with windows of two seconds in which a relay counted so many packets, and bytes forth; a tenth back."""
    (first, *_), prefix = told.run.rounds[0].trials, "link-near-far/relay/"
    found = []
    for carried_, lost, dropped, forward in windows:
        end: dict[str, float] = {"carried_packets": carried_, "lost_packets": lost, "dropped_packets": dropped}
        end |= {"forward_bytes": forward, "back_bytes": forward / 10}
        grown = {f"{prefix}{key}": float(value) + 7 for key, value in end.items()}
        changes = {
            "counters_start": dict.fromkeys(grown, 7.0),
            "counters_end": grown,
            "window_end_s": first.window_start_s + 2,
        }
        found.append(first.model_copy(update=changes))
    return found


def probes(link: Link) -> list[LinkProbe]:
    """One for each direction, that found nothing."""
    return [
        LinkProbe(
            source=source,
            target=target,
            kind="relay",
            asked_rtt_s=0,
            rtt_s=None,
            rtt_max_s=None,
            asked_loss=way.loss,
            asked_bandwidth_bytes_s=way.bandwidth_bytes_s,
        )
        for way, (source, target) in zip(link.ways(), (link.ends, link.ends[::-1]), strict=True)
    ]


def test_under_load_relays_tell_what_was_lost_and_carried(whole: Told) -> None:
    back_way = Backward(bandwidth_bytes_s=4e6)
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.02, bandwidth_bytes_s=20e6, back=back_way)
    trials = counts(whole, (900, 20, 80, 20e6), (900, 10, 90, 39e6))
    there, back = summaries("x", probes(link), carried((link,), trials))
    assert (there.loaded_packets, back.loaded_packets) == (2_000, 2_000)
    assert there.loaded_loss == back.loaded_loss == pytest.approx(0.015)
    assert there.loaded_loss_error == pytest.approx(-0.25)
    assert there.loaded_dropped == pytest.approx(0.085)
    assert there.loaded_bytes_s == pytest.approx((10e6 + 19.5e6) / 2)
    assert there.loaded_bandwidth_error == pytest.approx(-0.025)
    assert back.loaded_bytes_s_most == pytest.approx(1.95e6)


def test_a_loss_of_both_directions_has_no_error_against_one_of_them(whole: Told) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.02, back=Backward(loss=0))
    there, back = summaries("x", probes(link), carried((link,), counts(whole, (980, 20, 0, 1e6))))
    assert there.loaded_loss == back.loaded_loss == pytest.approx(0.02)
    assert there.loaded_loss_error is back.loaded_loss_error is None


def test_with_counters_of_each_direction_each_loss_has_its_own_error(whole: Told) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.02, back=Backward(loss=0, bandwidth_bytes_s=4e6))
    prefix, trials = "link-near-far/relay/", []
    for trial in counts(whole, (1_940, 19, 41, 1e6)):
        each = {"forward_carried": 981.0, "forward_lost": 19.0, "forward_dropped": 0.0}
        each |= {"back_carried": 959.0, "back_lost": 0.0, "back_dropped": 41.0}
        grown = {f"{prefix}{name}_packets": value for name, value in each.items()}
        start = {**trial.counters_start, **dict.fromkeys(grown, 0.0)}
        changes = {"counters_start": start, "counters_end": {**trial.counters_end, **grown}}
        trials.append(trial.model_copy(update=changes))
    rows = summaries("x", probes(link), carried((link,), trials))
    there, back = rows
    assert (there.loaded_packets, back.loaded_packets) == (1_000, 1_000)
    assert [row.loaded_loss for row in rows] == [pytest.approx(0.019), 0]
    assert there.loaded_loss_error == pytest.approx(-0.05)
    assert back.loaded_loss_error is None
    assert [row.loaded_dropped for row in rows] == [0, pytest.approx(0.041)]
    environment = whole.summary.environment.model_copy(update={"links": tuple(rows)})
    grid = links(whole.summary.model_copy(update={"environment": environment}))
    assert grid is not None
    assert "both directions" not in grid.note


def test_without_a_relay_nothing_is_said_of_what_was_carried(whole: Told) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.02)
    there, _ = summaries("x", probes(link), carried((link,), whole.run.rounds[0].trials))
    assert (there.loaded_packets, there.loaded_loss, there.loaded_bytes_s) == (0, None, None)


def test_the_table_has_what_relays_counted_and_says_how(whole: Told) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.02, bandwidth_bytes_s=20e6)
    rows = summaries("x", probes(link), carried((link,), counts(whole, (980, 20, 0, 38e6))))
    environment = whole.summary.environment.model_copy(update={"links": tuple(rows)})
    grid = links(whole.summary.model_copy(update={"environment": environment}))
    assert grid is not None
    heads = [f"{column.group} {column.head}".strip() for column in grid.columns]
    there, back = (dict(zip(heads, row, strict=True)) for row in grid.rows)
    assert (there["loss under load"], there["loss its error"]) == ("2 %", "+0.0 %")
    assert there["carried under load, MB/s most"].strip() == "19.0"
    assert there["carried under load, MB/s of asked"] == "−5.0 %"
    assert back["carried under load, MB/s most"].strip() == "1.9"
    assert "both directions together" in grid.note

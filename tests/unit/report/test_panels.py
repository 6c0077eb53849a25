"""Series become lines: counters become rates, holes and resets become gaps, nothing is invented."""

from __future__ import annotations

import pytest

from meshmark.metrics import AT_EDGES, METRICS
from meshmark.record import Latency, LoadInterval, LoadTotals, Sample
from meshmark.report.panels import POINTS_MAX, Panel, load_panels, panels
from tests.series import pictured, recorded

NOT_SHOWN = {("cpu", "elapsed_s")}
"""The clock that CPU shares are taken from is no series of its own."""


def series(key: str, *readings: float | None, times: tuple[float, ...] = ()) -> list[Sample]:
    moments = times or tuple(float(second) for second in range(len(readings)))
    return [
        Sample(time_s=100.0 + moment, values={} if value is None else {key: value})
        for moment, value in zip(moments, readings, strict=True)
    ]


def only(samples: list[Sample]) -> Panel:
    (panel,) = panels(samples, 100.0)
    return panel


def values(samples: list[Sample]) -> tuple[float | None, ...]:
    (line,) = only(samples).lines
    return line.values


def test_every_metric_of_every_component_is_on_some_panel() -> None:
    assert {metric for _, metric in recorded()} == set(METRICS)
    assert recorded() - pictured() == NOT_SHOWN


def test_no_panel_asks_for_what_no_component_has() -> None:
    assert pictured() - recorded() == set()


def test_a_counter_becomes_a_rate() -> None:
    assert values(series("broker-1/net/tx_packets", 10, 30, 60, 60)) == (None, 20, 30, 0)


def test_a_gauge_stays_as_read() -> None:
    assert values(series("broker-1/sidecar/connections", 10, 30, 20)) == (10, 30, 20)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param((10, 30, 5, 25), (None, 20, None, 20), id="a reset"),
        pytest.param((10, 30, None, 70, 90), (None, 20, None, None, 20), id="a reading that is missing"),
    ],
)
def test_what_is_not_known_is_a_gap(readings: tuple[float | None, ...], expected: tuple[float | None, ...]) -> None:
    assert values(series("broker-1/net/tx_packets", *readings)) == expected


def test_a_hole_in_time_is_a_gap() -> None:
    samples = series("broker-1/net/tx_packets", 0, 10, 20, 90, 100, times=(0, 1, 2, 9, 10))
    assert values(samples) == (None, 10, 10, None, 10)


def test_a_gauge_is_not_drawn_across_a_hole() -> None:
    samples = series("broker-1/sidecar/connections", 10, 30, 20, 25, 30, times=(0, 1, 2, 9, 10))
    assert values(samples) == (10, 30, 20, None, 30)


def long_series(key: str, missing: range, fall_at: int = 0) -> tuple[float | None, ...]:
    """3,000 s of a counter that grows by 10 in each, 0 again at one second; some readings are not there."""
    seconds = [second for second in range(3_000) if second not in missing]
    readings = [10.0 * (second - (fall_at if fall_at and second >= fall_at else 0)) for second in seconds]
    return values(series(key, *readings, times=tuple(map(float, seconds))))


@pytest.mark.parametrize("key", ["broker-1/net/tx_packets", "broker-1/sidecar/connections"])
def test_a_hole_that_is_shorter_than_a_step_of_the_picture_is_a_gap(key: str) -> None:
    assert None not in long_series(key, range(0))[1:]
    assert long_series(key, range(1_501, 1_508))[1:].count(None) == 1


def test_a_reset_within_a_step_of_the_picture_is_a_gap_though_the_counter_has_grown_past_it() -> None:
    found = long_series("broker-1/net/tx_packets", range(0), fall_at=4)
    assert (found[1], set(found[2:])) == (None, {10.0})


EDGES = (0.0, 10.0, 20.0)


def between(key: str, *readings: float) -> list[Sample]:
    """A tick every second, and at EDGES a reading that has the key too."""
    samples = [Sample(time_s=100.0 + second, values={"client-1/net/tx_bytes": 0.0}) for second in range(26)]
    for time_s, value in zip(EDGES, readings, strict=True):
        samples.append(Sample(time_s=100.5 + time_s, values={key: value, AT_EDGES: 0.0}))
    return sorted(samples, key=lambda each: each.time_s)


def at(samples: list[Sample], title: str) -> dict[float, float | None]:
    (panel,) = [each for each in panels(samples, 100.0) if each.title == title]
    (line,) = panel.lines
    return dict(zip(panel.times_s, line.values, strict=True))


def test_a_counter_that_is_read_at_edges_alone_is_a_mean_between_two_of_them() -> None:
    found = at(between("broker-1/net/tcp_wire_out_segments", 0, 50, 60), "TCP segments on the wire")
    assert {time_s: found[time_s] for time_s in (0, 0.5, 1, 10, 10.5, 11, 20, 21)} == {
        0: None, 0.5: None, 1: 5, 10: 5, 10.5: 5, 11: 1, 20: 1, 21: None
    }  # fmt: skip


def test_a_counter_that_fell_between_two_edges_has_a_gap_there() -> None:
    found = at(between("broker-1/net/tcp_wire_out_segments", 50, 0, 60), "TCP segments on the wire")
    assert (found[5.0], found[15.0]) == (None, 6)


def test_a_gauge_that_is_read_at_edges_alone_holds_until_the_next() -> None:
    found = at(between("broker-1/net/link_bytes_s", 3e6, 3e6, 5e6), "Bandwidth of limited links")
    assert [found[time_s] for time_s in (0.0, 0.5, 10.0, 10.5, 20.0, 20.5, 21.0)] == [None, 3, 3, 3, 3, 5, None]


def test_the_cpus_of_the_machine_have_a_line_each() -> None:
    samples = [
        Sample(time_s=float(second), values={f"machine/core:{n}/used_s": second * (n + 1) / 4 for n in range(2)})
        for second in range(3)
    ]
    assert {line.label: line.values[-1] for line in only(samples).lines} == {"0": 0.25, "1": 0.5}


def test_a_mean_wait_is_that_of_the_operations_of_its_step_and_none_where_there_were_none() -> None:
    read = [(0.0, 0), (0.3, 10), (0.3, 10), (0.5, 11)]
    samples = [
        Sample(
            time_s=float(second), values={"machine/disk/write_wait_s": waited, "machine/disk/write_ops": float(done)}
        )
        for second, (waited, done) in enumerate(read)
    ]
    (panel,) = [each for each in panels(samples, 0.0) if each.unit == "ms"]
    assert [(line.label, line.values) for line in panel.lines] == [("machine, writes", (None, 30, None, 200))]


def test_readings_close_together_are_joined() -> None:
    samples = series("broker-1/kafka/cpu_user_s", 0, 1, 1.01, 2, 3, times=(0, 1, 1.001, 2, 3))
    assert values(samples) == (None, 1, 1, 1)


def test_user_and_system_time_are_one_line_a_host() -> None:
    samples = [
        Sample(
            time_s=float(second),
            values={
                f"broker-{number}/kafka/{metric}": second * number * share
                for number in (1, 2)
                for metric, share in (("cpu_user_s", 0.25), ("cpu_system_s", 0.75))
            },
        )
        for second in range(3)
    ]
    (panel,) = panels(samples, 0.0)
    assert {line.label: line.values[-1] for line in panel.lines} == {"broker-1": 1, "broker-2": 2}


def test_lines_of_all_hosts_together_add_what_is_known() -> None:
    samples = [
        Sample(
            time_s=float(second),
            values={"broker-1/kafka/threads": 90.0, **({"broker-2/kafka/threads": 5.0} if second else {})},
        )
        for second in range(3)
    ]
    assert values(samples) == (90, 95, 95)


def test_units_are_scaled() -> None:
    panel = only(series("broker-1/net/tx_bytes", 0, 2_500_000))
    assert (panel.unit, panel.lines[0].values) == ("MB/s", (None, 2.5))


def test_a_line_of_zeros_is_named_and_not_drawn() -> None:
    samples = [
        Sample(time_s=float(t), values={"machine/disk/write_ops": t * 3.0, "machine/disk/read_ops": 7.0})
        for t in range(3)
    ]
    panel = only(samples)
    assert [line.label for line in panel.lines] == ["writes"]
    assert panel.silent == ("reads",)


def test_long_series_are_thinned_and_keep_their_mean() -> None:
    samples = series("broker-1/net/tx_packets", *(10.0 * second for second in range(4_000)))
    points = values(samples)
    assert POINTS_MAX / 2 < len(points) <= POINTS_MAX
    assert set(points[1:]) == {10.0}


def test_time_is_told_from_the_rounds_beginning() -> None:
    assert only(series("broker-1/net/tx_packets", 1, 2, times=(3.5, 4.5))).times_s == (3.5, 4.5)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_show_nothing(count: int) -> None:
    assert panels(series("broker-1/net/tx_packets", *([1.0] * count)), 100.0) == []
    assert load_panels([interval(100.0)] * count, 0.0) == []


def interval(time_s: float, latency: tuple[float, float, float] | None = None, **totals: int) -> LoadInterval:
    """`latency`: p50, p99 and the largest, in seconds."""
    found = None
    if latency:
        p50, p99, largest = latency
        found = Latency(count=9, p50_s=p50, p90_s=p50, p99_s=p99, p99_9_s=p99, max_s=largest, histogram="")
    return LoadInterval(time_s=time_s, clients=1, totals=LoadTotals(**totals), latency=found)


def drawn(panel: Panel) -> dict[str, tuple[float | None, ...]]:
    return {line.label: line.values for line in panel.lines}


def test_a_trials_counts_begin_anew_without_a_false_rate() -> None:
    counts = [(0.0, 0), (0.5, 500), (1.0, 1_000), (1.5, 100), (2.0, 600)]
    (panel, _) = load_panels([interval(time_s, acknowledged=count, offered=count) for time_s, count in counts], 0.0)
    rates = (None, 1_000, 1_000, None, 1_000)
    assert drawn(panel) == {"acknowledged": rates, "offered": rates}


def test_what_was_offered_stands_beside_what_was_acknowledged_and_the_rest_is_outstanding() -> None:
    counts = [(0.0, 0, 0), (1.0, 900, 1_000), (2.0, 1_500, 2_000)]
    rows = [interval(t, acknowledged=done, offered=asked, outstanding=asked - done) for t, done, asked in counts]
    messages, backlog = load_panels(rows, 0.0)
    assert (messages.title, drawn(messages)) == (
        "Messages",
        {"acknowledged": (None, 900, 600), "offered": (None, 1_000, 1_000)},
    )
    assert messages.silent == ("consumed", "failed or unknown")
    assert (backlog.title, backlog.unit) == ("Backlog", "records")
    assert drawn(backlog) == {"outstanding": (0, 100, 500)}


def test_errors_of_an_early_trial_are_drawn_though_a_later_one_has_none() -> None:
    counts = [(0.0, 0), (1.0, 5), (2.0, 0), (3.0, 0)]
    messages, *_ = load_panels([interval(time_s, failed=count) for time_s, count in counts], 0.0)
    assert drawn(messages) == {"failed or unknown": (None, 5, None, 0)}


def test_latency_is_told_by_interval_and_a_pause_between_trials_is_a_gap() -> None:
    found = [(0.002, 0.01, 0.05), None, (0.004, 0.02, 0.06), (0.1, 0.2, 0.3), (0.005, 0.03, 0.07)]
    times = (0.0, 1.0, 2.0, 9.0, 10.0)
    rows = [interval(time_s, latency, outstanding=4) for time_s, latency in zip(times, found, strict=True)]
    *_, backlog, latency = load_panels(rows, 0.0)
    assert (latency.title, latency.unit) == ("Latency from the intended send", "ms")
    assert drawn(latency) == {
        "p50": (2, None, 4, None, 5),
        "p99": (10, None, 20, None, 30),
        "max": (50, None, 60, None, 70),
    }
    assert drawn(backlog) == {"outstanding": (4, 4, 4, None, 4)}


def test_thinning_loses_no_largest_latency() -> None:
    rows = [interval(float(t), (0.001, 0.002, 9.0 if t == 1_001 else 0.003)) for t in range(4_000)]
    *_, latency = load_panels(rows, 0.0)
    assert len(latency.times_s) <= POINTS_MAX
    assert set(drawn(latency)["max"]) == {3, 9_000}

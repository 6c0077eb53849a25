"""Following a run by its record: what has come since the last look, at any moment of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from meshmark.analysis.exposition import FAMILIES, HOSTS, Distribution, Load, Reading, of_sample
from meshmark.backends.simulated import SimulatedClock
from meshmark.errors import RecordError
from meshmark.histogram import Histogram, latency
from meshmark.live.follow import KEPT_S, Following
from meshmark.metrics import METRICS
from meshmark.planfile import estimate_seconds
from meshmark.record import Latency, LoadInterval, LoadTotals, RoundStarted
from meshmark.resumed import Resumed
from meshmark.store import RunWriter, load

from .conftest import AT_EDGES


def values(following: Following) -> dict[tuple[str, tuple[str, ...]], Reading]:
    return {(reading.family.name, reading.labels): reading for _, reading in following.readings()}


def test_a_run_that_has_not_begun_tells_nothing(tmp_path: Path) -> None:
    following = Following(tmp_path / "later")
    following.look()
    assert following.started is None
    assert list(following.readings()) == []


def test_the_round_that_goes_on_gives_its_last_reading_of_everything(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    data = load(going_on).rounds[-1]
    last = data.series()[-1].values
    found = values(following)
    assert found["meshmark_log_bytes", ("broker-1", "kafka")].value == last["broker-1/kafka/log_bytes"]
    of_round = {of_round for of_round, _ in following.readings()}
    assert of_round == {(load(going_on).started.run_id, data.started.scenario, "1")}


def test_what_is_read_at_edges_alone_is_told_with_every_reading(edges: Path) -> None:
    """A rule that holds a rate against a limit needs both at the same time."""
    following = Following(edges)
    following.look()
    assert following.round is not None
    read = load(edges).rounds[-1].series()
    assert not read[-1].values.keys() & AT_EDGES, "a tick was last"
    before = read[-2].values
    found = values(following)
    told = {labels for name, labels in found if name == "meshmark_cpu_user_seconds"}
    assert {("machine", "kernel"), ("machine", "others")} <= told
    assert found["meshmark_queued_packets", ("broker-1", "net")].value == before["broker-1/net/queued_packets"]
    of_kernel = found["meshmark_cpu_system_seconds", ("machine", "kernel")]
    assert of_kernel.value == before["machine/kernel/cpu_system_s"]
    now = found["meshmark_log_bytes", ("broker-1", "kafka")]
    assert now.value == read[-1].values["broker-1/kafka/log_bytes"]


def test_between_two_rounds_and_after_the_last_there_is_nothing(whole: Path) -> None:
    following = Following(whole)
    following.look()
    assert following.finished is not None
    assert list(following.readings()) == []


def test_lines_are_read_once_and_a_line_that_is_cut_waits_for_its_end(going_on: Path) -> None:
    (last,) = going_on.glob("rounds/002-*")
    series = (last / "series.jsonl").read_text(encoding="utf-8")
    some = series.splitlines(keepends=True)
    (last / "series.jsonl").write_text("".join(some[:4]) + some[4][:30], encoding="utf-8")
    following = Following(going_on)
    following.look()
    assert following.round is not None
    assert len(following.round.samples) == 4
    (last / "series.jsonl").write_text("".join(some[:5]), encoding="utf-8")
    following.look()
    following.look()
    assert [each.time_s for each in following.round.samples] == [
        each.time_s for each in load(going_on).rounds[-1].series()[:5]
    ]


def test_of_a_run_that_is_to_go_on_nothing_is_told_before_it_does(going_on: Path) -> None:
    following = Following(going_on, resumptions=1)
    following.look()
    assert list(following.readings()) == []
    resumed = Resumed(resumed_at=1, time_s=1, command=(), rounds_kept=1, remains="remains/1", digest=None)
    writer = RunWriter.reopen(going_on, resumed)
    following.look()
    assert following.started is not None
    assert following.round is not None
    assert following.round.seconds is not None, "the one that was kept"
    cut = json.loads(next(going_on.glob("remains/1/002-*/started.json")).read_text(encoding="utf-8"))
    writer.round(RoundStarted.model_validate(cut))
    following.look()
    assert following.round.started.index == 2
    assert not following.round.samples


def test_only_the_last_minutes_are_kept(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    assert following.round is not None
    samples = following.round.samples
    assert samples[-1].time_s - samples[0].time_s <= KEPT_S


def test_a_damaged_line_is_told_with_its_place(going_on: Path) -> None:
    (last,) = going_on.glob("rounds/002-*")
    with (last / "series.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"time_s": "never"}\n')
    with pytest.raises(RecordError, match=r"series\.jsonl:\d+"):
        Following(going_on).look()


def test_the_time_left_follows_the_rounds_that_ended(going_on: Path) -> None:
    clock = SimulatedClock()
    following = Following(going_on)
    following.look()
    first, second = load(going_on).rounds
    assert first.finished is not None
    took = first.finished.time_s - first.started.time_s
    clock.sleep(second.started.time_s + 2.0 - clock.now())
    assert following.seconds_left(clock) == pytest.approx(took - 2.0)


def test_before_a_round_has_ended_the_time_left_is_the_plans_and_unknown_without_its_profile(going_on: Path) -> None:
    following = Following(going_on)
    following.look()
    assert following.plan is not None
    assert following.started is not None
    clock = SimulatedClock()
    first = Following(going_on)
    first.started, first.plan = following.started, following.plan
    assert first.seconds_left(clock) == pytest.approx(
        following.started.started_at + estimate_seconds(following.plan) - clock.wall()
    )
    first.plan = following.plan.model_copy(update={"profile": str(going_on / "gone.yaml")})
    assert first.seconds_left(clock) is None


def test_counters_of_several_loads_are_added() -> None:
    counted = Load()
    for offered in (10, 20, 5, 15):
        counted.add(LoadInterval(time_s=0, clients=1, totals=LoadTotals(offered=offered, outstanding=offered)))
    found = {reading.family.name: reading.value for reading in counted.readings()}
    assert found["meshmark_load_offered_records"] == 20 + 15
    assert found["meshmark_load_outstanding_records"] == 15


def test_a_load_whose_first_report_exceeds_the_last_ones_is_another_load() -> None:
    """A slow load, and then one that has acknowledged more within its first quarter of a second."""
    counted = Load()
    for offered, new in ((10, 10), (20, 10), (500, 500), (900, 400)):
        reported = Latency(
            count=new, p50_s=0.1, p90_s=0.1, p99_s=0.1, p99_9_s=0.1, max_s=0.1, histogram=histogram(new)
        )
        totals = LoadTotals(offered=offered, acknowledged=offered)
        counted.add(LoadInterval(time_s=0, clients=1, totals=totals, latency=reported))
    found = {reading.family.name: reading.value for reading in counted.readings()}
    assert found["meshmark_load_acknowledged_records"] == 20 + 900
    (latencies,) = (value for value in found.values() if isinstance(value, Distribution))
    assert latencies.count == 20 + 900


def histogram(count: int) -> str:
    filled = Histogram()
    filled.record(np.full(count, 100_000))
    return filled.encode()


def test_latencies_are_counted_in_buckets_that_add_up() -> None:
    histogram = Histogram()
    for milliseconds in (1, 3, 3, 40, 2_500):
        histogram.record(np.array([milliseconds * 1_000]))
    interval = LoadInterval(time_s=0, clients=1, totals=LoadTotals(), latency=latency(histogram))
    counted = Load()
    counted.add(interval)
    counted.add(interval)
    (found,) = (reading.value for reading in counted.readings() if isinstance(reading.value, Distribution))
    assert found.count == 10
    assert found.at_most.tolist() == [2, 2, 6, 6, 6, 8, 8, 8, 8, 8, 8, 10, 10, 10]
    assert found.sum_s == pytest.approx(2 * 2.547, rel=1e-3)


def test_every_metric_has_a_family_of_its_own_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert len({reading.family.name for metric in METRICS for reading in of_sample({f"h/c/{metric}": 1.0})}) == len(
        METRICS
    )


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("cpu_user_s", "meshmark_cpu_user_seconds_total"),
        ("memory_rss_bytes", "meshmark_memory_rss_bytes"),
        ("limit_bytes_s", "meshmark_limit_bytes_per_second"),
        ("limit_ops_s", "meshmark_limit_ops_per_second"),
        ("tx_packets", "meshmark_tx_packets_total"),
        ("connections", "meshmark_connections"),
    ],
)
def test_names_are_as_prometheus_has_them(metric: str, name: str) -> None:
    (reading,) = of_sample({f"broker-1/kafka/{metric}": 1.0})
    assert reading.family.samples == (name,)
    assert reading.labels == ("broker-1", "kafka")


def test_a_name_ends_in_the_unit_of_its_metric() -> None:
    ends = {"s": "_seconds", "bytes": "_bytes", "bytes/s": "_bytes_per_second", "operations/s": "_ops_per_second"}
    told = {
        metric: next((end for end in ends.values() if HOSTS[metric].name.endswith(end)), None) for metric in METRICS
    }
    assert told == {metric: ends.get(each.unit) for metric, each in METRICS.items()}


def test_a_component_may_hold_a_slash() -> None:
    (reading,) = of_sample({"machine/others:kworker/0:1/cpu_user_s": 1.0})
    assert reading.labels == ("machine", "others:kworker/0:1")

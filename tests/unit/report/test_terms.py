"""Which term binds over a distance: bounds by arithmetic, what is named, and what settings are said to move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from meshmark.analysis.model import CpuPerGb, Summary
from meshmark.analysis.settings_tried import agrees, changed, predicted
from meshmark.analysis.terms import (
    Most,
    Setup,
    Way,
    batches,
    binding,
    buffers,
    cpu,
    explained,
    fetches,
    held,
    judged,
    layout,
    setup,
)
from meshmark.analysis.wan_model import Binding, Bound, Term
from meshmark.data_plane import DataPlane
from meshmark.kafka import admin
from meshmark.plan import ClusterSpec, ConfigValue, Plan, Scenario, Workload
from meshmark.report import terms as grids
from meshmark.report.html import html
from meshmark.report.markdown import markdown
from meshmark.report.table import table
from meshmark.topology import Link, MeshCluster, Topology
from tests.unit.report.conftest import METHOD, PLAN, Tell, Told

RTT_S, SIZE, MIB = 0.024, 512, 2**20
KERNEL = (6 * MIB, 4 * MIB)
THIRD = 1 / 3

Config = dict[str, ConfigValue]


def topology(rtt_ms: float = RTT_S * 1e3, *, passive: bool = False, limit: float | None = None) -> Topology:
    clusters = (
        MeshCluster(name="near", brokers=2, clients=1),
        MeshCluster(name="far", brokers=1, passive=passive),
    )
    return Topology(clusters=clusters, links=(Link(ends=("near", "far"), rtt_ms=rtt_ms, bandwidth_bytes_s=limit),))


def scenario(
    plane: DataPlane = DataPlane.PLAIN,
    broker: Config | None = None,
    producer: Config | None = None,
    where: Topology | None = None,
    replicas: int = 3,
    name: str = "x",
) -> Scenario:
    return Scenario(
        name=name,
        data_plane=plane,
        cluster=ClusterSpec(brokers=3, clients=1, broker_config=broker or {}, topology=where or topology()),
        workload=Workload(
            topics=3,
            partitions_per_topic=3,
            replication_factor=replicas,
            message_size=SIZE,
            workers=20,
            producer_config={"acks": "all", "queue.buffering.max.messages": 2_000} | (producer or {}),
        ),
        method=METHOD,
    )


def at(
    plane: DataPlane = DataPlane.PLAIN,
    broker: Config | None = None,
    producer: Config | None = None,
    kernel: tuple[int, int] | None = KERNEL,
) -> Setup:
    """2 brokers and clients here, 1 broker there, three partitions led by each, records as long as their values."""
    pairs = [("broker-1", "broker-3"), ("broker-2", "broker-3"), ("broker-3", "broker-1"), ("broker-3", "broker-2")]
    reach = {"broker-1": 0.0, "broker-2": 0.0, "broker-3": RTT_S}
    return Setup(
        scenario=scenario(plane, broker, producer),
        copies=tuple(Way(one, other, RTT_S, THIRD, 3) for one, other in pairs),
        produce=tuple(Way("clients", host, rtt_s, THIRD, 3) for host, rtt_s in reach.items()),
        copy_s=dict.fromkeys(reach, RTT_S),
        record_bytes=SIZE,
        kernel_bytes=kernel,
    )


EXCLUDED = DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION


def over(size: float, rtt_s: float = RTT_S) -> float:
    """Messages/s of the whole cluster, where a third of the bytes has `size` under way in each round trip."""
    return size / rtt_s / THIRD / SIZE


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ({}, over(3 * MIB)),
        ({"num.replica.fetchers": 4}, over(3 * MIB)),
        ({"replica.fetch.max.bytes": 8 * MIB}, over(10 * MIB)),
        ({"replica.fetch.max.bytes": 8 * MIB, "replica.fetch.response.max.bytes": 32 * MIB}, over(24 * MIB)),
        ({"replica.fetch.max.bytes": 8 * MIB, "num.replica.fetchers": 2}, over(20 * MIB)),
        ({"replica.fetch.max.bytes": 65_536}, over(3 * 65_536)),
    ],
)
def test_fetches_are_bound_by_the_answer_or_by_its_partitions(broker: Config, expected: float) -> None:
    found = fetches(at(broker=broker))
    assert found is not None
    assert found.rate_msg_s == pytest.approx(expected)


@pytest.mark.parametrize(
    ("plane", "broker", "kernel", "expected"),
    [
        (DataPlane.PLAIN, {}, KERNEL, over(65_536)),
        (DataPlane.KAFKA_TLS, {}, None, over(65_536)),
        (DataPlane.PLAIN, {"num.replica.fetchers": 2}, KERNEL, over(2 * 65_536)),
        (DataPlane.PLAIN, {"num.replica.fetchers": 9}, KERNEL, over(3 * 65_536)),
        (DataPlane.PLAIN, {"replica.socket.receive.buffer.bytes": 300_000}, KERNEL, over(102_400)),
        (DataPlane.PLAIN, {"replica.socket.receive.buffer.bytes": -1}, KERNEL, over(102_400)),
        (
            DataPlane.PLAIN,
            {"replica.socket.receive.buffer.bytes": -1, "socket.send.buffer.bytes": -1},
            KERNEL,
            over(20 * 102_400),  # of the producers' connections: less than the kernel gives to one follower
        ),
        (
            DataPlane.PLAIN,
            {"replica.socket.receive.buffer.bytes": -1, "socket.send.buffer.bytes": -1},
            (MIB, 4 * MIB),
            over(MIB / 2),
        ),
        (DataPlane.PLAIN, {"socket.receive.buffer.bytes": 1_024}, KERNEL, over(20 * 1_024)),
        (DataPlane.ISTIO_MTLS, {"replica.socket.receive.buffer.bytes": 1_024}, KERNEL, over(2 * MIB)),
        (DataPlane.ISTIO_MTLS, {}, None, None),
        (EXCLUDED, {"replica.socket.receive.buffer.bytes": 1_024}, KERNEL, over(1_024)),
        (EXCLUDED, {"socket.receive.buffer.bytes": 1_024}, KERNEL, over(65_536)),
        (DataPlane.ISTIO_CLIENTS, {"socket.receive.buffer.bytes": 1_024}, KERNEL, over(20 * 1_024)),
    ],
)
def test_buffers_of_kafka_meet_the_distance_only_where_no_sidecar_does(
    plane: DataPlane, broker: Config, kernel: tuple[int, int] | None, expected: float | None
) -> None:
    found = buffers(at(plane, broker, kernel=kernel))
    assert found is not None
    assert found.rate_msg_s == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("producer", "expected"),
    [
        ({}, over(20 * 1_000_000)),
        ({"max.in.flight": 1}, over(20 * 1_000_000, 2 * RTT_S)),
        ({"max.in.flight.requests.per.connection": 2}, over(20 * 1_000_000)),
        ({"batch.size": 16_384}, over(20 * 16_384)),
        ({"batch.num.messages": 10}, over(20 * 10 * SIZE)),
        ({"queue.buffering.max.messages": 100}, over(20 * 100 * SIZE)),
        ({"acks": "1", "max.in.flight": 4}, over(20 * 1_000_000, RTT_S / 4)),
        ({"acks": "1", "enable.idempotence": True}, over(20 * 1_000_000, RTT_S / 5)),
        ({"acks": "0"}, None),
    ],
)
def test_a_connection_has_one_batch_in_hand_at_each_leader(producer: Config, expected: float | None) -> None:
    found = batches(at(producer=producer))
    assert (None if found is None else found.rate_msg_s) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("key", ["compression.type", "compression.codec"])
def test_a_batch_has_the_size_that_it_has_before_compression(key: str) -> None:
    plain = batches(at(producer={"batch.size": 16_384}))
    packed = replace(at(producer={"batch.size": 16_384, key: "lz4"}), record_bytes=SIZE / 4)
    assert batches(packed) == plain
    wider = fetches(packed), fetches(at())
    assert wider[0] is not None
    assert wider[1] is not None
    assert (wider[0].rate_msg_s or 0) == pytest.approx(4 * (wider[1].rate_msg_s or 0))


@pytest.mark.parametrize(
    ("producer", "round_trips"), [({}, 4 / 3), ({"acks": "1"}, 1 / 3), ({"request.required.acks": "all"}, 4 / 3)]
)
def test_a_client_holds_records_until_they_are_copied(producer: Config, round_trips: float) -> None:
    found = held(at(producer=producer))
    assert found is not None
    assert found.rate_msg_s == pytest.approx(20 * 2_000 / (round_trips * RTT_S))


@pytest.mark.parametrize(
    ("where", "replicas"), [(topology(), 3), (topology(), 2), (topology(), 1), (topology(passive=True), 3)]
)
def test_partitions_are_where_the_lab_puts_them(where: Topology, replicas: int) -> None:
    made = admin.layout(3, 3, replicas, [1, 2, 3], "t", where.leading())
    nodes = [each for assignment in made.values() for each in assignment]
    led, copied = layout(scenario(where=where, replicas=replicas))
    assert led == Counter(each[0] for each in nodes)
    assert copied == Counter((each[0], follower) for each in nodes for follower in each[1:])


def bound(term: Term, allows: float | None, share: float | None = None, *, near: bool = False) -> Bound:
    return Bound(term=term, bound_msg_s=allows, how="", share=share, near=near)


@pytest.mark.parametrize(
    ("rate", "own_cpu", "binds"),
    [
        (500.0, False, ("fetch size",)),
        (490.0, False, ()),
        (1_050.0, False, ("fetch size", "TCP buffers")),
        (1_400.0, False, ("TCP buffers",)),  # beyond what fetches allow: that bound is none
        (3_500.0, False, ("CPU",)),
        (3_500.0, True, ()),
        (3_700.0, True, ("CPU",)),
        (9_000.0, False, ()),
        (None, False, ()),
    ],
)
def test_the_least_bound_that_the_rate_comes_near_is_named(
    rate: float | None, own_cpu: bool, binds: tuple[Term, ...]
) -> None:
    allow: dict[Term, Most | None] = {
        "CPU": Most(4_000.0, ""),
        "TCP buffers": Most(1_500.0, ""),
        "fetch size": Most(1_000.0, ""),
        "link": None,
    }
    found = judged(rate, allow, own_cpu=own_cpu)
    assert [each.term for each in found] == ["fetch size", "TCP buffers", "CPU"]
    assert binding(found, own_cpu=own_cpu) == binds


@pytest.mark.parametrize(
    ("client_cpus", "clients", "seconds_a_cpu"),
    [(0, 10.0, 60.0 / 4), (1, 10.0, 50.0 / 3), (1, 30.0, 30.0), (2, None, 60.0 / 2)],
)
def test_the_side_with_too_few_cpus_counts_where_load_workers_have_their_own(
    whole: Told, client_cpus: int, clients: float | None, seconds_a_cpu: float
) -> None:
    used = CpuPerGb(machine=60.0, clients=clients)
    row = whole.summary.scenarios[0].model_copy(update={"cpu_s_per_gb": used})
    found = cpu(4, client_cpus, row, SIZE)
    assert found is not None
    assert found.rate_msg_s == pytest.approx(1e9 / SIZE / seconds_a_cpu)


def test_a_busy_cpu_is_named_after_a_bound_where_there_is_nothing_to_compare_it_with() -> None:
    found = [bound("CPU", 100, 0.95, near=True), bound("TCP buffers", 120, 0.8, near=True)]
    assert binding(found, own_cpu=False) == ("CPU", "TCP buffers")
    assert binding(found, own_cpu=True) == ("TCP buffers", "CPU")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "unknown: there is no rate, or no bound"),
        ([bound("link", 10, 0.5), bound("CPU", 20, 0.25)], "the nearest is link, 50 % of it"),
        ([bound("link", 10, 3.0)], "beyond all bounds"),
    ],
)
def test_where_no_bound_is_near_it_is_unknown(found: list[Bound], said: str) -> None:
    assert explained(found, ()).startswith("unknown")
    assert said in explained(found, ())


def plan(*scenarios: Scenario, baseline: str = "") -> Plan:
    return PLAN.model_copy(update={"scenarios": scenarios, "repeats": 1, "baseline": baseline or scenarios[0].name})


@pytest.fixture
def stretched(tell: Tell) -> Told:
    return tell(
        plan(
            scenario(name="2ms", where=topology(2, limit=50e6)),
            scenario(name="300ms", where=topology(300, limit=50e6)),
            scenario(name="300ms-single", where=topology(300, limit=50e6), producer={"batch.num.messages": 1}),
            scenario(DataPlane.ISTIO_MTLS, name="mesh", where=topology(300, limit=50e6)),
            baseline="300ms",
        )
    )


def of(summary: Summary, name: str) -> dict[Term, Bound]:
    [row] = [each for each in summary.distance_terms if each.scenario == name]
    return {each.term: each for each in row.bounds}


def test_bounds_are_of_the_record_and_stand_in_every_report(stretched: Told) -> None:
    summary = stretched.summary
    assert [row.scenario for row in summary.distance_terms] == ["2ms", "300ms", "300ms-single", "mesh"]
    [near] = [row for row in summary.scenarios if row.name == "2ms"]
    [asked] = [each for each in stretched.run.plan.scenarios if each.name == "2ms"]
    found = setup(stretched.run, asked, near)
    assert {way.rtt_s for way in found.copies} == {0.002}
    assert found.kernel_bytes == KERNEL
    assert near.bytes_per_batch is not None
    assert near.records_per_batch is not None
    assert found.record_bytes == near.bytes_per_batch / near.records_per_batch > SIZE

    for name in ("2ms", "300ms"):
        for each in of(summary, name).values():
            assert each.share is not None
            assert each.bound_msg_s is not None
            [row] = [row for row in summary.distance_terms if row.scenario == name]
            assert each.share == pytest.approx((row.rate_msg_s or 0) / each.bound_msg_s)
    near_bounds, far_bounds, mesh = (of(summary, name) for name in ("2ms", "300ms", "mesh"))
    over_rtt: tuple[Term, ...] = ("fetch size", "TCP buffers", "batches in flight", "records held")
    for term in over_rtt:
        assert near_bounds[term].bound_msg_s == pytest.approx(150 * (far_bounds[term].bound_msg_s or 0), rel=0.01)
    assert near_bounds["CPU"].bound_msg_s == far_bounds["CPU"].bound_msg_s, "of that which needs least"
    assert "CPUs" in far_bounds["CPU"].how
    assert "in 2ms" in far_bounds["CPU"].how
    assert (mesh["TCP buffers"].bound_msg_s or 0) > 10 * (far_bounds["TCP buffers"].bound_msg_s or 0)

    for text in (table(summary), markdown(summary), html(stretched.run, summary)):
        assert "what binds over the distance" in text.lower()
        assert "settings tried at a distance" in text.lower()
    assert "How what each term allows was computed" in html(stretched.run, summary)
    grid = grids.bounds(summary)
    assert grid is not None
    assert len(grid.rows) == sum(len(row.bounds) for row in summary.distance_terms)


def test_the_simulated_system_has_no_pipe_so_its_rate_is_beyond_that_bound_and_nothing_binds(stretched: Told) -> None:
    [row] = [row for row in stretched.summary.distance_terms if row.scenario == "300ms"]
    assert (of(stretched.summary, "300ms")["TCP buffers"].share or 0) > 2.2
    assert row.binds == ()
    assert row.explained.startswith("unknown: no bound is near")


def test_a_setting_that_the_rate_does_not_follow_is_told(stretched: Told) -> None:
    [tried] = stretched.summary.settings_tried
    assert (tried.scenario, tried.baseline) == ("300ms-single", "300ms")
    assert tried.changed == "batch.num.messages=1"
    assert (tried.binds, tried.predicted) == (None, "down")
    assert tried.reason == "batches in flight is now below the baseline's rate"
    assert tried.agrees is not True


def test_without_a_distance_nothing_is_said_of_terms(whole: Told) -> None:
    assert whole.summary.distance_terms == ()
    assert whole.summary.settings_tried == ()
    assert grids.terms(whole.summary) is grids.bounds(whole.summary) is grids.settings(whole.summary) is None


def base(*bounds: Bound, binds: tuple[Term, ...], rate: float = 80.0) -> Binding:
    return Binding(
        scenario="base",
        data_plane=DataPlane.PLAIN,
        rtt_s=0.05,
        rate_msg_s=rate,
        ceiling=True,
        answer_s=None,
        bounds=bounds,
        binds=binds,
        explained="",
    )


@pytest.mark.parametrize(
    ("binds", "own", "direction"),
    [
        (("TCP buffers",), [bound("TCP buffers", 300)], "up"),
        (("TCP buffers",), [bound("TCP buffers", 85)], "down"),
        (("TCP buffers",), [bound("TCP buffers", 100), bound("fetch size", 9_000)], "same"),
        (("TCP buffers",), [bound("TCP buffers", 100), bound("fetch size", 50)], "down"),
        (("TCP buffers",), [bound("TCP buffers", 100), bound("fetch size", 300)], "down"),
        (("CPU", "TCP buffers"), [bound("TCP buffers", 100), bound("fetch size", 300)], "same"),
        (("TCP buffers",), [bound("TCP buffers", None)], None),
        (("CPU", "TCP buffers"), [bound("TCP buffers", 300)], "same"),
        ((), [bound("TCP buffers", 300)], None),
        ((), [bound("batches in flight", 40)], "down"),
    ],
)
def test_a_setting_moves_the_rate_as_it_moves_what_binds(
    binds: tuple[Term, ...], own: list[Bound], direction: str | None
) -> None:
    before = base(bound("TCP buffers", 100), bound("fetch size", 1_000), binds=binds)
    assert predicted(before, own).direction == direction


def test_the_settings_of_a_run_move_its_rate_as_its_terms_add_up() -> None:
    """Bounds of the run 66690688 at 50 ms, of `plain` and of fetches of 64 KiB, of 8 MiB and batches of 16 KiB."""
    terms: tuple[Term, ...] = ("batches in flight", "fetch size", "TCP buffers")
    before = base(*map(bound, terms, (900_000, 710_000, 7_483)), binds=("TCP buffers",), rate=7_109)
    assert predicted(before, list(map(bound, terms, (900_000, 22_800, 7_483)))).direction == "down"
    assert predicted(before, list(map(bound, terms, (900_000, 5_700_000, 7_483)))).direction == "same"
    assert predicted(before, list(map(bound, terms, (38_500, 710_000, 7_483)))).direction == "down"


def test_a_bound_that_was_exceeded_before_says_nothing_of_a_setting() -> None:
    before = base(bound("fetch size", 20), bound("TCP buffers", 100), binds=("TCP buffers",))
    assert predicted(before, [bound("fetch size", 20), bound("TCP buffers", 200)]).direction == "up"


@pytest.mark.parametrize(
    ("acknowledged", "direction"),
    [
        ([bound("batches in flight", 40), bound("TCP buffers", 100)], "down"),
        ([bound("batches in flight", 40), bound("TCP buffers", 9_000)], "down"),
        ([bound("batches in flight", 200), bound("records held", 200), bound("TCP buffers", 100)], "down"),
        ([bound("records held", 95), bound("TCP buffers", 9_000)], "same"),
        ([bound("records held", 9_000), bound("TCP buffers", 100)], "same"),
        ([bound("records held", None), bound("TCP buffers", 100)], "same"),
        ([bound("link", 85), bound("TCP buffers", 100)], "same"),
    ],
)
def test_waiting_for_answers_takes_its_time_where_nothing_was_waited_for(
    acknowledged: list[Bound], direction: str
) -> None:
    before = base(bound("TCP buffers", 100), binds=("TCP buffers",))
    assert predicted(before, acknowledged).direction == direction


def test_what_is_waited_for_no_more_takes_no_time() -> None:
    waits = base(bound("batches in flight", 100), bound("TCP buffers", 1_000), binds=("batches in flight",))
    assert predicted(waits, [bound("TCP buffers", 1_000)]).direction == "up"
    assert predicted(waits, [bound("TCP buffers", 90)]).direction == "same"
    alone = base(bound("batches in flight", 100), binds=("batches in flight",))
    assert predicted(alone, []) == ("up", "batches in flight binds, and no term takes time any more")
    link = base(bound("link", 100), bound("TCP buffers", 1_000), binds=("link",))
    assert predicted(link, [bound("TCP buffers", 1_000)]).direction is None


def test_a_prediction_is_judged_only_by_what_is_known() -> None:
    assert agrees("up", "up") is True
    assert agrees("same", "down") is False
    assert agrees("same", "cannot tell") is agrees(None, "up") is agrees("up", None) is None


def test_changed_settings_are_told_with_their_values() -> None:
    one, other = scenario(), scenario(broker={"num.replica.fetchers": 4}, producer={"batch.size": 1})
    assert changed(one, other) == "num.replica.fetchers=4, batch.size=1"
    assert changed(other, one) == "num.replica.fetchers=default, batch.size=default"
    assert changed(one, one) == ""

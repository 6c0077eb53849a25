"""Bytes of every path by arithmetic, and what is said when an interface counted something else."""

from __future__ import annotations

import pytest

from meshmark.analysis.traffic import amiss, stored_bytes, traffic
from meshmark.data_plane import DataPlane
from meshmark.plan import Scenario, Workload
from meshmark.record import BatchFill, Counters, LoadTotals, Trial
from tests import trials

RECORDS = 1_000_000
PER_BATCH = 100.0
LOG = stored_bytes(RECORDS, 512, PER_BATCH)
REQUESTS = 59 * RECORDS / PER_BATCH
ANSWERS = 80 * RECORDS / PER_BATCH
PACKETS = 1_000.0
HEADERS = 66 * PACKETS
BROKERS = ("broker-1", "broker-2", "broker-3")


def scenario(
    data_plane: DataPlane = DataPlane.PLAIN, *, groups: int = 0, acks: str = "all", compression: str = "none"
) -> Scenario:
    producer = {"acks": acks, "compression.type": compression}
    workload = Workload(subscriptions_per_topic=groups, producer_config=producer)
    return Scenario(name="it", data_plane=data_plane, workload=workload)


def moved(groups: int = 0, tls: float = 1.0, replicated: float | None = None) -> Counters:
    """A third of the log is led by each broker; a thousand packets each way at each interface. `tls`: what it makes of
    a byte; of one that is replicated, `replicated`, if that is another."""
    copied = tls if replicated is None else replicated
    grown: Counters = {}
    for host in BROKERS:
        grown[f"{host}/kafka/leader_log_bytes"] = LOG / 3
        grown |= {f"{host}/net/rx_packets": PACKETS, f"{host}/net/tx_packets": PACKETS}
        grown[f"{host}/net/rx_bytes"] = (LOG / 3 + REQUESTS / 3) * tls + 2 * LOG / 3 * copied + HEADERS
        grown[f"{host}/net/tx_bytes"] = (groups * LOG / 3 + ANSWERS / 3) * tls + 2 * LOG / 3 * copied + HEADERS
    grown |= {"client-1/net/rx_packets": PACKETS, "client-1/net/tx_packets": PACKETS}
    grown["client-1/net/tx_bytes"] = (LOG + REQUESTS) * tls + HEADERS
    grown["client-1/net/rx_bytes"] = (groups * LOG + ANSWERS) * tls + HEADERS
    return grown


def trial(grown: Counters, per_batch: float | None = PER_BATCH) -> Trial:
    total = LoadTotals(offered=RECORDS, acknowledged=RECORDS, acknowledged_bytes=512 * RECORDS)
    return trials.trial(
        window=total,
        batch=BatchFill(records_per_batch=per_batch, bytes_per_batch=52_000, requests=10_000, request_bytes=0),
        quiet_start=dict.fromkeys(grown, 7.0),
        quiet_end={key: value + 7.0 for key, value in grown.items()},
    )


@pytest.mark.parametrize(
    ("value_bytes", "per_batch", "each"),
    [
        pytest.param(512, 1, 512 + 7 + 2 + 61, id="a batch of one: seven fields' bytes, two for the length"),
        pytest.param(512, 64, 512 + 7 + 2 + 61 / 64, id="offsets of one byte"),
        pytest.param(512, 128, 512 + 7.5 + 2 + 61 / 128, id="half of the offsets take two"),
        pytest.param(10, 1, 10 + 6 + 1 + 61, id="a small value: lengths of one byte"),
        pytest.param(100_000, 1, 100_000 + 8 + 3 + 61, id="a large one: lengths of three"),
    ],
)
def test_records_in_a_log(value_bytes: int, per_batch: float, each: float) -> None:
    assert stored_bytes(10, value_bytes, per_batch) / 10 == pytest.approx(each)


def test_keys_are_in_a_log_as_they_are() -> None:
    assert stored_bytes(10, 512, 1, key_bytes=10) == stored_bytes(10, 512, 1) + 10 * 10


@pytest.mark.parametrize(
    ("data_plane", "groups", "tls"),
    [
        (DataPlane.PLAIN, 0, 1.0),
        (DataPlane.ISTIO, 2, 1.0),
        (DataPlane.ISTIO_MTLS, 1, 1 + 22 / 16_384),
        (DataPlane.KAFKA_TLS, 0, 1 + 22 / 16_384),
    ],
)
def test_what_adds_up_holds_on_every_path_and_at_every_interface(
    data_plane: DataPlane, groups: int, tls: float
) -> None:
    rows = traffic(trial(moved(groups, tls)), scenario(data_plane, groups=groups))
    consume = ["consume"] if groups else []
    hosts = [f"{host} {does}" for host in BROKERS for does in ("receives", "sends")]
    assert [row.path for row in rows] == ["log", "produce", "replicate", *consume, *hosts]
    assert all(row.holds for row in rows)
    assert [row.error for row in rows] == pytest.approx([0.0] * len(rows), abs=2e-3)
    assert amiss(rows) == ()


def test_tls_is_on_the_hops_that_are_encrypted_and_on_no_others() -> None:
    tls = 1 + 22 / 16_384
    grown = moved(1, tls, replicated=1.0)
    rows = traffic(trial(grown), scenario(DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, groups=1))
    assert [row.error for row in rows] == pytest.approx([0.0] * len(rows), abs=1e-4)
    with_tls = [row.path for row in rows if "TLS" in row.explained]
    hosts = [f"{host} {does}" for host in BROKERS for does in ("receives", "sends")]
    assert with_tls == ["produce", "consume", *hosts]
    clients = traffic(trial(moved(1)), scenario(DataPlane.ISTIO_CLIENTS, groups=1))
    assert [row.path for row in clients if "TLS" in row.explained] == []


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        ("client-1/net/tx_bytes", ["produce"]),
        ("broker-2/net/rx_bytes", ["broker-2 receives"]),
        ("broker-2/net/tx_bytes", ["replicate", "broker-2 sends"]),
    ],
)
def test_an_interface_that_counted_a_tenth_more_is_named(key: str, paths: list[str]) -> None:
    grown = moved()
    rows = traffic(trial({**grown, key: grown[key] * 1.1}), scenario())
    assert [row.path for row in rows if row.holds is False] == paths
    assert [text.split(" is not")[0] for text in amiss(rows)] == paths


def test_only_kafkas_own_tls_may_cut_what_clients_send_into_small_records() -> None:
    grown = moved()
    small = {**grown, "client-1/net/tx_bytes": grown["client-1/net/tx_bytes"] + 44 * RECORDS}
    for data_plane, holds in ((DataPlane.KAFKA_TLS, True), (DataPlane.ISTIO_MTLS, False)):
        rows = {row.path: row for row in traffic(trial(small), scenario(data_plane))}
        assert rows["produce"].holds is holds


def test_without_acknowledgements_there_are_no_answers() -> None:
    grown = moved()
    rows = {row.path: row for row in traffic(trial(grown), scenario(acks="0"))}
    assert "answers 0 +" in rows["broker-1 sends"].explained


def test_what_was_not_counted_is_unknown() -> None:
    grown = moved()
    del grown["client-1/net/tx_bytes"]
    rows = {row.path: row for row in traffic(trial(grown), scenario())}
    assert (rows["produce"].counted_bytes, rows["produce"].error, rows["produce"].holds) == (None, None, None)
    assert rows["replicate"].holds
    assert traffic(trial(moved(), per_batch=None), scenario()) == ()


def test_a_compressed_log_is_taken_as_counted() -> None:
    rows = {row.path: row for row in traffic(trial(moved()), scenario(compression="lz4"))}
    assert "log" not in rows
    assert rows["produce"].holds

"""Sidecar counters against what Kafka moved: the right ones pass, each that is wrong is named."""

from __future__ import annotations

import pytest

from meshmark.analysis.path import JUDGED_BYTES, check_path, unexplained
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Scenario, Workload
from meshmark.record import BatchFill, Counters, PathCheck

BROKERS = ("broker-1", "broker-2", "broker-3")
LED = {"broker-1": 40e6, "broker-2": 35e6, "broker-3": 45e6}
OVERHEAD = 1.002  # of produce requests over the log
ASKED = 1e6  # bytes of fetch requests that a broker sends as a follower, and gets as a leader
FRAMES = 0.8e6  # of the answers to them


def counters(factor: int, groups: int, *, clients: tuple[str, ...] = ("client-1",), size: float = 1.0) -> Counters:
    """What a cluster counts whose followers fetch in equal parts, by arithmetic of its own."""
    total = sum(LED.values())
    values: Counters = {}
    for host, led in LED.items():
        followed = (total - led) * (factor - 1) / 2
        values[f"{host}/kafka/leader_log_bytes"] = led
        values[f"{host}/kafka/log_bytes"] = led + followed
        asked, frames = (ASKED, FRAMES) if factor > 1 else (0, 0)
        values[f"{host}/sidecar/inbound_rx_bytes"] = led * OVERHEAD + asked
        values[f"{host}/sidecar/inbound_tx_bytes"] = led * (factor - 1 + groups) + frames
        values[f"{host}/sidecar/outbound_rx_bytes"] = followed + frames
        values[f"{host}/sidecar/outbound_tx_bytes"] = asked
    for host in clients:
        values[f"{host}/sidecar/outbound_tx_bytes"] = total * OVERHEAD / len(clients)
        values[f"{host}/sidecar/outbound_rx_bytes"] = total * groups / len(clients)
    return {key: value * size for key, value in values.items()}


def check(
    end: Counters,
    *,
    factor: int = 3,
    groups: int = 0,
    data_plane: DataPlane = DataPlane.ISTIO_MTLS,
    clients: tuple[str, ...] = ("client-1",),
    request_bytes: float = sum(LED.values()) * OVERHEAD,
) -> tuple[PathCheck, ...]:
    scenario = Scenario(
        name="mesh",
        data_plane=data_plane,
        cluster=ClusterSpec(clients=len(clients)),
        workload=Workload(replication_factor=factor, subscriptions_per_topic=groups),
    )
    batch = BatchFill(records_per_batch=200, bytes_per_batch=100_000, requests=1_000, request_bytes=int(request_bytes))
    start = dict.fromkeys(end, 7.0)
    return check_path(
        start=start,
        end={key: value + 7.0 for key, value in end.items()},
        scenario=scenario,
        broker_hosts=BROKERS,
        client_hosts=clients,
        batch=batch,
    )


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_what_goes_through_all_sidecars_is_explained(factor: int, groups: int) -> None:
    checks = check(counters(factor, groups), factor=factor, groups=groups)
    assert unexplained(checks) == ()
    directions = {(item.host, item.direction) for item in checks}
    assert directions >= {("client-1", "outbound_tx"), *((host, "inbound_rx") for host in BROKERS)}
    assert (("broker-1", "outbound_rx") in directions) == (factor > 1)
    assert (("broker-1", "inbound_tx") in directions) == (factor > 1 or groups > 0)
    assert (("client-1", "outbound_rx") in directions) == (groups > 0)


@pytest.mark.parametrize("data_plane", [DataPlane.PLAIN, DataPlane.KAFKA_TLS])
def test_without_sidecars_there_is_nothing_to_check(data_plane: DataPlane) -> None:
    assert check(counters(3, 0), data_plane=data_plane) == ()


def excluded(groups: int) -> Counters:
    """Replication goes past the brokers' sidecars: what passes them is what a cluster without it has."""
    past = {key: value for key, value in counters(1, groups).items() if "/sidecar/" in key}
    past |= {f"{host}/sidecar/outbound_{way}_bytes": 0.0 for host in BROKERS for way in ("rx", "tx")}
    return {**counters(3, groups), **past}


@pytest.mark.parametrize("groups", [0, 2])
def test_replication_that_is_excluded_is_in_no_brokers_sidecar(groups: int) -> None:
    plane = DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION
    checks = check(excluded(groups), groups=groups, data_plane=plane)
    assert unexplained(checks) == ()
    of_broker = [(item.direction, item.expected_bytes > 0) for item in checks if item.host == "broker-1"]
    out = [("inbound_tx", True)] if groups else []
    assert of_broker == [("inbound_rx", True), *out, ("outbound_rx", False), ("outbound_tx", False)]
    assert "go past the sidecar; 0 bytes counted" in next(
        item.explained for item in checks if item.direction == "outbound_rx" and item.host == "broker-1"
    )


@pytest.mark.parametrize("way", ["outbound_rx", "outbound_tx"])
@pytest.mark.parametrize("counted", [1.0, 80e6])
def test_one_byte_of_replication_that_passes_a_sidecar_though_it_is_excluded_is_found(
    way: str, counted: float
) -> None:
    end = {**excluded(0), f"broker-2/sidecar/{way}_bytes": counted}
    found = unexplained(check(end, data_plane=DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION))
    assert f"the sidecar of broker-2 does not explain {way}: followed log 85 MB go past the sidecar" in found[0]
    assert f"{counted:.0f} bytes counted" in found[0]


def test_where_only_clients_have_sidecars_only_theirs_are_checked() -> None:
    end = {key: value for key, value in counters(3, 1).items() if "broker" not in key or "/kafka/" in key}
    checks = check(end, groups=1, data_plane=DataPlane.ISTIO_CLIENTS)
    assert unexplained(checks) == ()
    assert [(item.host, item.direction) for item in checks] == [
        ("client-1", "outbound_tx"),
        ("client-1", "outbound_rx"),
    ]
    del end["broker-1/kafka/log_bytes"]
    (text,) = unexplained(check(end, groups=1, data_plane=DataPlane.ISTIO_CLIENTS))
    assert "the sidecar of clients " in text


JUDGED_KEYS = [
    f"{host}/sidecar/{way}_bytes" for host in BROKERS for way in ("inbound_rx", "inbound_tx", "outbound_rx")
]
CLIENT_KEYS = ["client-1/sidecar/outbound_tx_bytes", "client-1/sidecar/outbound_rx_bytes"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("key", [*JUDGED_KEYS, *CLIENT_KEYS])
def test_bytes_that_went_past_one_sidecar_are_found_in_its_name(key: str, share: float) -> None:
    end = counters(3, 1)
    host, _, metric = key.split("/")
    (found,) = unexplained(check({**end, key: end[key] * share}, groups=1))
    assert found.startswith(f"the sidecar of {host} does not explain {metric.removesuffix('_bytes')}: ")


@pytest.mark.parametrize("key", JUDGED_KEYS)
def test_bytes_that_kafka_did_not_move_are_found(key: str) -> None:
    end = counters(3, 0)
    assert any(key.split("/")[0] in text for text in unexplained(check({**end, key: end[key] * 1.3})))


@pytest.mark.parametrize("key", [*JUDGED_KEYS, *CLIENT_KEYS])
def test_a_counter_that_was_not_read_explains_nothing(key: str) -> None:
    end = counters(3, 1)
    del end[key]
    host = key.split("/")[0]
    assert any(f"the sidecar of {host} " in text and "not read" in text for text in unexplained(check(end, groups=1)))


@pytest.mark.parametrize("metric", ["log_bytes", "leader_log_bytes"])
def test_without_kafkas_own_numbers_nothing_is_explained(metric: str) -> None:
    end = counters(3, 0)
    del end[f"broker-2/kafka/{metric}"]
    texts = unexplained(check(end))
    assert len(texts) == len(BROKERS)
    assert all(f"broker-2/kafka/{metric}" in text for text in texts)


def test_producers_whose_requests_were_not_counted_explain_nothing() -> None:
    (text,) = unexplained(check(counters(3, 0), request_bytes=0))
    assert "were not counted" in text


def test_sidecars_that_saw_nothing_at_all_fail_everywhere() -> None:
    end = {key: 0.0 if "/sidecar/" in key else value for key, value in counters(3, 1).items()}
    checks = check(end, groups=1)
    assert len(unexplained(checks)) == len(checks) == 11


def test_too_little_traffic_is_said_and_not_judged() -> None:
    size = JUDGED_BYTES / 2 / sum(LED.values())
    end = counters(3, 0, size=size)
    end["broker-1/sidecar/inbound_rx_bytes"] *= 1.5
    checks = check(end, request_bytes=sum(LED.values()) * OVERHEAD * size)
    assert unexplained(checks) == ()
    assert all("too little traffic to judge" in item.explained for item in checks)


def test_little_traffic_must_still_have_moved_every_counter() -> None:
    size = JUDGED_BYTES / 2 / sum(LED.values())
    end = {**counters(3, 0, size=size), "broker-3/sidecar/outbound_rx_bytes": 0.0}
    (text,) = unexplained(check(end, request_bytes=sum(LED.values()) * OVERHEAD * size))
    assert "broker-3" in text


def test_batches_that_are_cut_and_fetched_again_are_explained_up_to_one_batch_an_answer() -> None:
    end = counters(3, 2)
    read = end["client-1/sidecar/outbound_rx_bytes"]
    again = {**end, "client-1/sidecar/outbound_rx_bytes": read * 1.08}
    for host, led in LED.items():
        again[f"{host}/sidecar/inbound_tx_bytes"] += 0.08 * 2 * led
    assert unexplained(check(again, groups=2)) == ()
    assert unexplained(check({**end, "client-1/sidecar/outbound_rx_bytes": read * 1.3}, groups=2)) != ()


def test_leaders_are_held_together_where_nobody_tells_from_which_one_much_was_fetched_again() -> None:
    end = counters(3, 0)
    for host in ("broker-1", "broker-2"):
        end[f"{host}/sidecar/outbound_rx_bytes"] += 5e6
    end["broker-3/sidecar/inbound_tx_bytes"] += 10e6
    checks = check(end)
    assert unexplained(checks) == ()
    assert [item.host for item in checks if item.direction == "inbound_tx"] == ["brokers"]
    past_one = {**end, "broker-2/sidecar/inbound_tx_bytes": end["broker-2/sidecar/inbound_tx_bytes"] * 0.9}
    (text,) = unexplained(check(past_one))
    assert "brokers" in text


def test_several_client_hosts_are_checked_by_their_sum() -> None:
    clients = ("client-1", "client-2")
    end = counters(3, 1, clients=clients)
    end["client-1/sidecar/outbound_tx_bytes"] += 20e6
    end["client-2/sidecar/outbound_tx_bytes"] -= 20e6
    checks = check(end, groups=1, clients=clients)
    assert unexplained(checks) == ()
    assert [item.direction for item in checks if item.host == "clients"] == ["outbound_tx", "outbound_rx"]


def test_the_arithmetic_is_in_the_sentence() -> None:
    first = check(counters(3, 0))[0]
    assert (first.host, first.direction) == ("client-1", "outbound_tx")
    assert "producers' requests 120.24" in first.explained
    assert "120.24 MB counted (+0.0%)" in first.explained


def test_a_broker_that_leads_nothing_is_checked_as_a_follower() -> None:
    end = counters(3, 0)
    total = sum(LED.values())
    for host in BROKERS:
        led = total if host == "broker-1" else 0.0
        end[f"{host}/kafka/leader_log_bytes"] = led
        end[f"{host}/kafka/log_bytes"] = total
        end[f"{host}/sidecar/inbound_rx_bytes"] = led * OVERHEAD + (2 * ASKED if led else 0)
        end[f"{host}/sidecar/inbound_tx_bytes"] = 2 * led
        end[f"{host}/sidecar/outbound_rx_bytes"] = total - led
        end[f"{host}/sidecar/outbound_tx_bytes"] = 0.0 if led else ASKED
    checks = check(end)
    assert unexplained(checks) == ()
    assert {item.direction for item in checks if item.host == "broker-2"} == {"outbound_rx"}


def on_nodes(end: Counters, *nodes: str) -> Counters:
    """The same as the proxies of these nodes count it, in equal parts."""
    of_clients = {way: end[f"client-1/sidecar/outbound_{way}_bytes"] for way in ("tx", "rx")}
    carried = {
        "outbound_tx_bytes": of_clients["tx"],
        "outbound_rx_bytes": of_clients["rx"],
        "inbound_rx_bytes": of_clients["tx"],
        "inbound_tx_bytes": of_clients["rx"],
    }
    kafka = {key: value for key, value in end.items() if "/kafka/" in key}
    return kafka | {
        f"{node}/ztunnel/client-broker/{metric}": value / len(nodes)
        for node in nodes
        for metric, value in carried.items()
    }


@pytest.mark.parametrize("groups", [0, 1])
@pytest.mark.parametrize("nodes", [("n1",), ("n1", "n2")])
def test_what_ztunnels_carry_between_clients_and_brokers_is_explained(nodes: tuple[str, ...], groups: int) -> None:
    checks = check(on_nodes(counters(3, groups), *nodes), groups=groups, data_plane=DataPlane.AMBIENT)
    assert unexplained(checks) == ()
    told = [(item.host, item.direction) for item in checks]
    sent = [("ztunnel for clients", "outbound_tx"), ("ztunnel for brokers", "inbound_rx")]
    answered = [("ztunnel for clients", "outbound_rx"), ("ztunnel for brokers", "inbound_tx")] if groups else []
    assert sorted(told) == sorted([*sent, *answered])


@pytest.mark.parametrize("metric", ["outbound_tx_bytes", "inbound_rx_bytes"])
def test_bytes_that_went_past_one_nodes_ztunnel_are_found(metric: str) -> None:
    end = on_nodes(counters(3, 0), "n1", "n2", "n3")
    key = f"n2/ztunnel/client-broker/{metric}"
    (found,) = unexplained(check({**end, key: 0}, data_plane=DataPlane.AMBIENT))
    assert found.startswith("ztunnel for ")
    assert metric.removesuffix("_bytes") in found


def test_a_ztunnel_that_was_not_read_explains_nothing() -> None:
    kafka = {key: value for key, value in counters(3, 0).items() if "/kafka/" in key}
    found = unexplained(check(kafka, data_plane=DataPlane.AMBIENT))
    assert len(found) == 2
    assert all("not read" in text for text in found)


def test_behind_a_waypoint_only_what_clients_send_and_get_is_told() -> None:
    checks = check(on_nodes(counters(3, 1), "n1"), groups=1, data_plane=DataPlane.AMBIENT_WAYPOINT)
    assert {item.host for item in checks} == {"ztunnel for clients"}


def test_a_proxy_that_kafkas_ports_go_past_has_counted_nothing() -> None:
    nothing = {key: 0.0 if "/sidecar/" in key else value for key, value in counters(3, 1).items()}
    assert unexplained(check(nothing, groups=1, data_plane=DataPlane.LINKERD_SKIP)) == ()
    assert unexplained(check(counters(3, 1), groups=1, data_plane=DataPlane.LINKERD)) == ()
    assert len(unexplained(check(counters(3, 1), groups=1, data_plane=DataPlane.LINKERD_SKIP))) > 0

"""Statistics of a real Envoy (1.40), with Istio's names and with those of meshmark's own configuration."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from meshmark.metrics import METRICS
from meshmark.probes.envoy import STATS_PATH, statistics

ISTIO_NAMES = (Path(__file__).parent / "texts" / "envoy-istio-names.txt").read_text(encoding="utf-8")
NOW_AT = 1_800_000_000.5
AGES = (
    "server.uptime: 75\nlistener.0.0.0.0_15006.ssl.certificate.a.expiration_unix_time_seconds: 1800086400\n"
    "cluster.outbound.ssl.certificate.b.expiration_unix_time_seconds: 1800000060\n"
)
NOTHING = {
    "inbound_rx_bytes": 0,
    "inbound_tx_bytes": 0,
    "outbound_rx_bytes": 0,
    "outbound_tx_bytes": 0,
    "connections": 0,
}


def test_bytes_are_seen_from_the_application() -> None:
    assert statistics(ISTIO_NAMES, NOW_AT) == {
        "inbound_rx_bytes": 3000,
        "inbound_tx_bytes": 1500,
        "outbound_tx_bytes": 1000,
        "outbound_rx_bytes": 500,
        "connections": 2,
    }


@pytest.mark.parametrize(
    ("prefix", "way", "metric"),
    [
        ("inbound", "rx", "inbound_rx_bytes"),
        ("inbound", "tx", "inbound_tx_bytes"),
        ("outbound", "rx", "outbound_tx_bytes"),
        ("outbound", "tx", "outbound_rx_bytes"),
        ("inbound|9092||", "rx", "inbound_rx_bytes"),
        ("InboundPassthroughCluster", "rx", "inbound_rx_bytes"),
        ("outbound|9092||kafka.default.svc.cluster.local", "rx", "outbound_tx_bytes"),
        ("PassthroughCluster", "tx", "outbound_rx_bytes"),
    ],
)
def test_both_families_of_names_are_known(prefix: str, way: str, metric: str) -> None:
    assert statistics(f"tcp.{prefix}.downstream_cx_{way}_bytes_total: 42\n", NOW_AT) == {**NOTHING, metric: 42}


@pytest.mark.parametrize("prefix", ["BlackHoleCluster", "inbounder", "my.inbound", "outbounds"])
def test_bytes_of_other_proxies_are_not_the_meshs(prefix: str) -> None:
    assert statistics(f"tcp.{prefix}.downstream_cx_rx_bytes_total: 42\n", NOW_AT) == NOTHING


def test_several_proxies_of_one_direction_are_summed() -> None:
    page = "".join(f"tcp.inbound|{port}||.downstream_cx_rx_bytes_total: 10\n" for port in (9092, 9093, 5201))
    assert statistics(page, NOW_AT)["inbound_rx_bytes"] == 30


def test_connections_are_counted_once_and_the_admins_never() -> None:
    page = (
        "listener.inbound.downstream_cx_active: 3\nlistener.inbound.worker_0.downstream_cx_active: 3\n"
        "listener.outbound.downstream_cx_active: 4\nlistener.admin.downstream_cx_active: 9\n"
        "listener.admin.main_thread.downstream_cx_active: 9\n"
    )
    assert statistics(page, NOW_AT)["connections"] == 7


def test_a_sidecar_that_moved_nothing_prints_nothing() -> None:
    assert statistics("", NOW_AT) == NOTHING


@pytest.mark.parametrize("page", ["<html>busy</html>", "no such page", "tcp.inbound.downstream_cx_rx_bytes_total 42"])
def test_what_is_no_page_of_statistics_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="Envoy's statistics"):
        statistics(page, NOW_AT)


def test_envoy_is_asked_for_no_more_than_is_read() -> None:
    """The filter lets through every line that counts."""
    (wanted,) = parse_qs(urlsplit(STATS_PATH).query)["filter"]
    passed = [line for line in ISTIO_NAMES.splitlines() if re.search(wanted, line.split(": ")[0])]
    assert statistics("\n".join(passed), NOW_AT) == statistics(ISTIO_NAMES, NOW_AT)
    assert len(passed) < len(ISTIO_NAMES.splitlines()) / 1.5


def test_the_first_certificate_to_expire_counts_and_the_age_is_in_seconds() -> None:
    assert statistics(AGES, NOW_AT) == {**NOTHING, "uptime_s": 75, "certificate_left_s": 59.5}


def test_a_certificate_that_has_expired_has_less_than_nothing_left() -> None:
    assert statistics(AGES, NOW_AT + 100)["certificate_left_s"] == -40.5


def test_every_value_has_the_name_of_a_metric() -> None:
    assert statistics(AGES, NOW_AT).keys() <= METRICS.keys()

"""A page of metrics as linkerd2-proxy's source of August 2026 writes it (2.352): written by us, and of no proxy that
ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.metrics import METRICS
from meshmark.probes.linkerd import Connections, connections, statistics, version

PAGE = (Path(__file__).parent / "texts" / "linkerd-proxy-metrics.txt").read_text(encoding="utf-8")
KAFKA = 9092
NOW_AT = 1_800_000_000.0
NOTHING = dict.fromkeys(
    ("inbound_rx_bytes", "inbound_tx_bytes", "outbound_rx_bytes", "outbound_tx_bytes", "connections"), 0.0
)


def test_bytes_are_payload_of_kafkas_port_as_the_application_sees_it() -> None:
    assert statistics(PAGE, KAFKA, NOW_AT) == {
        "inbound_rx_bytes": 3000,
        "inbound_tx_bytes": 1500,
        "outbound_tx_bytes": 1100,
        "outbound_rx_bytes": 50,
        "connections": 20,
        "uptime_s": 100,
        "certificate_left_s": 86_400,
    }


def test_every_value_is_a_metric_of_the_record() -> None:
    assert statistics(PAGE, KAFKA, NOW_AT).keys() <= METRICS.keys()


def test_a_port_that_passes_the_proxy_by_has_real_zeros() -> None:
    found = statistics(PAGE, 9093, NOW_AT)
    assert {name: found[name] for name in NOTHING} == NOTHING
    assert statistics("", KAFKA, NOW_AT) == NOTHING
    assert connections(PAGE, 9093) == Connections(0, 0, 0, 0)


def test_connections_with_and_without_tls_are_told_apart_in_both_directions() -> None:
    assert connections(PAGE, KAFKA) == Connections(made=7, made_encrypted=7, taken=21, taken_encrypted=20)
    assert connections(PAGE, 443) == Connections(made=9, made_encrypted=0, taken=0, taken_encrypted=0)


def test_the_certificates_older_name_is_known() -> None:
    older = "identity_cert_expiration_timestamp_seconds 1800000060"
    assert statistics(older, KAFKA, NOW_AT)["certificate_left_s"] == 60


def test_the_proxy_says_its_version_or_that_is_told() -> None:
    assert version(PAGE) == "2.352.0"
    with pytest.raises(ValueError, match="no proxy_build_info with a version"):
        version("process_start_time_seconds 1799999900\n")


def test_addresses_of_the_other_family_have_ports_too() -> None:
    line = 'tcp_open_total{direction="outbound",peer="dst",target_addr="[fd00::2]:9092",tls="true"} 2\n'
    assert connections(line, KAFKA).made == 2

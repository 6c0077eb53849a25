"""Text of linkerd2-proxy's `/metrics` (port 4191) -> its bytes, connections and age, as in `metrics.METRICS`. Pure.

By the labels that the proxy has had since Linkerd 2.14: `direction`, `peer` (src: who connected to the proxy; dst: to
whom it connected), `target_addr` with the port that is meant, also where it goes through the other proxy's port 4143,
and `tls`. Its sensors are on the inner side of TLS, so bytes are payload, as Envoy's are. A connection to the
application (inbound, `peer="dst"`) tells no port: what peers exchange with it is taken from `peer="src"`.

Limit: the proxy forgets labels without an open connection after ten minutes; a sum over them is then smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshmark.probes.prometheus import Sample, samples

METRICS_PORT, METRICS_PATH = 4191, "/metrics"

OPENED, OPEN, READ, WRITTEN = (
    "tcp_open_total",
    "tcp_open_connections",
    "tcp_read_bytes_total",
    "tcp_write_bytes_total",
)
STARTED = "process_start_time_seconds"
EXPIRES = ("control_identity_cert_expiration_timestamp_seconds", "identity_cert_expiration_timestamp_seconds")
"""The later name first; a proxy has one of them."""
BUILD = "proxy_build_info"

# What the proxy reads from who connected to it, that one sent.
_BYTES = {
    ("inbound", READ): "inbound_rx_bytes",
    ("inbound", WRITTEN): "inbound_tx_bytes",
    ("outbound", READ): "outbound_tx_bytes",
    ("outbound", WRITTEN): "outbound_rx_bytes",
}


class Connections(NamedTuple):
    """To one port, since the proxy started: those that it made for its application, and those that it took for it;
    and of both those with the mesh's mutual TLS."""

    made: int
    made_encrypted: int
    taken: int
    taken_encrypted: int


def statistics(text: str, port: int, now_at: float) -> dict[str, float]:
    """inbound_rx_bytes, inbound_tx_bytes, outbound_rx_bytes, outbound_tx_bytes, connections, of that port; uptime_s
    and certificate_left_s, at that Unix time, where they are told. A proxy that has moved nothing has none of these
    lines: these are real zeros. Raises ValueError for what is no such page."""
    values = dict.fromkeys((*_BYTES.values(), "connections"), 0.0)
    for each in samples(text, {OPEN, READ, WRITTEN, STARTED, *EXPIRES}):
        if each.name == STARTED:
            values["uptime_s"] = max(0.0, now_at - each.value)
        elif each.name in EXPIRES:
            values["certificate_left_s"] = each.value - now_at
        elif each.labels.get("peer") == "src" and _port(each) == port:
            metric = "connections" if each.name == OPEN else _BYTES[each.labels["direction"], each.name]
            values[metric] += each.value
    return values


def connections(text: str, port: int) -> Connections:
    """Raises ValueError for what is no such page."""
    opened = [each for each in samples(text, {OPENED}) if _port(each) == port]
    made = list(_of(opened, "outbound", "dst"))
    taken = list(_of(opened, "inbound", "src"))
    return Connections(*(int(count) for each in (made, taken) for count in (_sum(each), _sum(_encrypted(each)))))


def version(text: str) -> str:
    """As the proxy says it. Raises ValueError where it does not."""
    found = next((each.labels.get("version", "") for each in samples(text, {BUILD})), "")
    if not found:
        raise ValueError(f"there is no {BUILD} with a version on this page")
    return found


def _of(found: list[Sample], direction: str, peer: str) -> Iterator[Sample]:
    return (each for each in found if each.labels.get("direction") == direction and each.labels.get("peer") == peer)


def _encrypted(found: list[Sample]) -> list[Sample]:
    return [each for each in found if each.labels.get("tls") == "true"]


def _sum(found: list[Sample]) -> float:
    return sum(each.value for each in found)


def _port(sample: Sample) -> int | None:
    """That is meant; None where the labels tell none."""
    port = sample.labels.get("target_addr", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else None

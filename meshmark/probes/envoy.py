"""Text of Envoy's admin `/stats` -> a sidecar's or a gateway's bytes, connections and age, as in `metrics.METRICS`.

Pure. Counted are the TCP proxies' downstream sides: what peers exchange with the application (`inbound`), and what
the application exchanges with peers on its own connections (`outbound`). Both are after decryption, so with mTLS or
without it the same payload gives the same count. Names are those of `dataplane.envoy`, where all inbound proxies
count under `inbound` and all outbound ones under `outbound`, or Istio's: `inbound|PORT||`,
`InboundPassthroughCluster`; `outbound|PORT|SUBSET|HOST`, `PassthroughCluster`. Other bytes are not the mesh's.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote

Values = dict[str, float]

FILTER = (
    r"^(tcp\..*\.downstream_cx_[rt]x_bytes_total|listener\..*\.(downstream_cx_active|no_filter_chain_match)"
    r"|server\.uptime|.*\.ssl\.certificate\..*\.expiration_unix_time_seconds)$"
)
"""Of a thousand statistics Envoy then prints the few that are read (RE2 syntax)."""

STATS_PATH = f"/stats?usedonly&filter={quote(FILTER, safe='')}"

_BYTES = re.compile(r"tcp\.(?P<prefix>.+)\.downstream_cx_(?P<way>rx|tx)_bytes_total")
_CONNECTIONS = re.compile(r"listener\.(?!admin\.)(?!.*\.worker_[0-9]+\.).+\.downstream_cx_active")
_EXPIRES = re.compile(r".+\.ssl\.certificate\..+\.expiration_unix_time_seconds")
_REFUSED = re.compile(r"listener\.(?!admin\.).+\.no_filter_chain_match")
_GATEWAY = "gateway"
_INBOUND = re.compile(r"inbound(\||passthroughcluster|$)", re.IGNORECASE)
_OUTBOUND = re.compile(r"outbound(\||$)|passthroughcluster", re.IGNORECASE)

# Envoy's downstream of an outbound connection is the application: what Envoy receives there, the application sent.
_OUTBOUND_WAY = {"rx": "tx", "tx": "rx"}


def statistics(text: str, now_at: float) -> Values:
    """inbound_rx_bytes, inbound_tx_bytes, outbound_rx_bytes, outbound_tx_bytes, connections; uptime_s, and with mTLS
    certificate_left_s, at that Unix time.

    A sidecar that has moved nothing prints no byte counter at all (`usedonly`): these are real zeros, given as 0.
    """
    values: Values = dict.fromkeys(
        ("inbound_rx_bytes", "inbound_tx_bytes", "outbound_rx_bytes", "outbound_tx_bytes", "connections"), 0.0
    )
    for name, count in _numbers(text):
        if match := _BYTES.fullmatch(name):
            if _INBOUND.match(match["prefix"]):
                values[f"inbound_{match['way']}_bytes"] += count
            elif _OUTBOUND.match(match["prefix"]):
                values[f"outbound_{_OUTBOUND_WAY[match['way']]}_bytes"] += count
        elif _CONNECTIONS.fullmatch(name):
            values["connections"] += count
        elif name == "server.uptime":
            values["uptime_s"] = float(count)
        elif _EXPIRES.fullmatch(name):
            values["certificate_left_s"] = min(count - now_at, values.get("certificate_left_s", math.inf))
    return values


def gateway_statistics(text: str, _: float) -> Values:
    """forwarded_rx_bytes, forwarded_tx_bytes, connections, refused_connections, uptime_s.

    The bytes are encrypted as they came: a gateway ends no TLS, and has no certificate. What is no TLS, or has a name
    that it does not know, is refused."""
    values: Values = dict.fromkeys(
        ("forwarded_rx_bytes", "forwarded_tx_bytes", "connections", "refused_connections"), 0.0
    )
    for name, count in _numbers(text):
        if (match := _BYTES.fullmatch(name)) and match["prefix"] == _GATEWAY:
            values[f"forwarded_{match['way']}_bytes"] += count
        elif _CONNECTIONS.fullmatch(name):
            values["connections"] += count
        elif _REFUSED.fullmatch(name):
            values["refused_connections"] += count
        elif name == "server.uptime":
            values["uptime_s"] = float(count)
    return values


def _numbers(text: str) -> list[tuple[str, int]]:
    """Lines `NAME: NUMBER`; a name may hold colons and blanks. Anything else is not a page of statistics."""
    found: list[tuple[str, int]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        name, separator, value = line.rpartition(": ")
        if not separator:
            raise ValueError(f"not a line of Envoy's statistics: {line[:80]!r}")
        if value.isdecimal():  # histograms and text values are no counters
            found.append((name, int(value)))
    return found

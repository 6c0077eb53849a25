"""Istio's standard TCP metrics, as ztunnel and waypoints tell them (port 15020, `/stats/prometheus`) -> what passed,
by who sent it to whom. Pure.

As Istio 1.24 and newer say it: `reporter` is who saw the connection (source: on the sender's node; destination: on the
receiver's; waypoint), workloads are StatefulSets and not pods, and no label has a port. So what brokers exchange is
Kafka's replication and the controllers' traffic together. Bytes are payload: a tunnel's own are not in it. `received`
is what was sent to the destination, `sent` what came back.

A plaintext connection that is refused is counted as opened first, with its own source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER
from meshmark.probes.prometheus import samples

METRICS_PORT, METRICS_PATH = 15_020, "/stats/prometheus"
OPENED, RECEIVED, SENT = (
    "istio_tcp_connections_opened_total",
    "istio_tcp_received_bytes_total",
    "istio_tcp_sent_bytes_total",
)
BUILD = "istio_build"
MUTUAL_TLS = "mutual_tls"
SOURCE, DESTINATION, WAYPOINT = "source", "destination", "waypoint"
"""Reporters: who was told by the sender, by the receiver, and who is between them."""
CLIENT, BROKER = "client", "broker"
"""Workloads, as Kubernetes has them here."""


class Flow(NamedTuple):
    """Connections of one workload of a namespace to another of the same; an end elsewhere, or unknown, is empty."""

    reporter: str
    source: str
    destination: str
    encrypted: bool


class Passed(NamedTuple):
    """Since the proxy started."""

    opened: float = 0.0
    received_bytes: float = 0.0
    sent_bytes: float = 0.0

    def plus(self, other: Passed) -> Passed:
        return Passed(*(one + another for one, another in zip(self, other, strict=True)))

    def since(self, before: Passed) -> Passed:
        return Passed(*(now - then for now, then in zip(self, before, strict=True)))


def flows(text: str, namespace: str) -> dict[Flow, Passed]:
    """To workloads in that namespace, and what a waypoint forwards for those in it: to whom, it does not know of
    connections to a pod's own address. Raises ValueError for what is no such page."""
    found: dict[Flow, Passed] = {}
    for name, labels, value, _ in samples(text, {OPENED, RECEIVED, SENT}):
        reporter = labels.get("reporter", "")
        source, destination = (_workload(labels, end, namespace) for end in ("source", "destination"))
        if not destination and not (source and reporter == WAYPOINT):
            continue
        flow = Flow(
            reporter=reporter,
            source=source,
            destination=destination,
            encrypted=labels.get("connection_security_policy") == MUTUAL_TLS,
        )
        what = {OPENED: "opened", RECEIVED: "received_bytes", SENT: "sent_bytes"}[name]
        found[flow] = found.get(flow, Passed()).plus(Passed(**{what: value}))
    return found


def _workload(labels: Mapping[str, str], end: str, namespace: str) -> str:
    here = labels.get(f"{end}_workload_namespace") == namespace
    return labels.get(f"{end}_workload", "") if here else ""


def carried(found: Mapping[Flow, Passed]) -> dict[str, float]:
    """Bytes that one ztunnel carried, by hop and as the workload sees them: `client-broker/outbound_tx_bytes` is what
    clients sent, `client-broker/inbound_rx_bytes` what brokers were sent by clients, and so on. What comes to brokers
    from a waypoint is nobody's: it does not say whose it was."""
    values: dict[str, float] = {}
    for hop, source in ((CLIENT_BROKER, CLIENT), (BROKER_BROKER, BROKER)):
        sent = total(found, reporter=SOURCE, source=source)
        taken = total(found, reporter=DESTINATION, source=source)
        values |= {
            f"{hop}/outbound_tx_bytes": sent.received_bytes,
            f"{hop}/outbound_rx_bytes": sent.sent_bytes,
            f"{hop}/inbound_rx_bytes": taken.received_bytes,
            f"{hop}/inbound_tx_bytes": taken.sent_bytes,
        }
    return values


def total(found: Mapping[Flow, Passed], **wanted: str | bool) -> Passed:
    """Of flows that are all that."""
    sums = Passed()
    for flow, passed in found.items():
        if all(getattr(flow, name) == value for name, value in wanted.items()):
            sums = sums.plus(passed)
    return sums


def summed(pages: Iterable[Mapping[Flow, Passed]]) -> dict[Flow, Passed]:
    """Of several proxies."""
    found: dict[Flow, Passed] = {}
    for page in pages:
        for flow, passed in page.items():
            found[flow] = found.get(flow, Passed()).plus(passed)
    return found


def grown(before: Mapping[Flow, Passed], after: Mapping[Flow, Passed]) -> dict[Flow, Passed]:
    """Raises ValueError where a counter is smaller than it was: the proxy was started anew meanwhile."""
    found = {flow: passed.since(before.get(flow, Passed())) for flow, passed in after.items()}
    if before.keys() - after.keys() or any(value < 0 for passed in found.values() for value in passed):
        raise ValueError("counters are smaller than they were: a proxy was started anew meanwhile")
    return found


def version(text: str) -> str:
    """Istio's, as the proxy says it. Raises ValueError where it does not."""
    found = next((each.labels.get("tag", "") for each in samples(text, {BUILD})), "")
    if not found:
        raise ValueError(f"there is no {BUILD} with a tag on this page")
    return found

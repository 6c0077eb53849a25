"""Do the sidecars' own byte counters explain what Kafka moved? The proof that traffic took the path of the data plane.

Between two moments with nothing in flight, and from Kafka's own numbers (sizes of the brokers' logs, bytes of the
producers' requests), each sidecar must have counted, RF being the replication factor and L(b) what broker b's log grew
by in the partitions that it leads:

    clients    outbound_tx = bytes of the producers' requests
    clients    outbound_rx = groups x sum of L + answers to produce requests               (with consumers)
    broker b   inbound_rx  = produce requests in proportion to L(b) + fetch requests of b's followers
    broker b   inbound_tx  = (RF - 1 + groups) x L(b) + frames of the fetch answers + answers to produce requests
    broker b   outbound_rx = growth of b's log - L(b) + frames of the fetch answers

The first term is nearly everything. The others follow Kafka's chatter, which no Kafka counter gives in bytes:

- Fetch requests are what the followers' sidecars counted as sent (a broker opens no other connections to a broker's
  port). Followers fetch as soon as there is anything, so at 25 MB/s a leader they are 1 to 3 % of its intake.
- The frame of a fetch answer is FETCH_FRAME x the bytes of its request: with one to nine partitions in it, version 17
  of the protocol has about 75 + 18 a topic + 55 a partition bytes in the request, 17 + 18 + 40 in the answer.
- An answer to a produce request is about PRODUCE_ANSWER_BYTES.

What is left out is less than 0.3 %: metadata, requests of consumers, heartbeats, commits. Limits: where several client
hosts are, their sum is checked; a leader that moved during the trial shows as a mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from meshmark import units
from meshmark.plan import Scenario
from meshmark.record import BatchFill, Counters, PathCheck

TOLERANCE = 0.02
"""Ten times what is left out above; traffic past one sidecar of three shows as 30 % and more."""

JUDGED_BYTES = 10_000_000
"""Below this the chatter of a trial (some 100 kB of metadata, connection set-up, idle fetches) is not small against
the tolerance: then the counters must have moved, and no more is asked."""

FETCH_FRAME = 0.6
PRODUCE_ANSWER_BYTES = 70

Direction = Literal["inbound_rx", "inbound_tx", "outbound_rx", "outbound_tx"]


def check_path(
    *,
    start: Counters,
    end: Counters,
    scenario: Scenario,
    broker_hosts: Sequence[str],
    client_hosts: Sequence[str],
    batch: BatchFill,
) -> tuple[PathCheck, ...]:
    """`start` and `end` are read with nothing in flight; `batch` covers the load between them. Empty where the data
    plane has no sidecars."""
    if not scenario.data_plane.sidecars:
        return ()
    grown = _Growth(start, end)
    keys = [f"{host}/kafka/{metric}" for host in broker_hosts for metric in ("log_bytes", "leader_log_bytes")]
    missing = [key for key in keys if grown.of(key) is None]
    if missing:
        return tuple(_unknown(host, "inbound_rx", f"not read: {', '.join(missing)}") for host in broker_hosts)
    traffic = _traffic(grown, scenario, broker_hosts, batch)
    if sum(traffic.led.values()) > 0 and batch.request_bytes <= 0:
        return (_unknown("clients", "outbound_tx", "the producers' requests were not counted"),)
    checks = [
        _check(grown, tuple(client_hosts), "outbound_tx", (("producers' requests", float(batch.request_bytes)),)),
        _check(grown, tuple(client_hosts), "outbound_rx", traffic.to_clients()),
    ]
    for host in broker_hosts:
        checks += [
            _check(grown, (host,), "inbound_rx", traffic.into(host)),
            _check(grown, (host,), "inbound_tx", traffic.out_of(host)),
            _check(grown, (host,), "outbound_rx", traffic.replicated_to(host)),
        ]
    return tuple(check for check in checks if check is not None)


def unexplained(checks: Sequence[PathCheck]) -> tuple[str, ...]:
    """One sentence for each sidecar and direction that does not explain what Kafka moved; empty: the path holds."""
    return tuple(
        f"the sidecar of {check.host} does not explain {check.direction}: {check.explained}"
        for check in checks
        if check.counted_bytes <= 0 or (judged(check) and abs(check.error) > TOLERANCE)
    )


def judged(check: PathCheck) -> bool:
    """Is there enough traffic to hold it against the tolerance?"""
    return check.expected_bytes >= JUDGED_BYTES


Terms = tuple[tuple[str, float], ...]
"""What a sidecar should have counted: (what, bytes), the main term first."""


class _Growth:
    def __init__(self, start: Counters, end: Counters) -> None:
        self._start = start
        self._end = end

    def of(self, key: str) -> float | None:
        if key not in self._start or key not in self._end:
            return None
        return self._end[key] - self._start[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Traffic:
    """What Kafka moved, by broker host."""

    led: dict[str, float]
    followed: dict[str, float]
    fetch_requests_to: dict[str, float]
    fetch_requests_from: dict[str, float]
    replication_factor: int
    groups: int
    batch: BatchFill

    def _share(self, host: str) -> float:
        total = sum(self.led.values())
        return self.led[host] / total if total else 0.0

    def _answers(self) -> float:
        return float(self.batch.requests * PRODUCE_ANSWER_BYTES)

    def to_clients(self) -> Terms:
        read = self.groups * sum(self.led.values())
        return ((f"{self.groups} x led log", read), ("produce answers", self._answers()))

    def into(self, host: str) -> Terms:
        produced = self.batch.request_bytes * self._share(host)
        return (("produce requests", produced), ("fetch requests", self.fetch_requests_to[host]))

    def out_of(self, host: str) -> Terms:
        copies = self.replication_factor - 1 + self.groups
        return (
            (f"{copies} x led log", copies * self.led[host]),
            ("fetch frames", FETCH_FRAME * self.fetch_requests_to[host]),
            ("produce answers", self._answers() * self._share(host)),
        )

    def replicated_to(self, host: str) -> Terms:
        return (
            ("followed log", self.followed[host]),
            ("fetch frames", FETCH_FRAME * self.fetch_requests_from[host]),
        )


def _traffic(grown: _Growth, scenario: Scenario, brokers: Sequence[str], batch: BatchFill) -> _Traffic:
    led = {host: grown.of(f"{host}/kafka/leader_log_bytes") or 0.0 for host in brokers}
    sent = {host: grown.of(f"{host}/sidecar/outbound_tx_bytes") or 0.0 for host in brokers}
    requests_to = dict.fromkeys(brokers, 0.0)
    for follower in brokers:
        others = sum(led[host] for host in brokers if host != follower)
        for leader in brokers:
            if leader != follower and others > 0:
                requests_to[leader] += sent[follower] * led[leader] / others
    return _Traffic(
        led=led,
        followed={host: (grown.of(f"{host}/kafka/log_bytes") or 0.0) - led[host] for host in brokers},
        fetch_requests_to=requests_to,
        fetch_requests_from=sent,
        replication_factor=scenario.workload.replication_factor,
        groups=scenario.workload.subscriptions_per_topic,
        batch=batch,
    )


def _check(grown: _Growth, hosts: tuple[str, ...], direction: Direction, terms: Terms) -> PathCheck | None:
    """None where Kafka moved nothing this way: no followers, no consumers, nothing led."""
    if terms[0][1] <= 0:
        return None
    name = hosts[0] if len(hosts) == 1 else "clients"
    counts = [grown.of(f"{host}/sidecar/{direction}_bytes") for host in hosts]
    counted = sum(count for count in counts if count is not None)
    if None in counts:
        return _unknown(name, direction, "the sidecar's counter was not read")
    expected = sum(value for _, value in terms)
    arithmetic = " + ".join(f"{what} {_mb(value)}" for what, value in terms)
    error = counted / expected - 1
    text = f"{arithmetic} = {_mb(expected)} MB expected, {_mb(counted)} MB counted ({error:+.1%})"
    if expected < JUDGED_BYTES:
        text += f"; too little traffic to judge (below {_mb(JUDGED_BYTES)} MB)"
    return PathCheck(
        host=name,
        direction=direction,
        expected_bytes=expected,
        counted_bytes=counted,
        error=error,
        explained=text,
    )


def _mb(value: float) -> str:
    return units.number(value / units.MB, 5)


def _unknown(host: str, direction: Direction, why: str) -> PathCheck:
    return PathCheck(host=host, direction=direction, expected_bytes=0, counted_bytes=0, error=-1, explained=why)

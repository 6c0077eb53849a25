"""Do the sidecars' own byte counters explain what Kafka moved? The proof that traffic took the path of the data plane.

Between two moments with nothing in flight, and from Kafka's own numbers (sizes of the brokers' logs, bytes of the
producers' requests), each sidecar must have counted, RF being the replication factor and L(b) what broker b's log grew
by in the partitions that it leads:

    clients    outbound_tx = bytes of the producers' requests (+ consumers' requests)
    clients    outbound_rx = groups x sum of L                (+ frames, again, answers)     with consumers
    broker b   inbound_rx  = produce requests, share of L(b)  (+ fetch requests)
    broker b   inbound_tx  = (RF - 1 + groups) x L(b)         (+ frames, again, answers)
    broker b   outbound_rx = growth of b's log - L(b)         (+ frames, again)

These are all that a data plane can carry. Where it leaves out a hop, its terms are absent: without replication RF is
1 to a leader's sidecar, and a follower's counts no outbound byte, neither way: a single one is not explained. A host
without a sidecar has no row.

The proxies of nodes (ztunnel) are looked at as one for all clients and one for all brokers, and by what these exchange
alone: their counters tell no ports, so what brokers send each other has the controllers' traffic in it; nor, where a
waypoint lies between, whose connection it is that brokers take.

The first term is nearly everything. What is in brackets is Kafka's chatter, which nothing in Kafka counts in bytes:

- Fetch requests are what the fetching side's sidecars counted as sent: a broker opens no other connections to brokers'
  ports, and of the clients' bytes those beyond the producers' requests are the consumers'. 0.1 % of a broker's intake
  at saturation, 10 % where batches hold four small records.
- The frame of a fetch answer is FETCH_FRAME x its request. Measured: 0.6 to 1.1 (few or many partitions an answer).
- An answer to a produce request is about PRODUCE_ANSWER_BYTES.
- Again: a fetch answer ends after a fixed number of bytes, be it inside a batch, which is then fetched again. What the
  fetching sidecar received beyond the log is taken for that, up to one batch an answer. Measured: 0 to 1.5 %.

So a sidecar that saw less than Kafka moved always shows, whatever the chatter. What is left out (metadata, heartbeats,
commits) is below 0.1 %. Limits: where there are several client hosts, their sum is checked, and so are the brokers'
answers where consumers read from a replica nearby, or where more than TOLERANCE of them was fetched again, since
nobody tells from which leader; fetch requests, and what less is fetched again, are split between leaders by L; a
leader that moved during the trial shows as a mismatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from meshmark import units
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, DataPlane
from meshmark.metrics import parts
from meshmark.plan import ConfigValue, Scenario
from meshmark.record import BatchFill, Counters, PathCheck

TOLERANCE = 0.02
"""Ten times what is left out above; traffic past one sidecar of three shows as 30 % and more."""

JUDGED_BYTES = 10_000_000
"""Below this the chatter of a trial (some 100 kB of metadata, connection set-up, idle fetches) is not small against
the tolerance: then the counters must have moved, and no more is asked."""

FETCH_FRAME = 0.9
PRODUCE_ANSWER_BYTES = 80
AGAIN = "fetched again"
FOR_CLIENTS, FOR_BROKERS = "ztunnel for clients", "ztunnel for brokers"

FETCH_BYTES = 1_048_576
"""Where the answer for one partition is cut, unless one of these settings says otherwise."""
REPLICA_FETCH_KEYS = ("replica.fetch.max.bytes",)
CONSUMER_FETCH_KEYS = ("max.partition.fetch.bytes", "fetch.message.max.bytes")

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
    plane has no proxies."""
    plane = scenario.data_plane
    on_nodes = "node" in plane.row.proxies
    if not plane.sidecars and not on_nodes:
        return ()
    if on_nodes:
        start, end, client_hosts = _on_nodes(start, end), _on_nodes(end, start), (FOR_CLIENTS,)
    behind = broker_hosts if plane.has_sidecar("broker") else ()
    grown = _Growth(start, end)
    keys = [f"{host}/kafka/{metric}" for host in broker_hosts for metric in ("log_bytes", "leader_log_bytes")]
    missing = [key for key in keys if grown.of(key) is None]
    if missing:
        why = f"not read: {', '.join(missing)}"
        return tuple(_unknown(host, "inbound_rx", why) for host in behind) or (
            _unknown("clients", "outbound_tx", why),
        )
    traffic = _Traffic(grown, scenario, broker_hosts, client_hosts, batch)
    if sum(traffic.led.values()) > 0 and batch.request_bytes <= 0:
        return (_unknown("clients", "outbound_tx", "the producers' requests were not counted"),)
    beside = on_nodes or plane.has_sidecar("client")
    checks = _of_clients(grown, traffic, plane, client_hosts) if beside else []
    if on_nodes and plane.path != "waypoint":
        checks += [
            _check(grown, (FOR_BROKERS,), "inbound_rx", traffic.from_clients()),
            _check(grown, (FOR_BROKERS,), "inbound_tx", traffic.to_clients()),
        ]
    if behind:
        checks += _of_brokers(grown, traffic, scenario, behind)
    return tuple(check for check in checks if check is not None)


def _of_clients(grown: _Growth, traffic: _Traffic, plane: DataPlane, hosts: Sequence[str]) -> list[PathCheck | None]:
    sent, received = traffic.from_clients(), traffic.to_clients()
    if not plane.carries(CLIENT_BROKER):
        return [
            _past(grown, hosts, "outbound_tx", sent, "clients"),
            _past(grown, hosts, "outbound_rx", received, "clients"),
        ]
    return [
        _check(grown, hosts, "outbound_tx", sent, "clients"),
        _check(grown, hosts, "outbound_rx", received, "clients"),
    ]


def _of_brokers(grown: _Growth, traffic: _Traffic, scenario: Scenario, hosts: Sequence[str]) -> list[PathCheck | None]:
    plane = scenario.data_plane
    if not plane.carries(CLIENT_BROKER):
        return [_past(grown, (host,), "inbound_rx", traffic.into(host)) for host in hosts]
    out = [traffic.out_of(host) for host in hosts]
    all_out = tuple((parts[0][0], sum(value for _, value in parts)) for parts in zip(*out, strict=True))
    by_broker = not scenario.reads_nearby and dict(all_out)[AGAIN] <= TOLERANCE * _sum(all_out)
    checks: list[PathCheck | None] = []
    for host, terms in zip(hosts, out, strict=True):
        checks += [
            _check(grown, (host,), "inbound_rx", traffic.into(host)),
            _check(grown, (host,), "inbound_tx", terms) if by_broker else None,
        ]
        replicated = traffic.replicated_to(host)
        if scenario.carries(BROKER_BROKER):
            checks.append(_check(grown, (host,), "outbound_rx", replicated))
        else:
            checks += [_past(grown, (host,), way, replicated) for way in ("outbound_rx", "outbound_tx")]
    if not by_broker:
        checks.append(_check(grown, hosts, "inbound_tx", all_out, "brokers"))
    return checks


def _on_nodes(values: Counters, others: Counters) -> Counters:
    """With what the nodes' proxies carried between clients and brokers as if two sidecars had; without, where not the
    same nodes were read at the other edge."""
    found = dict(values)
    for key, value in values.items():
        _, component, metric = parts(key)
        if component != f"ztunnel/{CLIENT_BROKER}":
            continue
        if key not in others:
            return dict(values)
        host = FOR_CLIENTS if metric.startswith("outbound") else FOR_BROKERS
        found[f"{host}/sidecar/{metric}"] = found.get(f"{host}/sidecar/{metric}", 0.0) + value
    return found


def unexplained(checks: Sequence[PathCheck]) -> tuple[str, ...]:
    """One sentence for each sidecar and direction that does not explain what Kafka moved; empty: the path holds."""
    return tuple(
        f"{_proxy(check.host)} does not explain {check.direction}: {check.explained}"
        for check in checks
        if (check.counted_bytes <= 0 < check.expected_bytes)
        or (judged(check) and abs(check.error) > (TOLERANCE if check.expected_bytes else 0))
    )


def _proxy(host: str) -> str:
    return host if host in (FOR_CLIENTS, FOR_BROKERS) else f"the sidecar of {host}"


def judged(check: PathCheck) -> bool:
    """Is there enough traffic to hold it against the tolerance? Where nothing is expected, none is too little."""
    return check.expected_bytes >= JUDGED_BYTES or check.expected_bytes == 0


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


class _Traffic:
    """What Kafka moved, by direction; the main term of each first."""

    def __init__(
        self, grown: _Growth, scenario: Scenario, brokers: Sequence[str], clients: Sequence[str], batch: BatchFill
    ) -> None:
        workload, replicates = scenario.workload, scenario.carries(BROKER_BROKER)
        self._copies = workload.replication_factor - 1 if replicates else 0
        self._groups = workload.subscriptions_per_topic
        self._produced = float(batch.request_bytes)
        self._answers = float(batch.requests * PRODUCE_ANSWER_BYTES)
        self.led = {host: grown.of(f"{host}/kafka/leader_log_bytes") or 0.0 for host in brokers}
        self._followed = {host: (grown.of(f"{host}/kafka/log_bytes") or 0.0) - self.led[host] for host in brokers}
        # Fetch requests, by who sent them, and what was fetched again.
        self._asked = {host: (replicates and grown.of(f"{host}/sidecar/outbound_tx_bytes")) or 0.0 for host in brokers}
        sent, received = (
            sum(grown.of(f"{host}/sidecar/outbound_{way}_bytes") or 0.0 for host in clients) for way in ("tx", "rx")
        )
        self._asked_by_clients = max(0.0, sent - self._produced) if self._groups else 0.0
        self._again = dict.fromkeys(brokers, 0.0)
        self._again_by_clients = 0.0
        taken = {host: grown.of(f"{host}/sidecar/outbound_rx_bytes") or 0.0 for host in brokers}
        self._find_again(taken, received, scenario, batch)

    def _find_again(self, taken: Mapping[str, float], by_clients: float, scenario: Scenario, batch: BatchFill) -> None:
        """What fetching sides received beyond everything else that they should have."""
        cut = _cut_share(batch, scenario.cluster.broker_config, REPLICA_FETCH_KEYS)
        for host, followed in self._followed.items():
            self._again[host] = _within(taken[host] - _sum(self.replicated_to(host)), cut * followed)
        cut = _cut_share(batch, scenario.workload.consumer_config, CONSUMER_FETCH_KEYS)
        read = self._groups * sum(self.led.values())
        self._again_by_clients = _within(by_clients - _sum(self.to_clients()), cut * read)

    def from_clients(self) -> Terms:
        return (("producers' requests", self._produced), ("consumers' requests", self._asked_by_clients))

    def to_clients(self) -> Terms:
        return (
            (f"{self._groups} x led log", self._groups * sum(self.led.values())),
            ("fetch frames", FETCH_FRAME * self._asked_by_clients),
            (AGAIN, self._again_by_clients),
            ("produce answers", self._answers),
        )

    def into(self, host: str) -> Terms:
        return (
            ("produce requests", self._produced * self._share(host)),
            ("fetch requests", self._asked_of(host)),
        )

    def out_of(self, host: str) -> Terms:
        copies = self._copies + self._groups
        return (
            (f"{copies} x led log", copies * self.led[host]),
            ("fetch frames", FETCH_FRAME * self._asked_of(host)),
            (AGAIN, self._split(self._again, host) + self._again_by_clients * self._share(host)),
            ("produce answers", self._answers * self._share(host)),
        )

    def replicated_to(self, host: str) -> Terms:
        return (
            ("followed log", self._followed[host]),
            ("fetch frames", FETCH_FRAME * self._asked[host]),
            (AGAIN, self._again[host]),
        )

    def _asked_of(self, host: str) -> float:
        return self._split(self._asked, host) + self._asked_by_clients * self._share(host)

    def _share(self, host: str) -> float:
        total = sum(self.led.values())
        return self.led[host] / total if total else 0.0

    def _split(self, by_follower: dict[str, float], leader: str) -> float:
        """The leader's part of what its followers did, split between all leaders that each has."""
        part = 0.0
        for follower, value in by_follower.items():
            others = sum(led for host, led in self.led.items() if host != follower)
            if follower != leader and others > 0:
                part += value * self.led[leader] / others
        return part


def _cut_share(batch: BatchFill, config: Mapping[str, ConfigValue], keys: tuple[str, ...]) -> float:
    """At most this share of what is fetched is fetched again: one batch of each full answer."""
    limit = float(next((config[key] for key in keys if key in config), FETCH_BYTES))
    size = batch.bytes_per_batch or 0.0
    return min(1.0, size / max(limit - size, 1.0))


def _within(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)


def _sum(terms: Terms) -> float:
    return sum(value for _, value in terms)


def _check(
    grown: _Growth, hosts: Sequence[str], direction: Direction, terms: Terms, together: str = ""
) -> PathCheck | None:
    """None where Kafka moved nothing this way: no followers, no consumers, nothing led. `together`: what several hosts
    are called."""
    if terms[0][1] <= 0:
        return None
    name = hosts[0] if len(hosts) == 1 else together
    counts = [grown.of(f"{host}/sidecar/{direction}_bytes") for host in hosts]
    counted = sum(count for count in counts if count is not None)
    if None in counts:
        return _unknown(name, direction, "the sidecar's counter was not read")
    expected = _sum(terms)
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


def _past(
    grown: _Growth, hosts: Sequence[str], direction: Direction, terms: Terms, together: str = ""
) -> PathCheck | None:
    """Of what Kafka moves past the sidecar, which must have counted none of it."""
    moved = terms[0][1]
    if moved <= 0:
        return None
    name = hosts[0] if len(hosts) == 1 else together
    counts = [grown.of(f"{host}/sidecar/{direction}_bytes") for host in hosts]
    if None in counts:
        return _unknown(name, direction, "the sidecar's counter was not read")
    counted = sum(count for count in counts if count is not None)
    return PathCheck(
        host=name,
        direction=direction,
        expected_bytes=0,
        counted_bytes=counted,
        error=counted / moved,
        explained=f"{terms[0][0]} {_mb(moved)} MB go past the sidecar; {counted:.0f} bytes counted",
    )


def _mb(value: float) -> str:
    return units.number(value / units.MB, 5)


def _unknown(host: str, direction: Direction, why: str) -> PathCheck:
    return PathCheck(host=host, direction=direction, expected_bytes=0, counted_bytes=0, error=-1, explained=why)

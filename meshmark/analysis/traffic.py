"""What the interfaces should have carried, from what was asked and acknowledged, in every data plane.

Between two moments with nothing in flight, RF being the replication factor and L the bytes of all acknowledged records
as batches in a log (once, before replication):

    log         L = records x (value + record's own fields) + batches x 61
    produce     L + batches x REQUEST_BYTES                     what the clients' interfaces sent
    replicate   (RF - 1) x L                                    what the brokers' sent, less what the clients' received
    consume     groups x L (+ answers)                          what the clients' received, with consumers
    broker b    receives produce, its share, and (RF - 1) x L of others; sends (RF - 1 + groups) x its share of L

To these come HEADER_BYTES for each packet that the interface counted, which is the one term taken from the counter
itself: an offload super-packet is counted with the headers of one packet. TLS adds TLS_RECORD_BYTES for each record of
at most 16 KB, on the hops that the data plane encrypts.

Two things cannot be known and are slack. Fetch requests and the frames of their answers: CHATTER_BYTES a packet, where
somebody fetches. With Kafka's TLS, how librdkafka cuts what it sends: down to TLS_RECORDS_A_MESSAGE (measured: value
and fields of a message as records of their own, in about half of the messages).

Left out: metadata, heartbeats, connection set-up, what is fetched again: together below the tolerance.
Limits: with compression the log's size is the counted one, since how well it compresses nobody can predict; a record
has no key; a leader that moved shows as a mismatch of its hosts; what single brokers send is not predicted where
consumers read from a replica nearby.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from meshmark import units
from meshmark.analysis.ledger import broker_hosts, client_hosts
from meshmark.analysis.model import Traffic
from meshmark.analysis.path import JUDGED_BYTES, PRODUCE_ANSWER_BYTES, TOLERANCE
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER
from meshmark.plan import Scenario, Workload
from meshmark.record import Trial

BATCH_BYTES = 61
"""Head of a record batch, version 2 (Kafka's documentation, "Record Batch")."""
REQUEST_BYTES = 59
"""What a produce request adds to its batch. Measured with librdkafka: request header and names of topic and client."""
HEADER_BYTES = 66
"""Ethernet 14, IPv4 20, TCP 20 and its timestamp option 12."""
TLS_RECORD_BYTES = 22
"""TLS 1.3 with AEAD: head 5, content type 1, tag 16."""
TLS_RECORD_PAYLOAD = 16_384
TLS_RECORDS_A_MESSAGE = 2
CHATTER_BYTES = 50
"""A fetch request and its answer's frame have 100 to 200 bytes, and take two to four packets."""


class _Part(NamedTuple):
    """Bytes of payload: what they are, and over which hop they go."""

    what: str
    byte_count: float
    hop: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Terms:
    """The main part first; `slack` is what may come on top and cannot be known."""

    payload: tuple[_Part, ...]
    fetched: bool = True
    slack: float = 0.0


def stored_bytes(records: float, value_bytes: int, records_per_batch: float, key_bytes: int = 0) -> float:
    """L of records whose keys are shorter than 64 bytes (0: no keys), sent within 64 ms of their batch's first."""
    long_offsets = max(0.0, records_per_batch - 64) / records_per_batch
    # attributes, time since the batch's first, offset since it, key and its length, value and its length, no headers
    fields = 1 + 1 + (1 + long_offsets) + (1 + key_bytes) + (_varint_bytes(value_bytes) + value_bytes) + 1
    return records * (_varint_bytes(int(fields)) + fields) + records / records_per_batch * BATCH_BYTES


def traffic(trial: Trial, scenario: Scenario) -> tuple[Traffic, ...]:
    """The whole load of a trial; empty where batches or logs were not counted."""
    brokers = broker_hosts(scenario)
    led = [_grown(trial, f"{host}/kafka/leader_log_bytes") for host in brokers]
    logged = _sum(led)
    per_batch = trial.batch.records_per_batch
    if not per_batch or logged is None:
        return ()
    workload = scenario.workload
    predictable = str(workload.producer_config.get("compression.type", "none")) == "none"
    records = trial.total.acknowledged
    size = workload.message_size
    stored = stored_bytes(records, size, per_batch, workload.key_bytes) if predictable else logged
    found = [_row("log", "the leaders' segments", [("records and batches", stored)], logged)] if predictable else []
    found += _between_hosts(trial, scenario, stored, records / per_batch)
    for host, share in zip(brokers, led, strict=True):
        found += _at_broker(trial, scenario, host, stored, (share or 0.0) / logged if logged else 0.0)
    return tuple(row for row in found if row.predicted_bytes > 0)


def amiss(rows: Iterable[Traffic]) -> tuple[str, ...]:
    """One sentence for each path whose counter the prediction does not explain."""
    return tuple(f"{row.path} is not explained: {row.explained}" for row in rows if row.holds is False)


def _between_hosts(trial: Trial, scenario: Scenario, stored: float, batches: float) -> list[Traffic]:
    workload, brokers, clients = scenario.workload, broker_hosts(scenario), client_hosts(scenario)
    sent, to_clients = _net(trial, clients, "tx"), _net(trial, clients, "rx")
    between = _less(_net(trial, brokers, "tx"), to_clients)
    produce = _produced(scenario, stored, batches, trial.total.acknowledged)
    copies = _Terms(payload=(_Part("copies", (workload.replication_factor - 1) * stored, BROKER_BROKER),))
    on_wire = partial(_on_wire, scenario)
    rows = [
        on_wire("produce", "the clients' interfaces, sent", produce, sent),
        on_wire("replicate", "the brokers' interfaces, sent, less the clients', received", copies, between),
    ]
    if workload.subscriptions_per_topic:
        reads = _Part("reads", workload.subscriptions_per_topic * stored, CLIENT_BROKER)
        read = _Terms(payload=(reads, _answers(workload, batches)))
        rows.append(on_wire("consume", "the clients' interfaces, received", read, to_clients))
    return rows


def _at_broker(trial: Trial, scenario: Scenario, host: str, stored: float, share: float) -> list[Traffic]:
    workload = scenario.workload
    batches = trial.total.acknowledged / (trial.batch.records_per_batch or 1.0) * share
    produce = _produced(scenario, stored * share, batches, trial.total.acknowledged * share)
    # A partition's followers are spread evenly over the other brokers.
    followed = (workload.replication_factor - 1) * stored * (1 - share) / max(1, scenario.cluster.brokers - 1)
    into = _Terms(payload=(*produce.payload, _Part("copies", followed, BROKER_BROKER)), slack=produce.slack)
    copies = _Part("copies", (workload.replication_factor - 1) * stored * share, BROKER_BROKER)
    groups = workload.subscriptions_per_topic
    reads = [_Part("reads", groups * stored * share, CLIENT_BROKER)] if groups else []
    out = _Terms(payload=(copies, *reads, _answers(workload, batches)))
    on_wire = partial(_on_wire, scenario)
    rows = [on_wire(f"{host} receives", "its interface", into, _net(trial, (host,), "rx"))]
    if not scenario.reads_nearby:
        rows.append(on_wire(f"{host} sends", "its interface", out, _net(trial, (host,), "tx")))
    return rows


def _produced(scenario: Scenario, stored: float, batches: float, records: float) -> _Terms:
    slack = 0.0
    if scenario.data_plane.kafka_tls:
        slack = records * TLS_RECORDS_A_MESSAGE * TLS_RECORD_BYTES
    parts = _Part("batches", stored, CLIENT_BROKER), _Part("requests", batches * REQUEST_BYTES, CLIENT_BROKER)
    return _Terms(payload=parts, fetched=scenario.workload.subscriptions_per_topic > 0, slack=slack)


def _answers(workload: Workload, batches: float) -> _Part:
    """Nobody answers a producer that does not ask for it."""
    acks = str(workload.producer_config.get("acks", workload.producer_config.get("request.required.acks", "all")))
    return _Part("answers", 0.0 if acks == "0" else batches * PRODUCE_ANSWER_BYTES, CLIENT_BROKER)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counted:
    byte_count: float
    packets: float


def _on_wire(scenario: Scenario, path: str, counter: str, terms: _Terms, counted: _Counted | None) -> Traffic:
    parts = [(part.what, part.byte_count) for part in terms.payload]
    if encrypted := sum(part.byte_count * scenario.layers(part.hop) for part in terms.payload):
        parts.append(("TLS", encrypted / TLS_RECORD_PAYLOAD * TLS_RECORD_BYTES))
    if sum(value for _, value in parts) <= 0:
        return _row(path, counter, [], None)
    if counted is None:
        return _row(path, counter, parts, None)
    parts.append(("headers", counted.packets * HEADER_BYTES))
    chatter = counted.packets * CHATTER_BYTES if terms.fetched else 0.0
    return _row(path, counter, parts, counted.byte_count, terms.slack + chatter)


def _row(
    path: str, counter: str, parts: Sequence[tuple[str, float]], counted: float | None, slack: float = 0.0
) -> Traffic:
    predicted = sum(value for _, value in parts)
    text = " + ".join(f"{what} {_mb(value)}" for what, value in parts) + f" = {_mb(predicted)} MB"
    if slack:
        text += f", up to {_mb(slack)} MB more that cannot be predicted"
    error = counted / predicted - 1 if counted is not None and predicted > 0 else None
    judged = error is not None and predicted >= JUDGED_BYTES
    return Traffic(
        path=path,
        counter=counter,
        predicted_bytes=predicted,
        slack_bytes=slack,
        counted_bytes=counted,
        error=error,
        holds=-TOLERANCE <= error <= TOLERANCE + slack / predicted if judged and error is not None else None,
        explained=f"{text}; {'not counted' if counted is None else f'{_mb(counted)} MB counted'}",
    )


def _net(trial: Trial, hosts: Sequence[str], way: str) -> _Counted | None:
    byte_count = _sum([_grown(trial, f"{host}/net/{way}_bytes") for host in hosts])
    packets = _sum([_grown(trial, f"{host}/net/{way}_packets") for host in hosts])
    return None if byte_count is None or packets is None else _Counted(byte_count=byte_count, packets=packets)


def _less(whole: _Counted | None, part: _Counted | None) -> _Counted | None:
    if whole is None or part is None:
        return None
    return _Counted(byte_count=whole.byte_count - part.byte_count, packets=whole.packets - part.packets)


def _grown(trial: Trial, key: str) -> float | None:
    """While nothing was in flight at either end."""
    if key not in trial.quiet_start or key not in trial.quiet_end:
        return None
    return trial.quiet_end[key] - trial.quiet_start[key]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _varint_bytes(value: int) -> int:
    """Of a number as Kafka's records hold it: zigzag, seven bits a byte."""
    return max(1, -(-(2 * value).bit_length() // 7))


def _mb(value: float) -> str:
    return units.number(value / units.MB, 5)

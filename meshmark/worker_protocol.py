"""What a load worker is told and what it tells: one JSON object a line, over its standard streams.

A worker is a process on a client host. The conductor sends a WorkerSpec as the first line and WorkerCommands
after it; the worker answers with WorkerReports. Times are the monotonic clock of the conductor's machine.

    spec ->            <- ready       connected, metadata of every topic known
    start ->           <- interval*   every `interval_s` until finished
    mark ->            <- mark        totals at this instant, to cut windows at exact counts
    stop ->            <- finished    nothing more is offered; all outstanding records are resolved or timed out
    (any time)         <- error       cannot go on; `error` is the kind, `text` says what to do

A producer with a schedule works in open loop: it offers records at their intended times, counted from `origin_s` of
the start command, one instant for all workers. Without one it works in closed loop: it keeps its queues full.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from meshmark.pacer import PacerSpec
from meshmark.plan import ClientKind, ConfigValue, KeyDistributor
from meshmark.record import LoadTotals
from meshmark.values import Model


class Schedule(Model):
    """One worker's share of a schedule: every `workers`-th record of it, from number `worker` (from 0) on."""

    pacer: PacerSpec
    worker: int = Field(0, ge=0)
    workers: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Schedule:
        if self.worker >= self.workers:
            raise ValueError(f"worker {self.worker} is not one of 0..{self.workers - 1}")
        return self


class Payload(Model):
    """What values hold. A stamp, where there is one, takes the first 16 bytes."""

    random_share: float = Field(1, ge=0, le=1, description="of each value is random bytes; zeros follow")
    distinct: int = Field(0, ge=0, description="so many different values; 0: as many as the worker keeps")
    content: str = Field("", description="every value is this, base64; it counts before the others")


class WorkerSpec(Model):
    name: str
    role: Literal["producer", "consumer"]
    client: ClientKind = Field("librdkafka", description="of a producer; a consumer is always librdkafka")
    bootstrap_servers: str
    client_config: dict[str, str]
    config: dict[str, ConfigValue]
    topics: tuple[str, ...]
    partitions_per_topic: int = Field(description="0: as many as each topic has")
    message_size: int
    connections: int
    topic_each: bool = Field(
        False,
        description="each connection has one of the topics, in turn (a consumer a group for each); else it has all",
    )
    payload: Payload = Payload()
    key_distributor: KeyDistributor = "NO_KEY"
    held: bool = Field(False, description="of a consumer: it joins its group, and reads nothing before its start")
    group: str = ""
    seed: int
    hosts: tuple[str, ...] = Field((), description="client hosts that it may run on; empty: any")
    interval_s: float = 0.5
    schedule: Schedule | None = Field(None, description="of a producer; null: closed loop")
    stamp: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="marks records of this load: a value begins with its intended send time (nanoseconds of the "
        "conductor's monotonic clock) and this number, 8 bytes each, little-endian; 0: values are not stamped",
    )
    clock_ahead_s: float = Field(0, description="the worker's machine's monotonic clock before the conductor's")
    itemized: bool = Field(False, description="of a load with a stamp: the worker ends by telling of each record")

    @model_validator(mode="after")
    def _every_topic_has_one(self) -> WorkerSpec:
        if self.topic_each and self.connections < len(self.topics):
            raise ValueError(f"{self.connections} connections cannot have one of {len(self.topics)} topics each")
        return self

    def topics_of(self, connection: int) -> tuple[str, ...]:
        return (self.topics[connection % len(self.topics)],) if self.topic_each else self.topics


class WorkerCommand(Model):
    command: Literal["start", "mark", "stop"]
    mark: int = 0
    origin_s: float = Field(0, description="of start: the instant at which schedules begin")
    until_s: float = Field(0, description="of stop: what comes due before this instant is still offered; 0: now")


class Batches(Model):
    """Cumulative, from the client library's statistics."""

    batches: int = 0
    records: int = 0
    batch_bytes: int = 0
    requests: int = 0
    request_bytes: int = 0
    queued_s: float = Field(0, description="time of records in the client's queue, summed: linger, and room in flight")
    queued: int = Field(0, description="records that it counts")
    sending_s: float = Field(0, description="requests: from being ready to having been written to the socket, summed")
    sending: int = Field(0, description="requests that it counts")
    answering_s: float = Field(0, description="requests: from having been written to having been answered, summed")
    answering: int = Field(0, description="requests that it counts")


class WorkerReport(Model):
    kind: Literal["ready", "interval", "mark", "finished", "error"]
    time_s: float
    mark: int = 0
    totals: LoadTotals = LoadTotals()
    batches: Batches = Batches()
    cpu_user_s: float = 0
    cpu_system_s: float = 0
    latency: str = Field("", description="encoded histogram, cumulative: intended send to acknowledgement")
    end_to_end: str = Field("", description="encoded histogram, cumulative: intended send to consumer")
    lateness: str = Field("", description="encoded histogram, cumulative: the worker's own delay")
    settings: dict[str, str] = Field(default_factory=dict, description="of ready: what its client goes by")
    priority: str = Field("", description="of the worker's threads, and of the one that paces an open loop")
    records: str = Field(
        "", description="of finished, itemized: the records acknowledged, or read with the stamp (`meshmark.itemized`)"
    )
    held_s: float = Field(0, description="cumulative, of all records: intended send to being handed to the client")
    missed_s: float = Field(0, description="of finished: of the schedule's end, never offered, for want of CPU")
    error: str = ""
    text: str = ""

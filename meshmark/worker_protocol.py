"""What a load worker is told and what it tells: one JSON object a line, over its standard streams.

A worker is a process on a client host. The conductor sends a WorkerSpec as the first line and WorkerCommands
after it; the worker answers with WorkerReports. Times are the machine's monotonic clock.

    spec ->            <- ready       connected, metadata of every topic known
    start ->           <- interval*   every `interval_s` until finished
    mark ->            <- mark        totals at this instant, to cut windows at exact counts
    stop ->            <- finished    nothing more is offered; all outstanding records are resolved or timed out
    (any time)         <- error       cannot go on; `error` is the kind, `text` says what to do
"""

from __future__ import annotations

from typing import Literal

from meshmark.plan import ConfigValue, Model
from meshmark.record import LoadTotals


class WorkerSpec(Model):
    name: str
    role: Literal["producer", "consumer"]
    bootstrap_servers: str
    client_config: dict[str, str]
    config: dict[str, ConfigValue]
    topics: tuple[str, ...]
    partitions_per_topic: int
    message_size: int
    connections: int
    group: str = ""
    seed: int
    interval_s: float = 0.5


class WorkerCommand(Model):
    command: Literal["start", "mark", "stop"]
    mark: int = 0


class Batches(Model):
    """Cumulative, from the client library's statistics."""

    batches: int = 0
    records: int = 0
    batch_bytes: int = 0
    requests: int = 0
    request_bytes: int = 0


class WorkerReport(Model):
    kind: Literal["ready", "interval", "mark", "finished", "error"]
    time_s: float
    mark: int = 0
    totals: LoadTotals = LoadTotals()
    batches: Batches = Batches()
    cpu_user_s: float = 0
    cpu_system_s: float = 0
    error: str = ""
    text: str = ""

"""The options of `meshmark load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BootstrapServer = Annotated[
    str, typer.Option("--bootstrap-server", metavar="HOST:PORT", help="The Kafka; several with commas.")
]
Topic = Annotated[list[str] | None, typer.Option("--topic", metavar="TOPIC", help="A topic that exists; repeatable.")]
File = Annotated[
    Path | None,
    typer.Option("-f", "--file", metavar="FILE", help="An OpenMessaging Benchmark workload, instead of --topic."),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="MSG/S", help="Open loop: so many a second, whatever comes back."),
]
Shape = Annotated[
    str | None,
    typer.Option("--shape", metavar="SHAPE", help="A rate that changes: steps:1000x30,5000x10, bursts:, sine:."),
]
Duration = Annotated[float | None, typer.Option("--duration", metavar="SECONDS", help="10 by default.")]
Warmup = Annotated[
    float | None, typer.Option("--warmup", metavar="SECONDS", help="Load before what latencies are of.")
]
Even = Annotated[bool, typer.Option("--even", help="Evenly spaced records instead of a Poisson process.")]
MessageSize = Annotated[
    int | None, typer.Option("--message-size", metavar="BYTES", help="Of each value; 512 by default.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Producer connections of each client; 20 by default.")
]
Clients = Annotated[
    int | None, typer.Option("--clients", metavar="N", help="Processes that share the rate; 1 by default.")
]
Client = Annotated[
    str, typer.Option("--client", metavar="KIND", help="librdkafka, or raw: batches encoded once, cheap in CPU.")
]
Groups = Annotated[int | None, typer.Option("--groups", metavar="N", help="Consumer groups; each reads everything.")]
Consumers = Annotated[int | None, typer.Option("--consumers", metavar="N", help="Of each group.")]
BacklogBytes = Annotated[
    int | None,
    typer.Option("--backlog-bytes", metavar="BYTES", help="Consumers wait for so much, then read it."),
]
ReplicationFactor = Annotated[
    int, typer.Option("--replication-factor", metavar="N", help="Of the topics that -f makes.")
]
TopicConfig = Annotated[
    list[str] | None, typer.Option("--topic-config", metavar="KEY=VALUE", help="Of them, too; repeatable.")
]
ProducerProperty = Annotated[
    list[str] | None,
    typer.Option("--producer-property", metavar="KEY=VALUE", help="A producer setting, e.g. acks=1; repeatable."),
]
ConsumerProperty = Annotated[
    list[str] | None, typer.Option("--consumer-property", metavar="KEY=VALUE", help="A consumer setting.")
]
CommandConfig = Annotated[
    Path | None,
    typer.Option("--command-config", metavar="FILE", help="Kafka client properties: SASL, TLS."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of payloads and arrivals.")]
Output = Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")]

"""`meshmark load`: offer load to any Kafka, and tell what became of every record and how long it took."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from meshmark.cli import load_options as options
from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.load.alone import LoadRequest, LoadResult

EXAMPLES = (
    "\b\nExamples:\n  meshmark load --bootstrap-server localhost:9092 --topic t --rate 20000 --duration 30\n"
    "  meshmark load --bootstrap-server kafka:9093 --topic t --rate 500 --command-config client.properties -o json\n"
    "  meshmark load --bootstrap-server localhost:9092 --topic t        as fast as it goes (closed loop)\n"
    "  meshmark load --bootstrap-server localhost:9092 --topic t --rate 5000 --groups 2 --consumers 3\n"
    "  meshmark load --bootstrap-server localhost:9092 -f workload.yaml          OpenMessaging Benchmark's file\n\n"
    "\b\nExit codes: 1 records were lost, or not read, or may be; 3 this machine was too slow to offer load on time;\n"
    "10 the load could not be driven."
)
_OPTIONS = {
    "bootstrap_servers": "--bootstrap-server",
    "topics": "--topic",
    "rate_msg_s": "--rate",
    "duration_s": "--duration",
    "warmup_s": "--warmup",
    "backlog_bytes": "--backlog-bytes",
    "producer_config": "--producer-property",
    "consumer_config": "--consumer-property",
    "client_config": "--command-config",
}
_DEFAULT_SECONDS = 10.0


def load(
    bootstrap_server: options.BootstrapServer,
    topic: options.Topic = None,
    file: options.File = None,
    rate: options.Rate = None,
    shape: options.Shape = None,
    duration: options.Duration = None,
    warmup: options.Warmup = None,
    even: options.Even = False,
    message_size: options.MessageSize = None,
    workers: options.Workers = None,
    clients: options.Clients = None,
    client: options.Client = "librdkafka",
    groups: options.Groups = None,
    consumers: options.Consumers = None,
    backlog_bytes: options.BacklogBytes = None,
    replication_factor: options.ReplicationFactor = 3,
    topic_config: options.TopicConfig = None,
    producer_property: options.ProducerProperty = None,
    consumer_property: options.ConsumerProperty = None,
    command_config: options.CommandConfig = None,
    seed: options.Seed = 1,
    output: options.Output = "table",
) -> None:
    """Offer load to any Kafka: latency from the intended send, and what became of every record."""
    from meshmark.cli.load_output import announced, as_json, summary, teller
    from meshmark.clock import SystemClock
    from meshmark.errors import UsageError
    from meshmark.load.alone import drive
    from meshmark.load.local import local

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    common = {
        "bootstrap_servers": bootstrap_server,
        "arrivals": "even" if even else "poisson",
        "client": client,
        "producer_config": _settings("--producer-property", producer_property or []),
        "consumer_config": _settings("--consumer-property", consumer_property or []),
        "client_config": _client_config(command_config),
        "seed": seed,
    }
    own = {
        "topics": tuple(topic) if topic else None,
        "rate_msg_s": rate,
        "shape": shape,
        "duration_s": duration,
        "warmup_s": warmup,
        "message_size": message_size,
        "workers": workers,
        "clients": clients,
        "groups": groups,
        "consumers": consumers,
        "backlog_bytes": backlog_bytes,
    }
    created = {"replication_factor": replication_factor, "config": _settings("--topic-config", topic_config or [])}
    # Data goes to standard output: in a table the intervals are part of it.
    say = note if output == "json" else emit
    with _prepared(file, common, {key: value for key, value in own.items() if value is not None}, created) as request:
        say(announced(request))
        with local() as machine:
            result = drive(request, machine, SystemClock(), told=teller(say, reading=bool(request.groups)))
    emit(json.dumps(as_json(result), indent=1) if output == "json" else summary(result))
    _conclude(result)


@contextmanager
def _prepared(
    file: Path | None, common: dict[str, Any], own: dict[str, Any], created: Mapping[str, Any]
) -> Iterator[LoadRequest]:
    """What is asked, with the topics that it needs and the places of its consumer groups."""
    group = f"meshmark-load-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        if file is None:
            request = _request(**common, **_by_options(own, group))
        else:
            request = _by_file(file, common, own, created, group, stack)
        if request.groups:
            from meshmark.load.topics import Administrator, groups

            administrator = Administrator(request.bootstrap_servers, request.client_config, note)
            stack.enter_context(groups(administrator, request.reads()))
        yield request


def _by_options(own: dict[str, Any], group: str) -> dict[str, Any]:
    from meshmark.errors import UsageError
    from meshmark.load import shapes

    if "topics" not in own:
        raise UsageError("no topic is given", hint="--topic TOPIC, or -f with an OpenMessaging Benchmark workload")
    if "shape" in own:
        own["shape"] = shapes.parse(own["shape"])
    lasts = shapes.seconds(own.get("shape"))
    own["groups"] = tuple(f"{group}-{number + 1}" for number in range(own.get("groups", 0)))
    return {"duration_s": lasts or _DEFAULT_SECONDS, **own}


def _by_file(
    file: Path, common: dict[str, Any], own: dict[str, Any], created: Mapping[str, Any], group: str, stack: ExitStack
) -> LoadRequest:
    from meshmark.errors import UsageError
    from meshmark.load.openmessaging import asked
    from meshmark.load.topics import Administrator, new_topics
    from meshmark.planfile import openmessaging

    if own:
        names = ", ".join(_option(key) for key in own)
        raise UsageError(f"{names}: with -f, {file} says this", hint="leave the option out, or change the file")
    read = openmessaging.load(file)
    # All of it is checked before anything is made on the cluster.
    count = read.workload.topics
    _request(**common, **asked(read, [f"{group}-{number}" for number in range(count)], group))
    administrator = Administrator(common["bootstrap_servers"], common["client_config"], note)
    topics = stack.enter_context(
        new_topics(administrator, count=count, partitions=read.workload.partitions_per_topic, **created)
    )
    if not read.workload.producer_rate:
        note(
            "producerRate 0: as fast as it goes (closed loop), so no latency is claimed; `meshmark run` searches rates"
        )
    return _request(**common, **asked(read, topics, group))


def _request(**asked: Any) -> LoadRequest:
    from pydantic import ValidationError

    from meshmark.errors import UsageError
    from meshmark.load import room
    from meshmark.load.alone import LoadRequest

    try:
        request = LoadRequest(**asked)
    except ValidationError as error:
        # Neither values nor the model's own words: values may hold passwords.
        problems = [
            ": ".join(filter(None, (_option(str(next(iter(each["loc"]), ""))), _plain(each["msg"]))))
            for each in error.errors()
        ]
        raise UsageError("; ".join(problems), hint="`meshmark load --help` shows what each takes") from None
    room.check(request)
    return request


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _option(field: str) -> str:
    """`rate_msg_s` -> `--rate`."""
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}") if field else ""


def _settings(option: str, given: list[str]) -> dict[str, str]:
    from meshmark.errors import UsageError

    wrong = [each for each in given if "=" not in each]
    if wrong:
        raise UsageError(f"{option} {wrong[0].split()[0]}: no `=` in it", hint="e.g. acks=all")
    return {key.strip(): value.strip() for key, value in (each.split("=", 1) for each in given)}


def _client_config(path: Path | None) -> dict[str, str]:
    from meshmark.load.properties import client_properties

    return {} if path is None else client_properties(path)


def _conclude(result: LoadResult) -> None:
    """The exit code."""
    from meshmark.errors import Inconclusive, LoadError

    totals = result.end.totals
    if result.interrupted:
        raise KeyboardInterrupt
    if totals.offered and not totals.acknowledged:
        kinds = ", ".join(sorted(totals.errors))
        raise LoadError(f"nothing was acknowledged: {kinds}", hint="Look at the brokers, and at the path to them.")
    unread = (result.end.lag or 0) > 0 or (result.backlog is not None and result.backlog.state != "drained")
    # What the client had no room for says something about the system only where the generator was on time.
    if totals.failed + totals.unknown > totals.not_accepted or unread or result.end.notes:
        raise typer.Exit(1)
    if result.invalid:
        raise Inconclusive(result.invalid)
    if totals.not_accepted:
        raise typer.Exit(1)

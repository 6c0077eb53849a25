"""`meshmark load`: offer load to any Kafka, and tell what became of every record and how long it took."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.load.alone import LoadRequest, LoadResult
    from meshmark.record import Latency, Lateness, LoadInterval

EXAMPLES = (
    "\b\nExamples:\n  meshmark load --bootstrap-server localhost:9092 --topic t --rate 20000 --duration 30\n"
    "  meshmark load --bootstrap-server kafka:9093 --topic t --rate 500 --command-config client.properties -o json\n"
    "  meshmark load --bootstrap-server localhost:9092 --topic t        as fast as it goes (closed loop)\n\n"
    "\b\nExit codes: 1 records were lost or may be; 3 this machine was too slow to offer load on time;\n"
    "10 the load could not be driven."
)
HEADER = ("s", "offered/s", "acknowl./s", "outstanding", "p50 ms", "p99 ms", "max ms", "errors")
_WIDTHS = (6, 11, 11, 12, 9, 9, 9, 8)


def load(
    bootstrap_server: Annotated[
        str, typer.Option("--bootstrap-server", metavar="HOST:PORT", help="The Kafka; several with commas.")
    ],
    topic: Annotated[list[str], typer.Option("--topic", metavar="TOPIC", help="A topic that exists; repeatable.")],
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="MSG/S", help="Open loop: so many a second, whatever comes back."),
    ] = None,
    duration: Annotated[float, typer.Option("--duration", metavar="SECONDS")] = 10,
    even: Annotated[bool, typer.Option("--even", help="Evenly spaced records instead of a Poisson process.")] = False,
    message_size: Annotated[int, typer.Option("--message-size", metavar="BYTES", help="Of each value.")] = 512,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Producer connections of each client.")] = 20,
    clients: Annotated[int, typer.Option("--clients", metavar="N", help="Processes that share the rate.")] = 1,
    client: Annotated[
        str, typer.Option("--client", metavar="KIND", help="librdkafka, or raw: batches encoded once, cheap in CPU.")
    ] = "librdkafka",
    producer_property: Annotated[
        list[str] | None,
        typer.Option("--producer-property", metavar="KEY=VALUE", help="A producer setting, e.g. acks=1; repeatable."),
    ] = None,
    command_config: Annotated[
        Path | None,
        typer.Option("--command-config", metavar="FILE", help="Kafka client properties: SASL, TLS."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of payloads and arrivals.")] = 1,
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
) -> None:
    """Offer load to any Kafka: latency from the intended send, and what became of every record."""
    from meshmark.clock import SystemClock
    from meshmark.errors import UsageError
    from meshmark.load.alone import drive
    from meshmark.load.local import local

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    request = _request(
        bootstrap_servers=bootstrap_server,
        topics=tuple(topic),
        rate_msg_s=rate,
        arrivals="even" if even else "poisson",
        duration_s=duration,
        message_size=message_size,
        workers=workers,
        clients=clients,
        client=client,
        producer_config=_settings(producer_property or []),
        client_config=_client_config(command_config),
        seed=seed,
    )
    # Data goes to standard output: in a table the intervals are part of it.
    say = note if output == "json" else emit
    say(_announced(request))
    with local() as machine:
        result = drive(request, machine, SystemClock(), told=_teller(say))
    emit(json.dumps(as_json(result), indent=1) if output == "json" else summary(result))
    _conclude(result)


def as_json(result: LoadResult) -> dict[str, Any]:
    totals = result.end.totals
    return {
        "mode": result.mode,
        "seconds": round(result.seconds, 3),
        "rate_msg_s": round(result.rate_msg_s, 3),
        "offered": totals.offered,
        "acknowledged": totals.acknowledged,
        "failed": totals.failed,
        "unknown": totals.unknown,
        "outstanding": totals.outstanding,
        "errors": totals.errors,
        "acknowledged_bytes": totals.acknowledged_bytes,
        "latency_ms": _latency_ms(result.end.latency),
        "lateness": _lateness(result.end.lateness),
        "priority": result.end.priority,
        "valid": not result.invalid,
        "invalid": result.invalid,
        "cpu_s": round(result.end.cpu_user_s + result.end.cpu_system_s, 3),
        "notes": list(result.end.notes),
    }


def summary(result: LoadResult) -> str:
    from meshmark.units import number, percent, rate_msg_s

    totals, latency, lateness = result.end.totals, result.end.latency, result.end.lateness
    lines = ["", f"{result.mode}, {number(result.seconds)} s"]
    lines += [f"offered       {totals.offered:>13,}"]
    lines += [
        f"acknowledged  {totals.acknowledged:>13,}   {rate_msg_s(result.rate_msg_s)} msg/s while load was offered"
    ]
    lines += [f"failed        {totals.failed:>13,}", f"unknown       {totals.unknown:>13,}   may or may not be stored"]
    lines += [f"outstanding   {totals.outstanding:>13,}"]
    lines += [f"  {count:,} x {kind}" for kind, count in sorted(totals.errors.items())]
    if latency:
        quantiles = ("p50", latency.p50_s), ("p90", latency.p90_s), ("p99", latency.p99_s), ("p99.9", latency.p99_9_s)
        told = "  ".join(f"{name} {_ms(value)}" for name, value in (*quantiles, ("max", latency.max_s)))
        lines += [f"latency       {told}  ms, from the intended send to the acknowledgement"]
    if lateness:
        share = percent(lateness.late_share) if lateness.late_10ms else "none"
        lines += [f"generator     late by over 10 ms: {share} of the records; at most {_ms(lateness.max_s)} ms"]
    return "\n".join([*lines, *result.end.notes])


def _request(**asked: Any) -> LoadRequest:
    from pydantic import ValidationError

    from meshmark.errors import UsageError
    from meshmark.load.alone import LoadRequest

    try:
        return LoadRequest(**asked)
    except ValidationError as error:
        # Neither values nor the model's own words: values may hold passwords.
        problems = [
            f"{_option(str(each['loc'][0]))}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        ]
        raise UsageError("; ".join(problems), hint="`meshmark load --help` shows what each takes") from None


def _option(field: str) -> str:
    """`rate_msg_s` -> `--rate`."""
    options = {
        "bootstrap_servers": "--bootstrap-server",
        "topics": "--topic",
        "rate_msg_s": "--rate",
        "duration_s": "--duration",
        "producer_config": "--producer-property",
        "client_config": "--command-config",
    }
    return options.get(field, f"--{field.replace('_', '-')}")


def _settings(given: list[str]) -> dict[str, str]:
    from meshmark.errors import UsageError

    wrong = [each for each in given if "=" not in each]
    if wrong:
        raise UsageError(f"--producer-property {wrong[0].split()[0]}: no `=` in it", hint="e.g. acks=all")
    return {key.strip(): value.strip() for key, value in (each.split("=", 1) for each in given)}


def _client_config(path: Path | None) -> dict[str, str]:
    from meshmark.load.properties import client_properties

    return {} if path is None else client_properties(path)


def _announced(request: LoadRequest) -> str:
    from meshmark.units import number, rate_msg_s

    shape = f", {rate_msg_s(request.rate_msg_s)} msg/s ({request.arrivals})" if request.rate_msg_s else ""
    return (
        f"{request.mode}{shape} for {number(request.duration_s)} s: {request.clients} x {request.workers} connections "
        f"to {request.bootstrap_servers}, {request.message_size} B to {', '.join(request.topics)}"
    )


def _teller(say: Callable[[str], None]) -> Callable[[LoadInterval], None]:
    """Prints an interval as a line of a table, with the rates since the one before."""
    from meshmark.units import rate_msg_s

    seen: list[LoadInterval] = []

    def tell(now: LoadInterval) -> None:
        if not seen:
            say(_row(HEADER))
            seen.append(now)
            return
        first, last = seen[0], seen[-1]
        seconds, grown = now.time_s - last.time_s, now.totals - last.totals
        latency = now.latency
        quantiles = (latency.p50_s, latency.p99_s, latency.max_s) if latency else (None, None, None)
        say(
            _row(
                (
                    f"{now.time_s - first.time_s:.0f}",
                    rate_msg_s(grown.offered / seconds),
                    rate_msg_s(grown.acknowledged / seconds),
                    f"{now.totals.outstanding:,}",
                    *map(_ms, quantiles),
                    f"{grown.failed + grown.unknown:,}",
                )
            )
        )
        seen[1:] = [now]

    return tell


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _ms(seconds: float | None) -> str:
    from meshmark.units import number

    return number(None if seconds is None else seconds * 1e3)


def _latency_ms(latency: Latency | None) -> dict[str, float | None] | None:
    if latency is None:
        return None
    quantiles = {"p50": latency.p50_s, "p90": latency.p90_s, "p99": latency.p99_s, "p99_9": latency.p99_9_s}
    named = {**quantiles, "max": latency.max_s}
    return {name: None if value is None else round(value * 1e3, 3) for name, value in named.items()}


def _lateness(lateness: Lateness | None) -> dict[str, Any] | None:
    if lateness is None:
        return None
    return {
        "records": lateness.records,
        "late_1ms": lateness.late_1ms,
        "late_10ms": lateness.late_10ms,
        "max_ms": None if lateness.max_s is None else round(lateness.max_s * 1e3, 3),
    }


def _conclude(result: LoadResult) -> None:
    """The exit code."""
    from meshmark.errors import Inconclusive, LoadError

    totals = result.end.totals
    if result.interrupted:
        raise KeyboardInterrupt
    if totals.offered and not totals.acknowledged:
        kinds = ", ".join(sorted(totals.errors))
        raise LoadError(f"nothing was acknowledged: {kinds}", hint="Look at the brokers, and at the path to them.")
    if totals.failed or totals.unknown:
        raise typer.Exit(1)
    if result.invalid:
        raise Inconclusive(result.invalid)

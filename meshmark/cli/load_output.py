"""What `meshmark load` prints: a line per interval, a summary, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshmark.load.alone import Backlog, LoadRequest, LoadResult
    from meshmark.record import Latency, Lateness, LoadInterval

HEADER = ("s", "offered/s", "acknowl./s", "outstanding", "p50 ms", "p99 ms", "max ms", "errors")
READ_HEADER = ("consumed/s", "lag", "e2e p99 ms")
_WIDTHS = (6, 11, 11, 12, 9, 9, 9, 8, 11, 11, 11)

CLOCK_OFFSET_BOUND_MS = 0.0
"""Of end-to-end latency: producers and consumers of a load are processes of one machine and read its one clock."""


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
        "latency_ms": latency_ms(result.measured.latency),
        "lateness": _lateness(result.measured.lateness),
        "priority": result.end.priority,
        "consumed": totals.consumed,
        "consumed_msg_s": round(result.consumed_msg_s, 3),
        "negative": totals.negative,
        "unstamped": totals.unstamped,
        "lag": result.end.lag,
        "end_to_end_ms": latency_ms(result.measured.end_to_end),
        "clock_offset_bound_ms": CLOCK_OFFSET_BOUND_MS,
        "backlog": None if result.backlog is None else result.backlog.model_dump(by_alias=False),
        "valid": not result.invalid,
        "invalid": result.invalid,
        "cpu_s": round(result.end.cpu_user_s + result.end.cpu_system_s, 3),
        "client_settings": result.settings,
        "notes": list(result.end.notes),
    }


def summary(result: LoadResult) -> str:
    from meshmark.units import number, percent, rate_msg_s

    totals, latency, lateness = result.end.totals, result.measured.latency, result.measured.lateness
    lines = ["", f"{result.mode}, {number(result.seconds)} s"]
    lines += [f"offered       {totals.offered:>13,}"]
    lines += [
        f"acknowledged  {totals.acknowledged:>13,}   {rate_msg_s(result.rate_msg_s)} msg/s while load was offered"
    ]
    lines += [f"failed        {totals.failed:>13,}", f"unknown       {totals.unknown:>13,}   may or may not be stored"]
    lines += [f"outstanding   {totals.outstanding:>13,}"]
    lines += [f"  {count:,} x {kind}" for kind, count in sorted(totals.errors.items())]
    if latency:
        lines += [f"latency       {_quantiles(latency)}, from the intended send to the acknowledgement"]
    if lateness:
        share = percent(lateness.late_share) if lateness.late_10ms else "none"
        lines += [f"generator     late by over 10 ms: {share} of the records; at most {ms(lateness.max_s)} ms"]
    if result.end.lag is not None:
        lines += _read(result)
    return "\n".join([*lines, *result.end.notes])


def _read(result: LoadResult) -> list[str]:
    from meshmark.units import rate_msg_s

    totals, end_to_end = result.end.totals, result.measured.end_to_end
    lines = [f"consumed      {totals.consumed:>13,}   {rate_msg_s(result.consumed_msg_s)} msg/s, all groups together"]
    lines += [f"not consumed  {result.end.lag or 0:>13,}   acknowledged for each group, less what it read"]
    if end_to_end:
        lines += [f"end to end    {_quantiles(end_to_end)}, from the intended send to the consumer, on one clock"]
        lines += [f"  {totals.negative:,} negative, {totals.unstamped:,} records not of this load: in no latency"]
    if result.backlog:
        lines += [f"backlog       {_backlog(result.backlog)}"]
    return lines


def _backlog(backlog: Backlog) -> str:
    from meshmark.units import number

    told = f"{backlog.asked_bytes:,} B, {backlog.state}"
    if backlog.built_s is not None:
        told += f"; built in {number(backlog.built_s)} s ({backlog.built_records or 0:,} records)"
    if backlog.drained_s is not None:
        told += f", drained in {number(backlog.drained_s)} s"
    return told


def announced(request: LoadRequest) -> str:
    from meshmark.units import number, rate_msg_s

    pace = ""
    if request.rate_msg_s is not None:
        pace = f", {rate_msg_s(request.rate_msg_s)} msg/s ({request.arrivals})"
    elif request.shape is not None:
        pace = f", {request.shape.kind} ({request.arrivals})"
    warmup = f" after {number(request.warmup_s)} s of warm-up" if request.warmup_s else ""
    readers = f"; {len(request.groups)} x {request.consumers} consumers" if request.groups else ""
    topics = ", ".join(request.topics[:3]) + (f" and {len(request.topics) - 3} more" if request.topics[3:] else "")
    return (
        f"{request.mode}{pace} for {number(request.duration_s)} s{warmup}: {request.clients} x {request.workers} "
        f"connections to {request.bootstrap_servers}, {request.message_size} B to {topics}{readers}"
    )


def teller(say: Callable[[str], None], *, reading: bool) -> Callable[[LoadInterval], None]:
    """Prints an interval as a line of a table, with the rates since the one before."""
    from meshmark.units import rate_msg_s

    seen: list[LoadInterval] = []

    def tell(now: LoadInterval) -> None:
        if not seen:
            say(_row((*HEADER, *READ_HEADER) if reading else HEADER))
            seen.append(now)
            return
        first, last = seen[0], seen[-1]
        seconds, grown = now.time_s - last.time_s, now.totals - last.totals
        latency = now.latency
        quantiles = (latency.p50_s, latency.p99_s, latency.max_s) if latency else (None, None, None)
        cells = (
            f"{now.time_s - first.time_s:.0f}",
            rate_msg_s(grown.offered / seconds),
            rate_msg_s(grown.acknowledged / seconds),
            f"{now.totals.outstanding:,}",
            *map(ms, quantiles),
            f"{grown.failed + grown.unknown:,}",
        )
        if reading:
            arrived = now.end_to_end
            cells += (
                rate_msg_s(grown.consumed / seconds),
                f"{now.lag or 0:,}",
                ms(arrived.p99_s if arrived else None),
            )
        say(_row(cells))
        seen[1:] = [now]

    return tell


def _row(cells: tuple[str, ...]) -> str:
    return " ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=False))


def _quantiles(latency: Latency) -> str:
    quantiles = ("p50", latency.p50_s), ("p90", latency.p90_s), ("p99", latency.p99_s), ("p99.9", latency.p99_9_s)
    return "  ".join(f"{name} {ms(value)}" for name, value in (*quantiles, ("max", latency.max_s))) + "  ms"


def ms(seconds: float | None) -> str:
    """As text, in milliseconds."""
    from meshmark.units import number

    return number(None if seconds is None else seconds * 1e3)


def latency_ms(latency: Latency | None) -> dict[str, float | None] | None:
    """Quantiles in milliseconds."""
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

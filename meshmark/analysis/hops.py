"""A trial's mean latency by hop: where the time between intended send and acknowledgement went. Pure.

    held back       intended send -> handed to the client library, full queue and late wake-ups
    client queue    in the client's queue: linger, and room in flight
    client send     request ready -> written to the socket
    client proxy    way `through` less way `past`, of small requests (`backends.lab.paths`)
    network         a refused connection, of the same
    broker proxy    way `past` less way `direct` less network
    broker queue, local, remote, response      Produce requests, by the brokers' own metrics
    connection      of the time between a request's writing and its answer, what none of the six above explains
    not explained   what is left of the total

Only means add up, so only means are told. Records are counted where they are known (held back, client queue), requests
elsewhere: where some batches are much fuller than others, a mean over requests is not one over records. The parts come
from different clocks' windows too: the client's statistics are half a second old at most, the rest is cut at the
window's edges.

`connection` is a rest, too, and told apart because it has known causes that nothing measures alone: a broker serves
the requests of one connection one by one, so those sent meanwhile wait in its socket, unread; a batch is larger than
the small requests; and a proxy takes it in pieces. What is left in the end is the client's: answers until the worker
has looked, and whatever the means of records and of requests differ by. Both may be below zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshmark.record import Counters, HopTime

BROKER_HOPS = {
    "broker queue": ("queue",),
    "broker local": ("local",),
    "broker remote": ("remote",),
    "broker response": ("response_queue", "response_send"),
}
RESIDUAL = "not explained"
STATISTICS = "client's statistics"
METRICS = "brokers' metrics"


def latency_by_hop(
    *,
    mean_s: float,
    records: int,
    held_s: float,
    handed_over: int,
    queued: tuple[float, int],
    sending: tuple[float, int],
    answering: tuple[float, int],
    start: Counters,
    end: Counters,
) -> tuple[HopTime, ...]:
    """Parts, and the residual last: together `mean_s`, the mean latency of the window's `records`. `held_s` is the sum
    over the records `handed_over` in it; `queued`, `sending` and `answering` are
    sums with what they count. A part without anything
    counted is absent, and in the residual."""
    parts = [
        *_mean("held back", held_s, handed_over, "load generator"),
        *_mean("client queue", *queued, STATISTICS),
        *_mean("client send", *sending, STATISTICS),
        *_until_answered(*answering, start, end),
    ]
    left = mean_s - sum(part.mean_s for part in parts)
    return (*parts, HopTime(hop=RESIDUAL, mean_s=left, count=records, source="total less the parts"))


def _until_answered(answering_s: float, answered: int, start: Counters, end: Counters) -> Iterator[HopTime]:
    parts = counted_hops(start, end)
    yield from parts
    if answered:
        left = answering_s / answered - sum(part.mean_s for part in parts)
        yield HopTime(hop="connection", mean_s=left, count=answered, source=f"{STATISTICS}, less the way and brokers")


def counted_hops(start: Counters, end: Counters) -> tuple[HopTime, ...]:
    """The parts that counters alone give: of the way and of the brokers."""
    return (*_on_the_way(start, end), *_in_brokers(start, end))


def _on_the_way(start: Counters, end: Counters) -> Iterator[HopTime]:
    """Differences of ways; none is known without the two that it lies between."""
    ways = {way: _way(start, end, way) for way in ("through", "past", "direct", "refused")}
    through, past, direct, refused = ways.values()
    if through and past:
        yield _difference("client proxy", through, past)
    if refused:
        yield HopTime(hop="network", mean_s=refused.mean_s, count=refused.count, source="refused connections")
    if past and direct and refused:
        yield _difference("broker proxy", past, direct, less_s=refused.mean_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    mean_s: float
    count: int


def _way(start: Counters, end: Counters, way: str) -> _Way | None:
    count = _grown(start, end, f"/paths/{way}_requests")
    return _Way(mean_s=_grown(start, end, f"/paths/{way}_s") / count, count=round(count)) if count else None


def _difference(hop: str, longer: _Way, shorter: _Way, less_s: float = 0.0) -> HopTime:
    mean_s = longer.mean_s - shorter.mean_s - less_s
    return HopTime(hop=hop, mean_s=mean_s, count=min(longer.count, shorter.count), source="small requests")


def _in_brokers(start: Counters, end: Counters) -> Iterator[HopTime]:
    requests = round(_grown(start, end, "/kafka/produce_requests"))
    for hop, parts in BROKER_HOPS.items():
        taken_s = sum(_grown(start, end, f"/kafka/produce_{part}_s") for part in parts)
        yield from _mean(hop, taken_s, requests, METRICS)


def _grown(start: Counters, end: Counters, ending: str) -> float:
    """Of all hosts together, since `start`; what was not there then began at zero."""
    return sum(value - start.get(key, 0.0) for key, value in end.items() if key.endswith(ending))


def _mean(hop: str, taken_s: float, count: int, source: str) -> Iterator[HopTime]:
    """Nothing when nothing was counted."""
    if count > 0:
        yield HopTime(hop=hop, mean_s=taken_s / count, count=count, source=source)

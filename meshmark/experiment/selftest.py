"""The instrument tests itself: two stops of known length under open-loop load, which its figures must show.

    self_test(bench, rate_msg_s)    # recorded; raises InstrumentFault unless everything adds up, Inconclusive if the
                                    # load does not get over the stops in time

First the load worker stands still, then a broker that is not the active controller, with a client queue that is
smaller than what comes due meanwhile. Records of an even schedule that come due in a stop, early enough, must wait for
longer than half of it: a number that follows from the rate. docs/explanation/self-test.md derives the bounds. Neither
the worker nor whoever sums up its reports is told about the stops.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Literal

from meshmark.cluster import Process, TopicLayout, pausable
from meshmark.errors import Inconclusive, InstrumentFault
from meshmark.experiment.trial import Bench
from meshmark.histogram import Histogram
from meshmark.load.generator import WORKER_ARGV, Load, Mark, consumer_specs, load, producer_spec
from meshmark.plan import Scenario, Workload
from meshmark.record import Latency, LoadTotals, SelfTest, StopCheck
from meshmark.topology import Topology
from meshmark.units import rate_msg_s as rate_text

WORKER_STOP_S = 0.5
BROKER_STOP_S = 1.0
SETTLE_S = 1.0
"""Connections open, and the backlog of a stop is gone for good."""
EDGE_S = 0.02
"""Between a signal and its effect; what was under way before is acknowledged within this or not in the stop."""
QUEUE_SHARE = 1 / 3
"""The client's queue, as a share of what comes due while the broker stands still. Whoever reckons from the moment at
which the client takes a record sees this share above half the stop; whoever reckons to that moment, hardly more than
half less this share. Both are well below half."""
CAUGHT_UP_S = 0.1
"""No more is outstanding than comes due in so long, for each second that a broker stands still."""
CAUGHT_UP_RTTS, CAUGHT_UP_MOST_S = 2.5, 0.15
"""In the last attempt so many of the longest round trips may be, if these are more: a record goes to its leader and
back, and from there to its farthest replica and back. That is at most so long for each second: with half a second's
records due, and a third in the queue, whoever reckons from the moment at which the client takes a record would pass
from 0.16 s on."""
CATCH_UP_TIMEOUT_S = 4.0
RATE_SHARE = 0.2
"""Of what the system carries: above half, a clock at the return of `send()` could pass."""
RATE_MAX_MSG_S = 20_000.0
"""More records say no more."""
CONNECTIONS_MAX = 2
LINGER_MS = 20
"""Few connections, one topic with a partition for each broker, and time to fill batches: the queue is worth a third of
a second, so requests must be answered well within that, which they are not where a busy machine gets hundreds of small
ones a second."""
LAST_RATES = 4
ATTEMPTS = ((1.0, 1.0), (0.25, 4.0))
"""Share of the rate, and how many times as long the stops are. The queue is worth a third of a stop, so a system that
answers after more than that never gets over it, however low the rate; longer stops have longer queues. A broker that
stands still for much longer than four seconds would count as gone (`broker.session.timeout.ms`, 9 s)."""
TICK_S = 0.02
TIMEOUT_MS = 30_000
"""A record and a request may take at least so long: longer than any stop, and what it takes to get over it."""
_TIMEOUT_KEYS = ("message.timeout.ms", "delivery.timeout.ms", "request.timeout.ms", "socket.timeout.ms")
_LAG_TIME_KEY = "replica.lag.time.max.ms"
_LAG_TIME_MS = 30_000.0  # Kafka's default


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """What stood still, between which instants it surely did, and what had been counted before and after."""

    target: Literal["load worker", "broker"]
    host: str
    asked_s: float
    begun_s: float
    ended_s: float
    share: float
    """Of the records that come due in it, so many wait for its end."""
    before: Mark
    after: Mark
    caught_up: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Records at even distances, the first of them at the origin."""

    origin_s: float
    rate_msg_s: float

    def due(self, time_s: float) -> int:
        """How many by then."""
        return max(0, math.floor((time_s - self.origin_s) * self.rate_msg_s) + 1)


def self_test(bench: Bench, rate_msg_s: float, *, worker: Sequence[str] = WORKER_ARGV) -> SelfTest:
    """At a rate that the system carries easily; some seven seconds. Where it does not get over the stops in time, once
    more at a fraction of it, with longer stops."""
    for attempt, (share, longer) in enumerate(ATTEMPTS, start=1):
        name = f"selftest-{bench.slot.index}-{attempt}"
        done = _attempt(bench, rate_msg_s * share, name, worker, longer)
        bench.writer.self_test(done)
        if not done.holds:
            raise InstrumentFault(
                f"the self-test of the load generator failed: {'; '.join(failures(done))}",
                hint="Nothing that it measures can be believed; docs/explanation/self-test.md says how it is tested.",
            )
        if done.conclusive:
            return done
    few_s = caught_up_s(longer, bench.scenario.cluster.topology)
    raise Inconclusive(
        f"the self-test of the load generator is not conclusive: after {len(ATTEMPTS)} attempts, the last at "
        f"{rate_text(done.rate_msg_s)} msg/s, the load did not get over its stops in time",
        hint=f"This machine is busy with something else, or the cluster takes more than {few_s:.2g} s to answer; "
        "docs/explanation/self-test.md says what is tested, and over which distances it can be.",
    )


def _attempt(bench: Bench, rate_msg_s: float, name: str, worker: Sequence[str], longer: float) -> SelfTest:
    begun_s = bench.clock.now()
    due = rate_msg_s * BROKER_STOP_S * longer
    workload = with_small_queue(bench.scenario.workload, due, bench.scenario.cluster.brokers)
    layout = bench.cluster.create_topics(workload, name)
    producer = producer_spec(
        workload, bench.cluster, layout, client=1, seed=bench.seed, rate_msg_s=rate_msg_s, arrivals="even"
    )
    consumers = consumer_specs(workload, bench.cluster, layout, seed=bench.seed, end_to_end=True)
    with load(bench.cluster, [producer, *consumers], bench.clock, argv=worker) as running:
        schedule = Schedule(origin_s=running.start(), rate_msg_s=rate_msg_s)
        stops = (
            _stop_worker(bench, running, rate_msg_s, longer),
            _stop_broker(bench, running, rate_msg_s, longer, layout),
        )
        end = running.stop()
    bench.cluster.delete_topics(layout)
    groups = workload.subscriptions_per_topic
    return SelfTest(
        round_index=bench.slot.index,
        scenario=bench.scenario.name,
        time_s=begun_s,
        seconds=bench.clock.now() - begun_s,
        rate_msg_s=rate_msg_s,
        queue_records=workload.workers * int(workload.producer_config["queue.buffering.max.messages"]),
        checks=tuple(check for stop in stops for check in checks(stop, schedule, groups)),
        totals=end.totals,
        contradictions=contradictions(end.totals, groups),
        answer_required=True,
    )


def moderate_msg_s(warmup_rates_msg_s: Sequence[float]) -> float:
    """A rate at which to test, from what the last seconds of a warm-up carried."""
    return min(RATE_MAX_MSG_S, median(warmup_rates_msg_s[-LAST_RATES:]) * RATE_SHARE)


def with_small_queue(workload: Workload, due: float, brokers: int) -> Workload:
    """Little room before the client for what comes due in a stop, few requests, and no record that a stop fails."""
    connections = min(CONNECTIONS_MAX, workload.workers)
    room = max(1, int(QUEUE_SHARE * due / connections))
    given = workload.producer_config
    patient = {key: TIMEOUT_MS for key in _TIMEOUT_KEYS if 0 < float(given.get(key, 0)) < TIMEOUT_MS}
    config = {**given, **patient, "queue.buffering.max.messages": room, "linger.ms": LINGER_MS}
    return workload.model_copy(
        update={"topics": 1, "partitions_per_topic": brokers, "workers": connections, "producer_config": config}
    )


def caught_up_s(longer: float, topology: Topology) -> float:
    """What may be outstanding when a stop is over, in seconds of load; longer stops leave room for distance."""
    if longer <= 1:
        return CAUGHT_UP_S * longer
    return min(CAUGHT_UP_MOST_S * longer, max(CAUGHT_UP_S * longer, CAUGHT_UP_RTTS * topology.farthest_s()))


def waiting_share(scenario: Scenario, led: float, stop_s: float = BROKER_STOP_S) -> float:
    """Of the records that come due while a broker that leads this share of the partitions stands still, how many wait
    for it at least. With a replica on each broker and acks=all these are all, until the broker counts as lagging."""
    spec, workload = scenario.cluster, scenario.workload
    config = workload.producer_config
    acks = str(config.get("acks", config.get("request.required.acks", "all")))
    lagging_ms = float(spec.broker_config.get(_LAG_TIME_KEY, _LAG_TIME_MS))
    if acks == "0":
        return 0.0
    if acks in ("all", "-1") and workload.replication_factor == spec.brokers and lagging_ms > 2_000 * stop_s:
        return 1.0
    # Connections go from partition to partition; half, because a stop may catch them at few of the broker's.
    return led / 2


def checks(stop: Stop, schedule: Schedule, groups: int) -> tuple[StopCheck, ...]:
    """Latencies of the stop, and what consumers saw of it, against what must be and what can be."""
    half_s = stop.asked_s / 2
    before, after = stop.before.totals, stop.after.totals
    lost = after.failed + after.unknown - before.failed - before.unknown
    waited = math.floor(stop.share * max(0, schedule.due(stop.ended_s - half_s) - schedule.due(stop.begun_s + EDGE_S)))
    longest_s = schedule.due(stop.after.time_s - half_s)

    def check(value: Literal["latency", "end-to-end latency"], low: int, high: int, counted: int) -> StopCheck:
        return StopCheck(
            target=stop.target,
            host=stop.host,
            value=value,
            seconds=stop.ended_s - stop.begun_s,
            above_s=half_s,
            low=max(0, low),
            high=high,
            counted=counted,
            caught_up=stop.caught_up,
        )

    window = stop.after.since(stop.before)
    found = [
        check(
            "latency",
            waited - after.outstanding - lost,
            longest_s - before.acknowledged,
            _longer(window.latency, half_s),
        )
    ]
    if groups:
        read_before, read_after = (totals.consumed - totals.unstamped for totals in (before, after))
        unread = groups * after.offered - read_after
        found.append(
            check(
                "end-to-end latency",
                groups * waited - unread,
                groups * longest_s - read_before,
                _longer(window.end_to_end, half_s),
            )
        )
    return tuple(found)


def contradictions(totals: LoadTotals, groups: int) -> tuple[str, ...]:
    """Whatever the system does, these hold at the end."""
    found = []
    if not totals.closed or totals.outstanding:
        found.append(f"records do not add up: {totals}")
    if totals.negative or totals.unstamped:
        found.append(f"{totals.negative} latencies below zero, {totals.unstamped} records without a send time")
    # What timed out may be stored.
    if not 0 <= totals.consumed - groups * totals.acknowledged <= groups * totals.unknown:
        found.append(f"consumers read {totals.consumed} records of {groups} x {totals.acknowledged} acknowledged")
    return tuple(found)


def failures(done: SelfTest) -> list[str]:
    """A sentence for each thing that does not hold."""
    return [*done.contradictions, *(_failure(check) for check in done.checks if not check.holds)]


def _failure(check: StopCheck) -> str:
    return (
        f"a {check.target} on {check.host} stood still for {check.seconds:.2f} s: {check.counted:,} records have a "
        f"{check.value} above {check.above_s:g} s; arithmetic says {check.low:,} to {check.high:,}"
    )


def _stop_worker(bench: Bench, running: Load, rate_msg_s: float, longer: float) -> Stop:
    (producer,) = running.producers
    return _stop(
        bench,
        running,
        rate_msg_s,
        target="load worker",
        host=producer.host,
        seconds=WORKER_STOP_S,
        longer=longer,
        share=1.0,
        standing_still=lambda: _stopped(producer),
    )


def _stop_broker(bench: Bench, running: Load, rate_msg_s: float, longer: float, layout: TopicLayout) -> Stop:
    power = pausable(bench.cluster)
    controller = power.active_controller()
    host = next((host for host in bench.cluster.broker_hosts if host != controller), controller)
    leaders = list(layout.leaders.values())
    return _stop(
        bench,
        running,
        rate_msg_s,
        target="broker",
        host=host,
        seconds=BROKER_STOP_S,
        longer=longer,
        share=waiting_share(bench.scenario, leaders.count(host) / len(leaders), BROKER_STOP_S * longer),
        standing_still=lambda: power.paused(host),
    )


def _stop(
    bench: Bench,
    running: Load,
    rate_msg_s: float,
    *,
    target: Literal["load worker", "broker"],
    host: str,
    seconds: float,
    longer: float,
    share: float,
    standing_still: Callable[[], AbstractContextManager[None]],
) -> Stop:
    bench.clock.sleep(SETTLE_S * longer)
    running.intervals()
    before = running.mark()
    with standing_still():
        begun_s = bench.clock.now()
        bench.clock.sleep(seconds * longer)
        ended_s = bench.clock.now()
    after, caught_up = _caught_up(bench, running, rate_msg_s, longer)
    return Stop(
        target=target,
        host=host,
        asked_s=seconds * longer,
        begun_s=begun_s,
        ended_s=ended_s,
        share=share,
        before=before,
        after=after,
        caught_up=caught_up,
    )


@contextmanager
def _stopped(process: Process) -> Iterator[None]:
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def _caught_up(bench: Bench, running: Load, rate_msg_s: float, longer: float) -> tuple[Mark, bool]:
    """When nothing is left of a backlog, at the producer or at consumers; False if that was not within the time."""
    end = bench.clock.now() + CATCH_UP_TIMEOUT_S * longer
    few = rate_msg_s * caught_up_s(longer, bench.scenario.cluster.topology)
    groups = bench.scenario.workload.subscriptions_per_topic
    while True:
        mark = running.mark()
        left = (mark.totals.outstanding, (mark.lag or 0) / max(1, groups))
        if max(left) <= few:
            return mark, True
        if bench.clock.now() > end:
            return mark, False
        running.intervals()
        bench.cluster.check()
        bench.clock.sleep(TICK_S)


def _longer(latency: Latency | None, seconds: float) -> int:
    return Histogram.decode(latency.histogram).above(seconds) if latency else 0

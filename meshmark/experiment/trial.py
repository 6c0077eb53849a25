"""One trial: load held for one window, between two moments at which nothing is in flight.

Counters are read at both edges of the window (throughput, CPU, packets) and at both quiet moments (the proof that the
traffic took the path that the scenario says, which needs exact bytes).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from meshmark.analysis.path import check_path, unexplained
from meshmark.analysis.warmup import flat
from meshmark.clock import Clock
from meshmark.cluster import Cluster, TopicLayout
from meshmark.experiment.progress import Progress
from meshmark.load.generator import Load, Mark, consumer_specs, load, producer_spec
from meshmark.measure.sampler import Sampler
from meshmark.plan import Scenario, Slot
from meshmark.record import BatchFill, Counters, LoadInterval, LoadTotals, Trial
from meshmark.store import RoundWriter

SETTLE_S = 1.5
"""From the start of the load to the first window edge: connections open, queues fill."""
TICK_S = 0.25
QUIET_S = 0.3
QUIET_TIMEOUT_S = 20.0
"""Replicas catch up within this, or the trial's path cannot be checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every trial of a round is done with."""

    cluster: Cluster
    scenario: Scenario
    slot: Slot
    seed: int
    sampler: Sampler
    writer: RoundWriter
    progress: Progress
    clock: Clock


def warm_up(bench: Bench) -> tuple[float, ...]:
    """Load from one client until the rate is flat, within the method's bounds; the rate of each second, so that the
    record shows how flat it was in the end. The topics are deleted afterwards."""
    method = bench.scenario.method
    rates: list[float] = []
    with _topics(bench, "warmup") as layout, _load(bench, layout, clients=1) as running:
        running.start()
        begun = bench.clock.now()
        last = running.mark()
        while (warm_s := bench.clock.now() - begun) < method.warmup_max_seconds:
            if warm_s >= method.warmup_seconds and flat(rates):
                break
            _watch(bench, running, 1.0)
            now = running.mark()
            rates.append((now.totals.acknowledged - last.totals.acknowledged) / (now.time_s - last.time_s))
            last = now
        running.stop()
    return tuple(rates)


def measure(bench: Bench, step: int, clients: int) -> Trial:
    """Load from `clients` producing clients at once, and consumers where the workload has them."""
    with _topics(bench, f"trial-{step}") as layout:
        with _load(bench, layout, clients=clients) as running:
            quiet_start = bench.sampler.read_now()
            running.start()
            _watch(bench, running, SETTLE_S)
            first, counters_start = running.mark(), bench.sampler.read_now()
            _watch(bench, running, bench.scenario.method.window_seconds)
            last, counters_end = running.mark(), bench.sampler.read_now()
            end = running.stop()
            settled = _until_quiet(bench, quiet_start.values)
        quiet_end = bench.sampler.read_now()
    batch = _batch_fill(end)
    trial = Trial(
        round_index=bench.slot.index,
        scenario=bench.scenario.name,
        repeat=bench.slot.repeat,
        step=step,
        clients=clients,
        connections=first.connections,
        started_s=quiet_start.time_s,
        window_start_s=first.time_s,
        window_end_s=last.time_s,
        window=last.totals - first.totals,
        total=end.totals,
        batch=batch,
        counters_start=counters_start.values,
        counters_end=counters_end.values,
        quiet_start=quiet_start.values,
        quiet_end=quiet_end.values,
        path=check_path(
            start=quiet_start.values,
            end=quiet_end.values,
            scenario=bench.scenario,
            broker_hosts=bench.cluster.broker_hosts,
            client_hosts=bench.cluster.client_hosts,
            batch=batch,
        ),
        valid=True,
    )
    reasons = _faults(trial, bench.scenario, settled)
    return trial.model_copy(update={"valid": not reasons, "reasons": reasons})


@contextmanager
def _topics(bench: Bench, name: str) -> Iterator[TopicLayout]:
    layout = bench.cluster.create_topics(bench.scenario.workload, f"{name}-{bench.slot.index}")
    yield layout
    bench.cluster.delete_topics(layout)


@contextmanager
def _load(bench: Bench, layout: TopicLayout, *, clients: int) -> Iterator[Load]:
    workload = bench.scenario.workload
    specs = [
        producer_spec(workload, bench.cluster, layout, client=client, seed=bench.seed)
        for client in range(1, clients + 1)
    ]
    specs += consumer_specs(workload, bench.cluster, layout, seed=bench.seed)
    with load(bench.cluster, specs, bench.clock) as running:
        yield running


def _watch(bench: Bench, running: Load, seconds: float) -> None:
    """Lets the load go on, records and tells what it reports, and notices at once when a component dies."""
    end = bench.clock.now() + seconds
    before: LoadInterval | None = None
    while (left := end - bench.clock.now()) > 0:
        bench.clock.sleep(min(TICK_S, left))
        bench.cluster.check()
        for interval in running.intervals():
            bench.writer.interval(interval)
            if before and interval.time_s > before.time_s:
                acknowledged = interval.totals.acknowledged - before.totals.acknowledged
                bench.progress.rate(acknowledged / (interval.time_s - before.time_s), interval.clients)
            before = interval


def _until_quiet(bench: Bench, start: Counters) -> bool:
    """Waits until followers have all that their leaders have and nothing grows any more (a log that stands still may
    be a follower that is held up). False if that did not happen. What counts is the growth since `start`, when the
    topics were new: of topics before, a reading may have seen more at the leaders than at their followers."""
    end = bench.clock.now() + QUIET_TIMEOUT_S
    first = _logged(start)
    before = first
    while bench.clock.now() < end:
        now = _logged(bench.sampler.read_now().values)
        grown, led = now.all - first.all, now.led - first.led
        if now == before and abs(grown - bench.scenario.workload.replication_factor * led) < 1:
            return True
        before = now
        bench.clock.sleep(QUIET_S)
        bench.cluster.check()
    return False


class _Logged(NamedTuple):
    """Bytes in the brokers' logs, and of them those in partitions that the broker leads."""

    all: float
    led: float


def _logged(counters: Counters) -> _Logged:
    return _Logged(_sum(counters, "/kafka/log_bytes"), _sum(counters, "/kafka/leader_log_bytes"))


def _sum(counters: Counters, ending: str) -> float:
    return sum(value for key, value in counters.items() if key.endswith(ending))


def _batch_fill(end: Mark) -> BatchFill:
    batches = end.batches
    return BatchFill(
        records_per_batch=batches.records / batches.batches if batches.batches else None,
        bytes_per_batch=batches.batch_bytes / batches.batches if batches.batches else None,
        requests=batches.requests,
        request_bytes=batches.request_bytes,
    )


def _faults(trial: Trial, scenario: Scenario, settled: bool) -> tuple[str, ...]:
    """Every reason why this trial must not count."""
    total = trial.total
    reasons = []
    if not total.closed or total.outstanding:
        reasons.append(f"records do not add up at the end: {_account(total)}")
    if total.failed or total.unknown:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(total.errors.items()))
        reasons.append(f"{total.failed + total.unknown} records were not acknowledged ({kinds})")
    if trial.window.acknowledged <= 0:
        reasons.append("nothing was acknowledged in the window")
    groups = scenario.workload.subscriptions_per_topic
    if total.consumed != groups * total.acknowledged:
        reasons.append(f"consumers read {total.consumed} records of {groups} x {total.acknowledged} acknowledged")
    if not settled:
        reasons.append(
            f"followers' logs did not equal their leaders' {QUIET_TIMEOUT_S:.0f} s after the load: they lag, "
            "or retention deleted records (a larger logBudgetBytes, or a shorter window, leaves it out)"
        )
    reasons += unexplained(trial.path)
    return tuple(reasons)


def _account(total: LoadTotals) -> str:
    return (
        f"offered {total.offered} = acknowledged {total.acknowledged} + failed {total.failed} "
        f"+ unknown {total.unknown} + outstanding {total.outstanding}"
    )

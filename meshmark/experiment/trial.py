"""One trial: load held for one window, between two moments at which nothing is in flight.

Counters are read at both edges of the window (throughput, CPU, packets) and at both quiet moments (the proof that the
traffic took the path that the scenario says, which needs exact bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Literal, NamedTuple

from meshmark.analysis.ceilings import too_few
from meshmark.analysis.path import check_path, unexplained
from meshmark.analysis.warmup import warm
from meshmark.clock import Clock
from meshmark.cluster import (
    Cluster,
    TopicLayout,
    clock_error_s,
    limitable,
    probe_links,
    profiling,
    timing_paths,
    warming,
)
from meshmark.experiment.hops import hops
from meshmark.experiment.outages import flapping
from meshmark.experiment.progress import Progress
from meshmark.load.generator import Load, Mark, consumer_specs, load, producer_spec
from meshmark.measure.sampler import Sampler
from meshmark.nodes import END_TO_END_ERROR
from meshmark.plan import Scenario, Slot
from meshmark.read_back import contradictions
from meshmark.record import BatchFill, Counters, Latency, Limit, LoadInterval, LoadTotals, Point, Purpose, Trial
from meshmark.store import RoundWriter
from meshmark.worker_protocol import WorkerSpec

COMPILE_S = "/kafka/compile_s"
CPU_S = ("/kafka/cpu_user_s", "/kafka/cpu_system_s")
HOPS_FOR: Purpose = "equal-load"
TICK_S = 0.25
INTERVAL_S = 0.25
"""How often load workers report: a window of some seconds is judged by how its backlog grows from report to report."""
GAUGE_SECONDS = 5
"""A quota is used up in the first tenth of each period at first: its last seconds count (`analysis.ceilings`)."""
APART_SHARE = 0.05
"""Of the window, by which its figures may be off."""
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
    cpu_samples_hz: int = 0


class Warmup(NamedTuple):
    """Of each second, so that the record shows how warm the system was in the end; see `analysis.warmup`."""

    rates_msg_s: tuple[float, ...]
    compiling: tuple[float, ...]

    @property
    def warm(self) -> bool:
        return warm(self.rates_msg_s, self.compiling)


def warm_up(bench: Bench) -> Warmup:
    """Load in closed loop until the system is warm, within the method's bounds. The topics are deleted afterwards."""
    method = bench.scenario.method
    so_far = Warmup((), ())
    with warming(bench.cluster), _topics(bench, "warmup") as layout, _load(bench, layout) as running:
        running.start()
        begun = bench.clock.now()
        last, before = running.mark(), bench.sampler.read_now().values
        while (warm_s := bench.clock.now() - begun) < method.warmup_max_seconds:
            if warm_s >= method.warmup_seconds and so_far.warm:
                break
            _watch(bench, running, 1.0)
            now, after = running.mark(), bench.sampler.read_now().values
            so_far = Warmup((*so_far.rates_msg_s, _rate(last, now)), (*so_far.compiling, *_compiling(before, after)))
            last, before = now, after
        running.stop()
    return so_far


def gauge(bench: Bench, limits: Sequence[Limit]) -> tuple[float, ...]:
    """Messages/s of each second in closed loop under the round's limits, and these on the load workers: a warm-up has
    none, and what it carried says little of where a search should begin."""
    with _topics(bench, "gauge") as layout, _load(bench, layout) as running:
        with _limited(bench.cluster, limits):
            running.start()
            marks = [running.mark()]
            for _ in range(GAUGE_SECONDS):
                _watch(bench, running, 1.0)
                marks.append(running.mark())
        running.stop()
    return tuple(starmap(_rate, pairwise(marks)))


def _rate(last: Mark, now: Mark) -> float:
    return (now.totals.acknowledged - last.totals.acknowledged) / (now.time_s - last.time_s)


def _compiling(start: Counters, end: Counters) -> tuple[float, ...]:
    """Compilers' work as a share of the brokers' CPU time in between; nothing where it is not told."""
    if not any(key.endswith(COMPILE_S) for key in end):
        return ()
    compiled = _sum(end, COMPILE_S) - _sum(start, COMPILE_S)
    used = sum(_sum(end, ending) - _sum(start, ending) for ending in CPU_S)
    return (compiled / used if used > 0 else 1.0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offered:
    """What a trial is to offer, and what for; fields as in `record.Trial`."""

    number: int
    purpose: Purpose
    rate_msg_s: float
    share: float | None = None
    phase: Literal["", "bracket", "refine", "confirm"] = ""
    target: str = ""


def measure(bench: Bench, offered: Offered, limits: Sequence[Limit] = ()) -> Trial:
    """One rate in open loop, and consumers where the workload has them. Limits hold until the window ends: what is
    left is drained without."""
    method, begun_s = bench.scenario.method, bench.clock.now()
    with _topics(bench, f"trial-{offered.number}") as layout:
        with _observed(bench, offered), _load(bench, layout, rate_msg_s=offered.rate_msg_s) as running:
            quiet_start = bench.sampler.read_now()
            with _limited(bench.cluster, limits), _flapping(bench, offered):
                running.start()
                _watch(bench, running, method.settle_seconds)
                first, counters_start = running.mark(), bench.sampler.read_now()
                seen = _watch(bench, running, method.window_seconds)
                last, counters_end = running.mark(), bench.sampler.read_now()
            for probe in probe_links(bench.cluster, offered.number):
                bench.writer.link(probe)
            end, read_back = running.stop(), running.read_back()
            settled = _until_quiet(bench, quiet_start.values)
        quiet_end = bench.sampler.read_now()
    error_s = clock_error_s(bench.cluster, begun_s)
    batch, window, series = _batch_fill(end), last.since(first), _series(first, seen, last)
    path = check_path(
        start=quiet_start.values,
        end=quiet_end.values,
        scenario=bench.scenario,
        broker_hosts=bench.cluster.broker_hosts,
        client_hosts=bench.cluster.client_hosts,
        batch=batch,
    )
    return Trial(
        round_index=bench.slot.index,
        scenario=bench.scenario.name,
        repeat=bench.slot.repeat,
        number=offered.number,
        purpose=offered.purpose,
        share=offered.share,
        phase=offered.phase,
        target=offered.target,
        clients=first.clients,
        connections=first.connections,
        offered_msg_s=offered.rate_msg_s,
        started_s=quiet_start.time_s,
        ended_s=bench.clock.now(),
        window_start_s=first.time_s,
        window_end_s=last.time_s,
        window=window.totals,
        total=end.totals,
        series=series,
        latency=window.latency,
        end_to_end=stated(window.end_to_end, error_s),
        end_to_end_error_s=error_s,
        lateness=window.lateness,
        priority=window.priority,
        batch=batch,
        counters_start=counters_start.values,
        counters_end=counters_end.values,
        quiet_start=quiet_start.values,
        quiet_end=quiet_end.values,
        path=path,
        read_back=read_back,
        hops=hops(first, last, counters_start.values, counters_end.values) if offered.purpose == HOPS_FOR else (),
        faults=(
            *_faults(window.totals, end, bench.scenario, settled),
            *_apart(first, last),
            *contradictions(read_back, end.totals.unknown),
            *too_few(series),
            *unexplained(path),
        ),
    )


def stated(latency: Latency | None, error_s: float | None) -> Latency | None:
    """To the consumer, where its error by clocks leaves it a meaning."""
    if latency is None or latency.p50_s is None or error_s == 0:
        return latency
    return latency if error_s is not None and error_s <= END_TO_END_ERROR * latency.p50_s else None


def _observed(bench: Bench, offered: Offered) -> AbstractContextManager[None]:
    """Small requests of our own along the path, where latency is what is asked for; a search is not to bear them. CPUs
    are sampled in a search, one of whose trials the ledger is of, and nowhere else."""
    if offered.purpose == HOPS_FOR:
        return timing_paths(bench.cluster, bench.seed)
    if offered.purpose == "search" and bench.cpu_samples_hz:
        return profiling(bench.cluster, offered.number, bench.cpu_samples_hz)
    return nullcontext()


def _flapping(bench: Bench, offered: Offered) -> AbstractContextManager[None]:
    topology = bench.scenario.cluster.topology
    return flapping(bench.cluster, topology, offered.number, bench.clock, bench.writer)


@contextmanager
def _limited(cluster: Cluster, limits: Sequence[Limit]) -> Iterator[None]:
    with ExitStack() as stack:
        for limit in limits:
            stack.enter_context(limitable(cluster).limit(limit))
        yield


def _series(first: Mark, seen: Sequence[LoadInterval], last: Mark) -> tuple[Point, ...]:
    inside = [(each.time_s, each.totals) for each in seen if first.time_s < each.time_s < last.time_s]
    return tuple(
        Point.of(time_s, totals)
        for time_s, totals in [(first.time_s, first.totals), *inside, (last.time_s, last.totals)]
    )


@contextmanager
def _topics(bench: Bench, name: str) -> Iterator[TopicLayout]:
    layout = bench.cluster.create_topics(bench.scenario.workload, f"{name}-{bench.slot.index}")
    yield layout
    bench.cluster.delete_topics(layout)


@contextmanager
def _load(bench: Bench, layout: TopicLayout, *, rate_msg_s: float | None = None) -> Iterator[Load]:
    """Without a rate: closed loop."""
    workload, seed = bench.scenario.workload, bench.seed
    producer = producer_spec(
        workload,
        bench.cluster,
        layout,
        client=1,
        seed=seed,
        rate_msg_s=rate_msg_s,
        arrivals=bench.scenario.method.arrivals,
    )
    readers = consumer_specs(workload, bench.cluster, layout, seed=seed, end_to_end=rate_msg_s is not None)
    hosts = bench.scenario.load_hosts
    specs = [_placed(spec, host, bench.scenario) for spec, host in zip((producer, *readers), hosts, strict=True)]
    with load(bench.cluster, specs, bench.clock) as running:
        bench.writer.configurations({f"{name}.properties": _lines(told) for name, told in running.settings.items()})
        yield running


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in sorted(settings.items()))


def _placed(spec: WorkerSpec, host: str, scenario: Scenario) -> WorkerSpec:
    """Where the plan wants it. A consumer says in which rack it is, for brokers that send it to a replica there."""
    name, config = scenario.workload.consumers_in, dict(spec.config)
    if name and spec.role == "consumer":
        clusters = scenario.cluster.topology.clusters
        config.setdefault("client.rack", next(each.region for each in clusters if each.name == name))
    return spec.model_copy(update={"interval_s": INTERVAL_S, "hosts": (host,), "config": config})


def _watch(bench: Bench, running: Load, seconds: float) -> list[LoadInterval]:
    """Lets the load go on, records and tells what it reports, and notices at once when a component dies."""
    end = bench.clock.now() + seconds
    seen: list[LoadInterval] = []
    while (left := end - bench.clock.now()) > 0:
        bench.clock.sleep(min(TICK_S, left))
        bench.cluster.check()
        for interval in running.intervals():
            bench.writer.interval(interval)
            if seen and interval.time_s > seen[-1].time_s:
                acknowledged = interval.totals.acknowledged - seen[-1].totals.acknowledged
                bench.progress.rate(acknowledged / (interval.time_s - seen[-1].time_s))
            seen.append(interval)
    return seen


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


def _faults(window: LoadTotals, end: Mark, scenario: Scenario, settled: bool) -> tuple[str, ...]:
    """Why this trial must not count. Records that fail are no such reason: they are what the system did."""
    total = end.totals
    reasons = [end.fault] if end.missed_s else []
    if not total.closed or total.outstanding:
        reasons.append(f"records do not add up at the end: {_account(total)}")
    if window.acknowledged <= 0:
        reasons.append("nothing was acknowledged in the window")
    groups = scenario.workload.subscriptions_per_topic
    if not groups * total.acknowledged <= total.consumed <= groups * (total.acknowledged + total.unknown):
        reasons.append(f"consumers read {total.consumed} records of {groups} x {total.acknowledged} acknowledged")
    reasons += end.notes
    if not settled:
        reasons.append(
            f"followers' logs did not equal their leaders' {QUIET_TIMEOUT_S:.0f} s after the load: they lag, "
            "or retention deleted records (a larger logBudgetBytes, or a shorter window, leaves it out)"
        )
    return tuple(reasons)


def _apart(first: Mark, last: Mark) -> tuple[str, ...]:
    """Consumers' records, and what brokers and sidecars did, are counted within the producers' window."""
    apart_s, window_s = max(first.apart_s, last.apart_s), last.time_s - first.time_s
    if apart_s <= APART_SHARE * window_s:
        return ()
    return (f"load workers told what they had done {apart_s:.2f} s apart, at an edge of a window of {window_s:.2f} s",)


def _account(total: LoadTotals) -> str:
    return (
        f"offered {total.offered} = acknowledged {total.acknowledged} + failed {total.failed} "
        f"+ unknown {total.unknown} + outstanding {total.outstanding}"
    )

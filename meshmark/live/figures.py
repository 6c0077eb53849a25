"""What a live view shows, computed from what a run has told so far: rates over the last seconds, in base units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshmark.analysis.exposition import begins
from meshmark.analysis.links import MAKERS
from meshmark.clock import Clock
from meshmark.histogram import latency, total
from meshmark.live.follow import Following, Round
from meshmark.metrics import parts
from meshmark.record import Counters, Latency, LinkProbe, LoadInterval, Sample, Trial

WINDOW_S = 3.0
"""Over which rates are taken."""
HISTORY_S = 60
UNATTRIBUTED, IDLE = "unattributed", "idle"
COMPONENTS = ("kafka", "sidecar", "gateway", "client", "meshmark", "relay", "kernel", "others")


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFigures:
    """One host, or a link's relay; None is what it does not have, or what was not read."""

    host: str
    cpus: dict[str, float]
    log_bytes_s: float | None
    rx_bytes_s: float | None
    tx_bytes_s: float | None
    connections: float | None
    out_of_sync: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFigures:
    """Of the last seconds. `history_msg_s`: acknowledged, of each second, the last one last."""

    offered_msg_s: float
    acknowledged_msg_s: float
    acknowledged_bytes_s: float
    outstanding: int
    lag: int | None
    latency: Latency | None
    end_to_end: Latency | None
    history_msg_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkFigures:
    """One way between two clusters: its last probe, and what was let through in the last seconds. None where nothing
    between the two counts it, or nothing was sent. `lost`: share of packets, of this direction."""

    source: str
    target: str
    asked_rtt_s: float
    rtt_s: float | None
    asked_loss: float
    lost: float | None
    asked_bandwidth_bytes_s: float | None
    bytes_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A run at one moment."""

    plan: str
    scenarios: tuple[tuple[str, int], ...]
    """Each with its rounds done."""
    repeats: int
    scenario: str
    repeat: int
    round_index: int
    rounds: int
    phase: str
    seconds_left: float | None
    outcome: str
    load: LoadFigures | None
    machine_cpus: int
    cpus: dict[str, float]
    hosts: tuple[HostFigures, ...]
    links: tuple[LinkFigures, ...]
    trials: tuple[Trial, ...]


def figures(following: Following, clock: Clock) -> Figures | None:
    """None before the run has begun."""
    started, plan, now = following.started, following.plan, following.round
    if started is None or plan is None:
        return None
    window = _window(now) if now else None
    phase = next((event.text for event in reversed(following.events) if event.level == "info"), "")
    return Figures(
        plan=plan.name,
        scenarios=tuple((each.name, following.done.get(each.name, 0)) for each in plan.scenarios),
        repeats=plan.repeats,
        scenario=now.started.scenario if now else "",
        repeat=now.started.repeat if now else 0,
        round_index=now.started.index if now else 0,
        rounds=len(plan.order()),
        phase=phase or "measuring disk and network of this machine",
        seconds_left=following.seconds_left(clock),
        outcome=following.finished.outcome if following.finished else "",
        load=_load(now) if now else None,
        machine_cpus=started.host.cpus,
        cpus=_cpus(window, started.host.cpus),
        hosts=tuple(_host(host, window) for host in _hosts(window)),
        links=tuple(_link(probe, window) for probe in now.links.values()) if now else (),
        trials=tuple(now.trials) if now else (),
    )


@dataclass(frozen=True, slots=True)
class _Span:
    """Two readings some seconds apart."""

    first: Counters
    last: Counters
    seconds: float

    def rate(self, key: str) -> float | None:
        if key not in self.first or key not in self.last or self.last[key] < self.first[key]:
            return None
        return (self.last[key] - self.first[key]) / self.seconds


@dataclass(frozen=True, slots=True)
class _Window:
    """The last seconds; and between the last readings of what is read at the edges of a trial's window alone."""

    spans: tuple[_Span, ...]
    latest: Counters

    def rate(self, key: str) -> float | None:
        return next((rate for span in self.spans if (rate := span.rate(key)) is not None), None)


def _window(now: Round) -> _Window | None:
    spans = tuple(span for kept in (now.samples, now.edges) if (span := _span(kept)))
    return _Window(spans, now.latest) if spans else None


def _span(samples: Sequence[Sample]) -> _Span | None:
    """From the last reading back to the first one that is far enough; a reading may lack what it could not read."""
    if not samples:
        return None
    last = samples[-1]
    before = next((each for each in reversed(samples) if last.time_s - each.time_s >= WINDOW_S), samples[0])
    seconds = last.time_s - before.time_s
    return _Span(before.values, last.values, seconds) if seconds > 0 else None


def _cpus(window: _Window | None, machine_cpus: int) -> dict[str, float]:
    """CPUs' worth that each kind of component used, what the machine used beyond these, and `idle`. What is read at
    the edges of windows alone is of another time than the rest, so `unattributed` is somewhat less than exact."""
    if window is None:
        return {}
    found: dict[str, float] = {}
    for key in window.latest:
        _, component, metric = parts(key)
        if metric in ("cpu_user_s", "cpu_system_s") and component in COMPONENTS:
            rate = window.rate(key)
            if rate is not None:
                found[component] = found.get(component, 0.0) + rate
    idle = [rate for part in ("idle_s", "iowait_s") if (rate := window.rate(f"machine/cpu/{part}")) is not None]
    cpus = {name: found[name] for name in COMPONENTS if name in found}
    if idle and "others" in cpus:
        steal = window.rate("machine/cpu/steal_s") or 0.0
        cpus[UNATTRIBUTED] = machine_cpus - sum(idle) - steal - sum(cpus.values())
    return cpus | ({IDLE: sum(idle)} if idle else {})


def _hosts(window: _Window | None) -> list[str]:
    hosts = {parts(key)[0] for key in window.latest} if window else set()
    return sorted(hosts - {"machine", "bridge"})


def _host(host: str, window: _Window | None) -> HostFigures:
    assert window is not None
    cpus = {
        component: user + system
        for component in COMPONENTS
        if (user := window.rate(f"{host}/{component}/cpu_user_s")) is not None
        and (system := window.rate(f"{host}/{component}/cpu_system_s")) is not None
    }
    return HostFigures(
        host=host,
        cpus=cpus,
        log_bytes_s=window.rate(f"{host}/kafka/log_bytes"),
        rx_bytes_s=window.rate(f"{host}/net/rx_bytes"),
        tx_bytes_s=window.rate(f"{host}/net/tx_bytes"),
        connections=window.latest.get(f"{host}/sidecar/connections"),
        out_of_sync=window.latest.get(f"{host}/kafka/under_replicated_partitions"),
    )


def _link(probe: LinkProbe, window: _Window | None) -> LinkFigures:
    """A link is named after its ends in the plan's order: that way is `forward`. The kernel's own (netem) tells what
    it does at the edges of windows alone, and of some ways not what it lost."""
    here, there = probe.source, probe.target
    ends = ((f"link-{here}-{there}", "forward"), (f"link-{there}-{here}", "back"))
    ways = ((f"{link}/{maker}", way) for link, way in ends for maker in MAKERS)
    found = next(((link, way) for link, way in ways if window and f"{link}/{way}_bytes" in window.latest), None)
    bytes_s = lost = None
    if window is not None and found is not None:
        link, way = found
        bytes_s = window.rate(f"{link}/{way}_bytes")
        rates = {kind: window.rate(f"{link}/{way}_{kind}_packets") for kind in ("carried", "lost", "dropped")}
        packets = sum(rate or 0.0 for rate in rates.values())
        lost = rates["lost"] / packets if packets and rates["lost"] is not None else None
    return LinkFigures(
        source=here,
        target=there,
        asked_rtt_s=probe.asked_rtt_s,
        rtt_s=probe.rtt_s,
        asked_loss=probe.asked_loss,
        lost=lost,
        asked_bandwidth_bytes_s=probe.asked_bandwidth_bytes_s,
        bytes_s=bytes_s,
    )


def _load(now: Round) -> LoadFigures | None:
    intervals = _of_one_load(now.intervals)
    if len(intervals) < 2:
        return None
    last = intervals[-1]
    first = next((each for each in reversed(intervals) if last.time_s - each.time_s >= WINDOW_S), intervals[0])
    seconds = last.time_s - first.time_s
    recent = [each for each in intervals if each.time_s > first.time_s]
    return LoadFigures(
        offered_msg_s=(last.totals.offered - first.totals.offered) / seconds,
        acknowledged_msg_s=(last.totals.acknowledged - first.totals.acknowledged) / seconds,
        acknowledged_bytes_s=(last.totals.acknowledged_bytes - first.totals.acknowledged_bytes) / seconds,
        outstanding=last.totals.outstanding,
        lag=last.lag,
        latency=_merged(each.latency for each in recent),
        end_to_end=_merged(each.end_to_end for each in recent),
        history_msg_s=_history(now.intervals),
    )


def _of_one_load(intervals: Iterable[LoadInterval]) -> list[LoadInterval]:
    """The last ones, of the load that goes on: each begins to count anew."""
    found: list[LoadInterval] = []
    for each in intervals:
        if found and begins(each, found[-1].totals):
            found = []
        found.append(each)
    return found


def _merged(latencies: Iterable[Latency | None]) -> Latency | None:
    texts = [each.histogram for each in latencies if each and each.count]
    return latency(total(texts)) if texts else None


def _history(intervals: Sequence[LoadInterval]) -> tuple[float, ...]:
    """Of each second of the last minute; 0 where there was no load."""
    if not intervals:
        return ()
    end = intervals[-1].time_s
    seconds = [0.0] * HISTORY_S
    before = intervals[0]
    for each in list(intervals)[1:]:
        grown = each.totals.acknowledged - before.totals.acknowledged
        place = HISTORY_S - 1 - int(end - each.time_s)
        if grown > 0 and place >= 0:
            seconds[place] += grown
        before = each
    return tuple(seconds)

"""Which term binds what is carried over a distance: of each the most that it lets through, and how near the rate is.

Pure. Whatever may be under way at once, divided by the time that it is under way, is the most that is carried
(Little's law), so each term is so many bytes over so many round trips. Of a cluster's pairs of brokers, and of its
ways from clients to leaders, the narrowest one counts, by its share of all bytes: leaders and copies are spread
evenly, so what binds one way binds all. With record size m (as stored, compressed), share s of a way, and its RTT:

    batches in flight   connections x batch / (s x m x max(copy, (reach + copy) / in flight))
    records held        connections x queue.buffering.max.messages / mean of (reach + copy)
    fetch size          min(fetchers x replica.fetch.response.max.bytes, partitions x replica.fetch.max.bytes)
                        / (s x m x RTT)
    TCP buffers         connections x window / (s x m x RTT)
    link                bandwidth / bytes that cross for each byte acknowledged
    CPU                 CPUs / CPU time of a record in the like scenario that needed least, of the cluster and of load
                        workers apart where these have CPUs of their own

`reach` is the RTT from client to leader; `copy` that from a leader to its farthest follower with acks=all, else 0. A
broker has one request of a connection in hand at a time (Kafka's protocol guide, "Network": "a single in-flight
request per connection"), so each batch waits for `copy` whatever is in flight; a request of the clients here has one
batch. A follower has `num.replica.fetchers` threads for each leader, each with a connection and a request of its own;
the sizes are those of Kafka's documentation of broker configurations, of a partition and of a whole answer.

The window is what receiver and sender have room for, the lesser of both: `replica.socket.receive.buffer.bytes` of the
follower and `socket.send.buffer.bytes` of the leader, `socket.receive.buffer.bytes` of the leader and the client's
`socket.send.buffer.bytes`. With sidecars TCP ends on the spot, and these meet no distance; connections between
sidecars, and sizes of -1 (of the client 0), have half of the most that the kernel gives by itself (last values of
net.ipv4.tcp_rmem and tcp_wmem, tcp(7)). Linux takes twice what is asked for and keeps a part for itself (socket(7)):
half of it by tcp_adv_win_scale, less in newer kernels, so the window may be up to twice as large as said here.

Limits: loss, slow start and congestion control are in no term. Sizes above net.core.rmem_max are cut by the kernel
unseen. CPU per record falls with the rate, since compilers and waiting threads fill what is idle: so it is that of the
like scenario (another distance, other settings of the brokers) that needed least; where that is the scenario itself,
CPU is named only if nearly all was busy, and after all others. Consumers are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from meshmark.analysis import stats
from meshmark.analysis.distance_law import but_distance, farthest, found_rtt_s
from meshmark.analysis.ledger import broker_hosts
from meshmark.analysis.limits import CPU_LIMIT
from meshmark.analysis.model import ScenarioSummary
from meshmark.analysis.wan_model import Binding, Bound, LinkSummary, Term, WanSummary
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, Place
from meshmark.plan import ConfigValue, Scenario
from meshmark.record import Trial
from meshmark.store import Run
from meshmark.topology import Topology
from meshmark.units import GB, number, percent, rate_msg_s

NEAR = 0.5
"""From this share of a bound on, the rate is said to be near it. Terms add up to the time of a record, as in the law
of distance, so this one is then half of it at least."""
BEYOND = 1.1
"""Up to this share of it: more shows that the bound is none."""
BEYOND_BUFFERS = 2.2
"""The same of TCP buffers: the window may be twice as large as asked for."""
KERNEL_WINDOW = 0.5

BROKER_DEFAULTS: Mapping[str, int] = {
    "num.replica.fetchers": 1,
    "replica.fetch.max.bytes": 1_048_576,
    "replica.fetch.response.max.bytes": 10_485_760,
    "replica.socket.receive.buffer.bytes": 65_536,
    "socket.receive.buffer.bytes": 102_400,
    "socket.send.buffer.bytes": 102_400,
}
"""Kafka's documentation, "Broker Configs"."""
CLIENT_DEFAULTS: Mapping[str, int] = {
    "batch.num.messages": 10_000,
    "batch.size": 1_000_000,
    "max.in.flight.requests.per.connection": 1_000_000,
    "queue.buffering.max.messages": 100_000,
    "socket.send.buffer.bytes": 0,
}
"""librdkafka's CONFIGURATION.md; the raw client has the same."""
_ALIASES = {
    "max.in.flight.requests.per.connection": ("max.in.flight",),
    "acks": ("request.required.acks",),
    "compression.type": ("compression.codec",),
}
IDEMPOTENT_IN_FLIGHT = 5
KIB = 1_024


class Way(NamedTuple):
    """From one place to another over a distance; `share` of all partitions go there."""

    source: str
    target: str
    rtt_s: float
    share: float
    partitions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What the bounds of a scenario are computed from. `copies`: from leader to follower, where these are apart;
    `produce`: from the producers to each leader; `copy_s`: leader -> RTT to its farthest follower; `record_bytes`: as
    stored; `kernel_bytes`: most that the kernel gives to receivers and to senders, null where it was not recorded."""

    scenario: Scenario
    copies: tuple[Way, ...]
    produce: tuple[Way, ...]
    copy_s: Mapping[str, float]
    record_bytes: float
    kernel_bytes: tuple[int, int] | None = None

    def broker(self, key: str) -> int:
        return int(self.scenario.cluster.broker_config.get(key, BROKER_DEFAULTS[key]))

    def client(self, key: str) -> int:
        return int(self.client_value(key, CLIENT_DEFAULTS[key]))

    def client_value(self, key: str, otherwise: ConfigValue) -> ConfigValue:
        config = self.scenario.workload.producer_config
        return next((config[name] for name in (key, *_ALIASES.get(key, ())) if name in config), otherwise)

    @property
    def batched_bytes(self) -> float:
        """Of a record as `batch.size` counts it: before compression, which works on whole batches."""
        compressed = self.client_value("compression.type", "none") != "none"
        return float(self.scenario.workload.message_size) if compressed else self.record_bytes


class Most(NamedTuple):
    """A bound; None: what it needs is not known."""

    rate_msg_s: float | None
    how: str


def setup(run: Run, scenario: Scenario, row: ScenarioSummary) -> Setup:
    """Of a scenario with brokers in several clusters; distances as found before load, or asked for."""
    apart = _apart(run, scenario)
    led, copied = layout(scenario)
    whole = sum(led.values())
    home = _home(scenario)
    numbers = range(1, scenario.cluster.brokers + 1)
    cluster = {number: scenario.cluster.topology.cluster_of("broker", number).name for number in numbers}
    ways = [
        Way(f"broker-{one}", f"broker-{other}", apart(cluster[one], cluster[other]), count / whole, count)
        for (one, other), count in copied.items()
    ]
    probes = [probe for data in run.rounds if data.started.scenario == scenario.name for probe in data.links]
    stored = row.bytes_per_batch / row.records_per_batch if row.bytes_per_batch and row.records_per_batch else None
    return Setup(
        scenario=scenario,
        copies=tuple(way for way in ways if way.rtt_s > 0),
        produce=tuple(
            Way("clients", f"broker-{one}", apart(home, cluster[one]), count / whole, count)
            for one, count in led.items()
        ),
        copy_s={
            f"broker-{one}": max((way.rtt_s for way in ways if way.source == f"broker-{one}"), default=0.0)
            for one in led
        },
        record_bytes=stored or float(scenario.workload.message_size),
        kernel_bytes=next((probe.tcp_memory_bytes for probe in probes if probe.tcp_memory_bytes), None),
    )


def layout(scenario: Scenario) -> tuple[Counter[int], Counter[tuple[int, int]]]:
    """Partitions that each broker leads, and that each leader copies to each follower: partition p of topic t is led
    by broker (t + p) mod n of those that lead, and the next brokers follow, as the lab assigns them."""
    work, brokers = scenario.workload, scenario.cluster.brokers
    lead = scenario.cluster.topology.leading() or tuple(range(1, brokers + 1))
    led: Counter[int] = Counter()
    copied: Counter[tuple[int, int]] = Counter()
    for turn in (topic + part for topic in range(work.topics) for part in range(work.partitions_per_topic)):
        leader = lead[turn % len(lead)]
        led[leader] += 1
        for step in range(1, work.replication_factor):
            copied[leader, (leader - 1 + step) % brokers + 1] += 1
    return led, copied


def _home(scenario: Scenario) -> str:
    """The cluster that producers are in."""
    return scenario.workload.producers_in or scenario.cluster.topology.cluster_of("client", 1).name


def _apart(run: Run, scenario: Scenario) -> Callable[[str, str], float]:
    """RTT between two clusters; hosts of one cluster are at the spot."""
    probes = [probe for data in run.rounds if data.started.scenario == scenario.name for probe in data.links]
    topology = scenario.cluster.topology

    def apart(one: str, other: str) -> float:
        if one == other:
            return 0.0
        found = [
            probe.rtt_s
            for probe in probes
            if probe.trial is None and probe.rtt_s is not None and {probe.source, probe.target} == {one, other}
        ]
        return stats.mean(found) or _asked_s(topology, one, other)

    return apart


def _asked_s(topology: Topology, one: str, other: str) -> float:
    return topology.way(one, other).delay_s + topology.way(other, one).delay_s


def batches(found: Setup) -> Most | None:
    """Of the leader at which a connection waits longest for its share; None where nothing waits."""
    acks = str(found.client_value("acks", "all")).lower()
    if acks == "0":
        return None
    flight = found.client("max.in.flight.requests.per.connection")
    if str(found.client_value("enable.idempotence", False)).lower() == "true":
        flight = min(flight, IDEMPOTENT_IN_FLIGHT)
    room = min(found.client("batch.num.messages"), found.client("queue.buffering.max.messages"))
    batch = min(found.client("batch.size"), room * found.batched_bytes)
    connections = found.scenario.workload.workers
    least: Most | None = None
    for way in found.produce:
        copy_s = 0.0 if acks == "1" else found.copy_s[way.target]
        each_s = max(copy_s, (way.rtt_s + copy_s) / flight)
        if each_s > 0:
            rate = connections * batch / (each_s * way.share * found.batched_bytes)
            how = f"{connections} connections x {_size(batch)} each {_ms(each_s)}, {_part(way)}"
            least = _lesser(least, Most(rate, how))
    return least


def held(found: Setup) -> Most | None:
    """By what all connections may hold until it is acknowledged."""
    acks = str(found.client_value("acks", "all")).lower()
    copies = 1.0 if acks in ("all", "-1") else 0.0
    mean_s = sum(way.share * (way.rtt_s + copies * found.copy_s[way.target]) for way in found.produce)
    if mean_s <= 0 or acks == "0":
        return None
    connections, room = found.scenario.workload.workers, found.client("queue.buffering.max.messages")
    how = f"{connections} connections x {room:,} records for {_ms(mean_s)} on average"
    return Most(connections * room / mean_s, how)


def fetches(found: Setup) -> Most | None:
    """By what a follower asks one leader for at once."""
    least: Most | None = None
    whole, part = found.broker("replica.fetch.response.max.bytes"), found.broker("replica.fetch.max.bytes")
    for way in found.copies:
        threads = min(found.broker("num.replica.fetchers"), way.partitions)
        size = min(threads * whole, way.partitions * part)
        rate = size / (way.rtt_s * way.share * found.record_bytes)
        several = "s" if threads > 1 else ""
        how = f"{threads} fetcher{several} for {_size(size)} each {_ms(way.rtt_s)}, {_part(way)}"
        least = _lesser(least, Most(rate, how))
    return least


def buffers(found: Setup) -> Most | None:
    """Of followers' and of producers' connections over the distance."""
    copy_sizes = _far_ends(
        found,
        BROKER_BROKER,
        found.broker("replica.socket.receive.buffer.bytes"),
        found.broker("socket.send.buffer.bytes"),
    )
    produce_sizes = _far_ends(
        found, CLIENT_BROKER, found.broker("socket.receive.buffer.bytes"), found.client("socket.send.buffer.bytes")
    )
    threads = found.broker("num.replica.fetchers")
    ways = [(way, min(threads, way.partitions), copy_sizes) for way in found.copies]
    ways += [(way, found.scenario.workload.workers, produce_sizes) for way in found.produce if way.rtt_s > 0]
    least: Most | None = None
    for way, connections, sizes in ways:
        window = _window(sizes, found.kernel_bytes)
        if window is None:
            return Most(None, "what the kernel gives to TCP by itself was not recorded")
        rate = connections * window / (way.rtt_s * way.share * found.record_bytes)
        several = "s" if connections > 1 else ""
        how = f"{connections} connection{several} x {_size(window)} each {_ms(way.rtt_s)}, {_part(way)}"
        least = _lesser(least, Most(rate, how))
    return least


def _far_ends(found: Setup, hop: str, receives: int, sends: int) -> tuple[int, int]:
    """Over the distance it is a sidecar that receives, or sends, where there is one: its buffers are the kernel's."""
    plane = found.scenario.data_plane
    sender: Place = "client" if hop == CLIENT_BROKER else "broker"
    passes = {place for place in ("broker", sender) if found.scenario.carries(hop) and plane.has_sidecar(place)}
    return 0 if "broker" in passes else receives, 0 if sender in passes else sends


def _window(sizes: tuple[int, int], kernel_bytes: tuple[int, int] | None) -> float | None:
    """Of a receiver's and a sender's buffer; none of its own is the kernel's. The lesser of those that are known."""
    own = [float(size) for size in sizes if size > 0]
    given = [KERNEL_WINDOW * most for size, most in zip(sizes, kernel_bytes or (), strict=False) if size <= 0]
    return min([*own, *given], default=None)


def _lesser(one: Most | None, other: Most) -> Most:
    return other if one is None or (other.rate_msg_s or 0) < (one.rate_msg_s or 0) else one


def _part(way: Way) -> str:
    return f"{percent(way.share)} of the bytes, {way.source} to {way.target}"


def _size(value: float) -> str:
    return f"{number(value / KIB)} KiB" if value < KIB**2 else f"{number(value / KIB**2)} MiB"


def _ms(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms"


def link(
    scenario: Scenario, links: Sequence[LinkSummary], crossed: Sequence[WanSummary], message_size: int
) -> Most | None:
    """Of the direction that is filled first, by what was seen to cross it; None without a limit."""
    bytes_per_byte = {(row.source, row.target): row.bytes_per_byte for row in crossed if row.scenario == scenario.name}
    least: Most | None = None
    for row in links:
        limit, crosses = row.asked_bandwidth_bytes_s, bytes_per_byte.get((row.source, row.target))
        if row.scenario == scenario.name and limit and crosses:
            how = f"{number(limit / 1e6)} MB/s, {number(crosses)} bytes for each one acknowledged, {row.source} to "
            least = _lesser(least, Most(limit / (crosses * message_size), how + row.target))
    return least


def cpu(cpus: int, client_cpus: int, row: ScenarioSummary, message_size: int) -> Most | None:
    """What all CPUs would do at the CPU time per record of that scenario, or where load workers have some for
    themselves, those of the side that has too few; None where it was not counted."""
    book = row.cpu_s_per_gb
    if not book.machine:
        return None
    clients = (book.clients or 0.0) if client_cpus else 0.0
    sidecars = f", {percent(book.sidecars / book.machine)} of all is sidecars" if book.sidecars else ""
    sides = [(cpus - client_cpus, book.machine - clients, sidecars)]
    if clients:
        sides.append((client_cpus, clients, ", load workers"))
    least: Most | None = None
    for count, seconds, more in sides:
        how = f"{count} CPU{'s' if count > 1 else ''} / {number(seconds)} s per GB in {row.name}{more}"
        least = _lesser(least, Most(count * GB / (seconds * message_size), how))
    return least


def judged(rate: float | None, found: Mapping[Term, Most | None], *, own_cpu: bool) -> tuple[Bound, ...]:
    """Bounds, the least first, against a rate. `own_cpu`: CPU is that of the scenario itself."""
    bounds = []
    for term, most in found.items():
        if most is None:
            continue
        share = rate / most.rate_msg_s if rate is not None and most.rate_msg_s else None
        least = CPU_LIMIT if term == "CPU" and own_cpu else NEAR
        top = BEYOND_BUFFERS if term == "TCP buffers" else BEYOND
        near = share is not None and least <= share <= top
        bounds.append(Bound(term=term, bound_msg_s=most.rate_msg_s, how=most.how, share=share, near=near))
    return tuple(sorted(bounds, key=lambda bound: (bound.bound_msg_s is None, bound.bound_msg_s or 0.0)))


def binding(bounds: Sequence[Bound], *, own_cpu: bool) -> tuple[Term, ...]:
    """The least bound that the rate is near, others near it after; CPU last where it is only what was busy."""
    near = [bound.term for bound in bounds if bound.near]
    return tuple(sorted(near, key=lambda term: own_cpu and term == "CPU"))


def explained(bounds: Sequence[Bound], binds: Sequence[Term]) -> str:
    """In words."""
    by_term = {bound.term: bound for bound in bounds}
    if binds:
        first, *others = binds
        also = f"; near {' and '.join(others)} as well" if others else ""
        return f"{first}: {percent(by_term[first].share)} of {rate_msg_s(by_term[first].bound_msg_s)} messages/s{also}"
    known = [bound for bound in bounds if bound.share is not None]
    if not known:
        return "unknown: there is no rate, or no bound"
    above = [bound for bound in known if (bound.share or 0) <= 1]
    nearest = max(above, key=lambda bound: bound.share or 0, default=None)
    if nearest is None:
        return "unknown: the rate is beyond all bounds that are known"
    return f"unknown: no bound is near (the nearest is {nearest.term}, {percent(nearest.share)} of it)"


def bindings(
    run: Run, scenarios: Sequence[ScenarioSummary], links: Sequence[LinkSummary], crossed: Sequence[WanSummary]
) -> tuple[Binding, ...]:
    """Of every scenario with brokers in several clusters, in the plan's order."""
    asked = {scenario.name: scenario for scenario in run.plan.scenarios}
    least = _least_cpu(run, scenarios)
    return tuple(
        _binding(run, asked[row.name], row, least.get(_like(asked[row.name]), row), links, crossed)
        for row in scenarios
        if farthest(asked[row.name].cluster.topology) is not None
    )


def _least_cpu(run: Run, scenarios: Sequence[ScenarioSummary]) -> Mapping[str, ScenarioSummary]:
    """Of like scenarios, that which needed least CPU for a record."""
    asked = {scenario.name: scenario for scenario in run.plan.scenarios}
    counted = [row for row in scenarios if row.cpu_s_per_gb.machine]
    ordered = sorted(counted, key=lambda row: row.cpu_s_per_gb.machine or 0.0, reverse=True)
    return {_like(asked[row.name]): row for row in ordered}


def _like(scenario: Scenario) -> str:
    """All that is to be equal for the CPU time of a record to be: distance and settings of brokers are not."""
    cluster = scenario.cluster.model_copy(update={"broker_config": {}})
    return but_distance(scenario.model_copy(update={"cluster": cluster}))


def _binding(
    run: Run,
    scenario: Scenario,
    row: ScenarioSummary,
    least_cpu: ScenarioSummary,
    links: Sequence[LinkSummary],
    crossed: Sequence[WanSummary],
) -> Binding:
    found, size = setup(run, scenario, row), scenario.workload.message_size
    rate, own_cpu = row.rate_msg_s or _acknowledged(row), least_cpu is row
    terms: dict[Term, Most | None] = {
        "batches in flight": batches(found),
        "records held": held(found),
        "fetch size": fetches(found),
        "TCP buffers": buffers(found),
        "link": link(scenario, links, crossed, size),
        "CPU": cpu(run.started.host.cpus, scenario.cluster.client_cpus, least_cpu, size),
    }
    bounds = judged(rate, terms, own_cpu=own_cpu)
    binds = binding(bounds, own_cpu=own_cpu)
    return Binding(
        scenario=row.name,
        data_plane=row.data_plane,
        rtt_s=found_rtt_s(run, scenario),
        rate_msg_s=rate,
        ceiling=row.rate_msg_s is not None,
        answer_s=_answer_s(run, scenario, row),
        bounds=bounds,
        binds=binds,
        explained=explained(bounds, binds),
    )


def _acknowledged(row: ScenarioSummary) -> float | None:
    """Mean of the trials that stand for the repeats."""
    return stats.mean([trial.rate_msg_s for repeat in row.repeats for trial in repeat.trials if trial.stands])


def _answer_s(run: Run, scenario: Scenario, row: ScenarioSummary) -> float | None:
    standing = {(each.repeat, trial.number) for each in row.repeats for trial in each.trials if trial.stands}
    trials = [
        trial
        for data in run.rounds
        if data.started.scenario == scenario.name
        for trial in data.trials
        if (trial.repeat, trial.number) in standing
    ]
    return stats.mean([max(found) for trial in trials if (found := list(_answers_s(trial, scenario)))])


def _answers_s(trial: Trial, scenario: Scenario) -> Iterator[float]:
    for host in broker_hosts(scenario):
        seconds = trial.delta(f"{host}/kafka/follower_fetch_response_send_s")
        answers = trial.delta(f"{host}/kafka/follower_fetch_requests")
        if seconds is not None and answers:
            yield seconds / answers

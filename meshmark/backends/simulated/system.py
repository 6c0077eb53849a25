"""A system under test with a known ceiling, on a simulated clock: whole experiments run on it in milliseconds.

The model is a saturating server: producing clients offer what their schedule says, or all they can; the system
acknowledges at `ceiling x warm-up factor x noise`, shared evenly between the producing clients; replication and
consumers keep up within one report. Every counter that the sampler reads follows from the records acknowledged, so
that ledger and path proof must add up. `load.py` has the load workers. Nothing here knows a real Kafka.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meshmark import __version__
from meshmark.backends.simulated import distance
from meshmark.backends.simulated.load import SimulatedWorker, request_bytes, stored_bytes
from meshmark.backends.simulated.probing import Bench, Probing
from meshmark.cluster import Cluster, KeepLogs, Probe, Process, Testbed, TopicLayout, discard_logs
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, REPLICATION_TLS, DataPlane, require
from meshmark.errors import ComponentFailed, MissingRequirement
from meshmark.kafka.properties import REPLICATION_LISTENER, REPLICATION_PORT, inter_broker_listener
from meshmark.plan import Plan, Scenario, Workload
from meshmark.record import Counters, HostFacts, Limit, LinkProbe, Proof, Versions

CPUS = 4
PACKETS_PER_MB = {
    DataPlane.PLAIN: 40.0,
    DataPlane.KAFKA_TLS: 110.0,
    DataPlane.ISTIO: 42.0,
    DataPlane.ISTIO_MTLS: 90.0,
    DataPlane.ISTIO_CLIENTS: 41.0,
    DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION: 60.0,
}
PACKET_HEADER_BYTES = 66
SIDECAR_BYTES, CONNECTION_BYTES = 5e7, 40e3
"""Resident memory of a sidecar, and what each connection to it adds."""
CERTIFICATE_S = 86_400.0
DISK_BYTES_S = 400e6
NETWORK_BYTES_S = {"direct": 1.2e9, "client-sidecars": 1e9, "sidecars": 0.9e9, "sidecars-mtls": 0.7e9}


class SimulatedClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, start_s: float = 1_000.0) -> None:
        self._now = start_s

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_700_000_000.0 + self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What an experiment on the simulated system should find."""

    ceilings_msg_s: Mapping[DataPlane, float] = field(
        default_factory=lambda: {
            DataPlane.PLAIN: 150_000.0,
            DataPlane.KAFKA_TLS: 112_000.0,
            DataPlane.ISTIO: 149_000.0,
            DataPlane.ISTIO_MTLS: 120_000.0,
            DataPlane.ISTIO_CLIENTS: 149_500.0,
            DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION: 130_000.0,
        }
    )
    latencies_s: Mapping[DataPlane, float] = field(
        default_factory=lambda: {
            DataPlane.PLAIN: 0.004,
            DataPlane.KAFKA_TLS: 0.006,
            DataPlane.ISTIO: 0.005,
            DataPlane.ISTIO_MTLS: 0.007,
            DataPlane.ISTIO_CLIENTS: 0.0045,
            DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION: 0.0065,
        }
    )
    """From the intended send to the acknowledgement, where no record waits for another."""
    per_client_msg_s: float = 140_000.0
    """What one client offers in closed loop."""
    warmup_s: float = 4.0
    noise: float = 0.01
    generator_delay_s: float = 0.0
    """By how much the load generator is late with every record of a schedule."""
    proofs_hold: bool = True
    proxied_share: float = 1.0
    """Part of the bytes that the sidecars see; below 1 some traffic goes past them."""
    broker_dies_after_s: float | None = None
    limited_by: tuple[str, str] = ("machine", "cpu")
    """Host and resource: with less of this, it carries less in proportion."""
    enforced: float = 1.0
    """What a limit lets through, as a part of what it should."""
    link_bytes_s: float = math.inf
    """Most that a link between clusters carries, whatever it was asked to."""


class _System:
    """Everything that has happened in one cluster's life, advanced to an instant on demand."""

    def __init__(self, scenario: Scenario, truth: Truth, clock: SimulatedClock, source: random.Random) -> None:
        self.scenario = scenario
        self.workload = scenario.workload
        self.truth = truth
        self.latency_s = truth.latencies_s[scenario.data_plane] + distance.farthest_s(scenario.cluster.topology)
        self.generator_delay_s = truth.generator_delay_s
        self.clock = clock
        self.born_s = clock.now()
        self.at_s = clock.now()
        self.busy_s = 0.0
        self.acknowledged = 0.0
        self.live_acknowledged = 0.0
        self.noise = math.exp(source.gauss(0, truth.noise))
        self.workers: list[SimulatedWorker] = []
        self.paused: set[str] = set()
        self.probing = Bench(clock, truth.enforced)

    def advance(self) -> None:
        elapsed = self.clock.now() - self.at_s
        self.at_s = self.clock.now()
        producing = [worker for worker in self.workers if worker.producing]
        if elapsed <= 0 or not producing:
            return
        self.busy_s += elapsed
        speed = 0.0 if self.paused else self.noise * (1 - 0.6 * math.exp(-self.busy_s / self.truth.warmup_s))
        speed *= math.prod(self._left(limit) for limit in self.probing.limits)
        share = self.truth.ceilings_msg_s[self.scenario.data_plane] / len(producing)
        closed = min(share, self.truth.per_client_msg_s)
        most = self._most_msg_s() / len(producing)
        records = sum(
            worker.carry(self.at_s, elapsed, min(most, (share if worker.queue else closed) * speed))
            for worker in producing
        )
        self.acknowledged += records
        self.live_acknowledged += records

    def _most_msg_s(self) -> float:
        """What the slowest disk with a limit takes of all replicas."""
        each = stored_bytes(self.workload) * self.workload.replication_factor / self.scenario.cluster.brokers
        caps = [limit.amount for limit in self.probing.limits if limit.resource == "disk"]
        return min(caps, default=math.inf) / each

    def _volume(self, host: str, logged: float) -> Counters:
        """Of a broker's disk, while it has a limit: nothing waits in memory."""
        caps = [each.amount for each in self.probing.limits if (each.host, each.resource) == (host, "disk")]
        return {f"{host}/volume/write_bytes": logged, f"{host}/volume/limit_bytes_s": min(caps)} if caps else {}

    def _left(self, limit: Limit) -> float:
        """Of the speed, under a limit."""
        if (limit.host, limit.resource) != self.truth.limited_by:
            return 1.0
        there_is = {"cpu": CPUS, "disk": DISK_BYTES_S, "network": NETWORK_BYTES_S["direct"]}
        return min(1.0, limit.amount / there_is[limit.resource])

    def check(self) -> None:
        death = self.truth.broker_dies_after_s
        if death is not None and self.clock.now() - self.born_s > death:
            raise ComponentFailed(
                "kafka on broker-2 died (exit status 1)", component="broker-2/kafka", log_tail=("simulated death",)
            )

    def counters(self) -> Counters:
        self.advance()
        values: Counters = {}
        brokers = _hosts("broker", self.scenario.cluster.brokers)
        clients = _hosts("client", self.scenario.cluster.clients)
        groups = self.scenario.workload.subscriptions_per_topic
        factor = self.scenario.workload.replication_factor
        payload_mb = self.acknowledged * self.scenario.workload.message_size / 1e6
        total = self.acknowledged * stored_bytes(self.scenario.workload)
        live = self.live_acknowledged * stored_bytes(self.scenario.workload)
        requests = self.acknowledged * request_bytes(self.scenario.workload)
        led, seen, plane = 1 / len(brokers), self.truth.proxied_share, self.scenario.data_plane
        packets = payload_mb * PACKETS_PER_MB[plane]
        copies = factor - 1 if self.scenario.carries(BROKER_BROKER) else 0
        for host in brokers:
            values |= _process(f"{host}/kafka", payload_mb * 6e-3)
            values[f"{host}/kafka/log_bytes"] = live * factor * led
            values[f"{host}/kafka/leader_log_bytes"] = live * led
            values |= self._volume(host, live * factor * led)
            sent, received = total * (factor - 1 + groups) * led, (requests + total * (factor - 1)) * led
            values |= _interface(f"{host}/net", sent, received, packets * 0.8 * led)
            if plane.has_sidecar("broker"):
                values |= _process(f"{host}/sidecar", payload_mb * 2e-3)
                values[f"{host}/sidecar/inbound_rx_bytes"] = requests * led * seen
                values[f"{host}/sidecar/inbound_tx_bytes"] = total * led * (copies + groups) * seen
                values[f"{host}/sidecar/outbound_rx_bytes"] = total * led * copies * seen
                values[f"{host}/sidecar/outbound_tx_bytes"] = total * copies * 5e-5
                peers = 2 * (len(brokers) - 1) if copies else 0
                values |= self._sidecar(f"{host}/sidecar", self.workload.workers + peers)
        for host in clients:
            values |= _process(f"{host}/client", payload_mb * 3e-3 / len(clients))
            sent, received = requests / len(clients), total * groups / len(clients)
            values |= _interface(f"{host}/net", sent, received, packets * 0.2 / len(clients))
            if plane.has_sidecar("client"):
                values |= _process(f"{host}/sidecar", payload_mb * 1e-3 / len(clients))
                values[f"{host}/sidecar/outbound_tx_bytes"] = requests / len(clients) * seen
                values[f"{host}/sidecar/outbound_rx_bytes"] = total * groups / len(clients) * seen
                values[f"{host}/sidecar/inbound_rx_bytes"] = 0.0
                values[f"{host}/sidecar/inbound_tx_bytes"] = 0.0
                values |= self._sidecar(f"{host}/sidecar", self.workload.workers * len(brokers) / len(clients))
        return values | self._machine(values, total * factor)

    def _sidecar(self, component: str, connections: float) -> Counters:
        age_s = self.clock.now() - self.born_s
        left = {f"{component}/certificate_left_s": CERTIFICATE_S - age_s} if self.scenario.data_plane.mtls else {}
        return left | {
            f"{component}/uptime_s": age_s,
            f"{component}/connections": connections,
            f"{component}/memory_rss_bytes": SIDECAR_BYTES + CONNECTION_BYTES * connections,
        }

    def _machine(self, components: Counters, written_bytes: float) -> Counters:
        user = sum(value for key, value in components.items() if key.endswith("/cpu_user_s"))
        system = sum(value for key, value in components.items() if key.endswith("/cpu_system_s"))
        kernel, nobodys = 0.015 * (user + system), 0.005 * (user + system)
        elapsed = (self.clock.now() - self.born_s) * CPUS
        return {
            "machine/cpu/user_s": user,
            "machine/cpu/system_s": system + kernel + nobodys,
            "machine/cpu/softirq_s": 0.0,
            "machine/cpu/irq_s": 0.0,
            "machine/cpu/iowait_s": 0.0,
            "machine/cpu/steal_s": 0.0,
            "machine/cpu/idle_s": elapsed - user - system - kernel - nobodys,
            "machine/kernel/cpu_user_s": 0.0,
            "machine/kernel/cpu_system_s": kernel,
            "machine/others/cpu_user_s": 0.0,
            "machine/others/cpu_system_s": 0.0,
            "machine/disk/write_bytes": written_bytes * 0.9,
            "machine/disk/busy_s": written_bytes * 0.9 / DISK_BYTES_S,
            "machine/memory/available_bytes": 8e9,
            "machine/memory/dirty_bytes": 1e8,
        }


def _hosts(kind: str, count: int) -> tuple[str, ...]:
    return tuple(f"{kind}-{number}" for number in range(1, count + 1))


def _process(component: str, cpu_s: float) -> Counters:
    return {
        f"{component}/cpu_user_s": cpu_s * 0.4,
        f"{component}/cpu_system_s": cpu_s * 0.6,
        f"{component}/memory_rss_bytes": 2e8,
        f"{component}/threads": 20.0,
    }


def _interface(component: str, sent: float, received: float, packets: float) -> Counters:
    return {
        f"{component}/tx_bytes": sent + packets * PACKET_HEADER_BYTES,
        f"{component}/rx_bytes": received + packets * PACKET_HEADER_BYTES,
        f"{component}/tx_packets": packets,
        f"{component}/rx_packets": packets,
    }


@dataclass(frozen=True)
class _Layout:
    leaders: Mapping[tuple[str, int], str]


def _envoy(plane: DataPlane) -> str:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{}TlsContext"
    listener = {"@type": kind.format("Downstream"), "require_client_certificate": True}
    return json.dumps({"tls": [listener, {"@type": kind.format("Upstream")}] if plane.mtls else []})


class _SystemProbe:
    edges_only = False

    def __init__(self, system: _System) -> None:
        self._system = system

    def read(self) -> Counters:
        return self._system.counters()


class SimulatedCluster:
    """Both Testbed and Cluster."""

    probe_port = 9

    def __init__(self, scenario: Scenario, system: _System) -> None:
        self._scenario = scenario
        self._system = system
        self.broker_hosts = _hosts("broker", scenario.cluster.brokers)
        self.client_hosts = _hosts("client", scenario.cluster.clients)
        self.bootstrap_servers = "broker-1:9092"
        self.client_config: Mapping[str, str] = {}
        self.encrypted_hops = scenario.encrypted_hops
        self.plain_hops = scenario.plain_hops
        self.log_dir = Path("simulated")

    def address(self, host: str) -> str:
        return host

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str, component: str = "client") -> Iterator[Process]:
        if "meshmark.load.worker" not in argv:
            with Probing(name, host, component, argv, self._system.probing, self._there_is(argv)) as probe:
                yield probe
            return
        worker = SimulatedWorker(name, host, self._system)
        self._system.workers.append(worker)
        try:
            yield worker
        finally:
            self._system.advance()
            self._system.workers.remove(worker)

    def _there_is(self, argv: Sequence[str]) -> float:
        """Bytes a second, of what a probe looks at."""
        if "meshmark.load.probe_disk" in argv:
            return DISK_BYTES_S
        return NETWORK_BYTES_S[self._scenario.data_plane.path]

    def cpu_s(self, host: str, component: str) -> float:
        return self._system.probing.used().get(f"{host}/{component}/cpu_user_s", 0.0)

    def volume(self, host: str) -> Path:
        return self.log_dir

    def probes(self) -> Sequence[Probe]:
        return (_SystemProbe(self._system),)

    def check(self) -> None:
        self._system.check()

    def configurations(self) -> Mapping[str, str]:
        """As much as says which data plane it is."""
        spec, plane = self._scenario.cluster, self._scenario.data_plane
        protocol = "SSL" if plane.kafka_tls else "PLAINTEXT"
        texts = {}
        for number, host in enumerate(self.broker_hosts, start=1):
            settings = {
                "node.id": number,
                "listener.security.protocol.map": f"{spec.listener}:{protocol}"
                + (f",{REPLICATION_LISTENER}:PLAINTEXT" if plane.own_replication else ""),
                "inter.broker.listener.name": inter_broker_listener(self._scenario),
                **spec.broker_config,
            }
            texts[f"{host}.properties"] = "".join(f"{key}={value}\n" for key, value in settings.items())
        if plane.sidecars:
            brokers = self.broker_hosts if plane.has_sidecar("broker") else ()
            hosts = (*brokers, *self.client_hosts)
            texts |= {f"{host}.envoy.json": _envoy(plane) for host in hosts}
            texts |= {f"{host}.envoy.version": "simulated\n" for host in hosts}
        gateways = [f"gateway-{cluster.name}" for cluster in self._scenario.gateways]
        texts |= {f"{host}.envoy.json": _envoy(DataPlane.ISTIO) for host in gateways}
        return texts

    def create_topics(self, workload: Workload, prefix: str) -> TopicLayout:
        self._system.clock.sleep(0.3)
        self._system.live_acknowledged = 0.0
        names = [f"{prefix}-{number}" for number in range(1, workload.topics + 1)]
        partitions = [(name, part) for name in names for part in range(workload.partitions_per_topic)]
        return _Layout(
            {
                partition: self.broker_hosts[place % len(self.broker_hosts)]
                for place, partition in enumerate(partitions)
            }
        )

    def delete_topics(self, layout: TopicLayout) -> None:
        self._system.advance()
        self._system.clock.sleep(0.3)
        self._system.live_acknowledged = 0.0

    def active_controller(self) -> str:
        return self.broker_hosts[0]

    @contextmanager
    def paused(self, host: str) -> Iterator[None]:
        """Everything waits for every broker: that is acks=all with a replica on each."""
        self._system.advance()
        self._system.paused.add(host)
        try:
            yield
        finally:
            self._system.advance()
            self._system.paused.remove(host)

    @contextmanager
    def limit(self, limit: Limit) -> Iterator[None]:
        self._system.advance()
        self._system.probing.limits.append(limit)
        try:
            yield
        finally:
            self._system.advance()
            self._system.probing.limits.remove(limit)

    def probe_links(self, trial: int | None = None) -> Sequence[LinkProbe]:
        return distance.probes(self._scenario.cluster.topology, trial, self._system.truth.link_bytes_s)

    def prove(self) -> Sequence[Proof]:
        if not self.encrypted_hops:
            return ()
        holds, plane = self._system.truth.proofs_hold, self._scenario.data_plane
        shown: list[tuple[str, str]] = []
        if CLIENT_BROKER in self.encrypted_hops:
            shown.append(("", "STRICT refuses plaintext" if plane.mtls else "a plaintext client gets no answer"))
        if plane.own_replication:
            shown.append((BROKER_BROKER, f"a plaintext client gets an answer at port {REPLICATION_PORT}"))
        shown += [(hop, "a plaintext client gets no answer at its own port") for hop in self._scenario.own_tls]
        if self._scenario.cluster.replication_in_mesh and plane.mtls:
            shown.append((BROKER_BROKER, REPLICATION_TLS))
        return tuple(
            Proof(name=name, host=host, hop=hop, holds=holds, detail="simulated")
            for host in self.broker_hosts
            for hop, name in shown
        )


class SimulatedBackend:
    """Opens simulated clusters; every cluster has its own noise, drawn from `seed`."""

    name = "simulated"

    def __init__(self, clock: SimulatedClock, truth: Truth | None = None, seed: int = 1) -> None:
        self._clock = clock
        self._truth = truth or Truth()
        self._source = random.Random(seed)

    def facts(self) -> HostFacts:
        return HostFacts(
            hostname="simulated",
            kernel="none",
            cpu_model="simulated",
            cpus=CPUS,
            memory_bytes=16_000_000_000,
            cgroup="none",
            file_system="simulated",
            privileges="none",
            features={},
        )

    def versions(self) -> Versions:
        return Versions(
            meshmark=__version__, python="-", kafka="simulated", java="-", envoy="simulated", librdkafka="simulated"
        )

    def prepare(self, plan: Plan) -> None:
        require((scenario.data_plane for scenario in plan.scenarios), self.name)
        if plan.cpu_samples_hz:
            raise MissingRequirement("a simulated CPU cannot be sampled", hint="Leave out --perf (cpuSamplesHz).")

    @contextmanager
    def testbed(self, scenario: Scenario) -> Iterator[Testbed]:
        self._clock.sleep(1.0)
        yield SimulatedCluster(scenario, _System(scenario, self._truth, self._clock, self._source))

    @contextmanager
    def cluster(self, scenario: Scenario, keep_logs: KeepLogs = discard_logs) -> Iterator[Cluster]:
        self._clock.sleep(7.0)
        yield SimulatedCluster(scenario, _System(scenario, self._truth, self._clock, self._source))
        self._clock.sleep(2.0)

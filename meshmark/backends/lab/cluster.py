"""Testbeds and clusters of the lab: hosts, their sidecars, their brokers, as `meshmark/cluster.py` asks for them.

Everything is made anew for each and gone after it. Both data directories and logs lie in the instance's directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import meshmark
from meshmark.backends.lab import broker, distance, mesh, paths, perf, proofs, wan
from meshmark.backends.lab.compilers import CompilersProbe, compilers_first
from meshmark.backends.lab.ground import Ground, Parts, lay_ground
from meshmark.backends.lab.limits import limiting
from meshmark.backends.lab.link import HOST_INTERFACE, Host
from meshmark.backends.lab.netem import NetemProbe
from meshmark.backends.lab.probes import KafkaMetricsProbe
from meshmark.backends.lab.process import LabProcess, running
from meshmark.backends.lab.sockets import SegmentsProbe, Wire
from meshmark.backends.lab.tasks import TasksProbe
from meshmark.cluster import KeepLogs, Probe, Process, TopicLayout
from meshmark.dataplane.envoy import INBOUND_PORT, MARK
from meshmark.dataplane.identity import Authority, Identity, fingerprint
from meshmark.errors import ComponentFailed, LoadError, MissingRequirement, NoSpace
from meshmark.kafka import administration
from meshmark.kafka.administration import Administration, Layout
from meshmark.kafka.properties import (
    BROKER_PORT,
    TlsStores,
    broker_properties,
    render,
    with_plaintext,
)
from meshmark.kafka.shown import shown, wait_until_shown
from meshmark.plan import Scenario, Workload
from meshmark.probes.host import DiskProbe, KafkaLogProbe, MachineProbe, NetProbe, ProcessProbe
from meshmark.record import CpuProfile, Limit, LinkProbe, Proof

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0
"""Of a broker that hands its leaderships over first."""
RELOAD_TIMEOUT_S = 30.0
FULL_BYTES = 16_000_000
"""A broker that cannot append shuts down; with less than this left, a full disk is why."""
LINES_OF_EACH = 3
"""Of each component's log, when none of them is known to be the culprit."""
QUORUM_STATE = "__cluster_metadata-0/quorum-state"
CPU_PROBES = (TasksProbe, MachineProbe, ProcessProbe)


class LabTestbed:
    """Implements `meshmark.cluster.Testbed`; made by `testbed` alone."""

    probe_port = paths.CLOSED_PORT

    def __init__(self, scenario: Scenario, ground: Ground, stack: ExitStack) -> None:
        self.scenario = scenario
        self.network = net = ground.network
        self.ground = ground
        self._data = ground.data
        self._stack = stack
        self._components: dict[str, LabProcess] = {}
        self._spawned: list[LabProcess] = []
        self._configurations: dict[str, str] = {}
        self._logs: dict[str, Path] = {}
        self._process_probes: dict[tuple[str, str], ProcessProbe] = {}
        self._probes: list[Probe] = [TasksProbe(os.getpid()), stack.enter_context(MachineProbe(ground.data))]
        for host in net.places:
            self._probes.append(stack.enter_context(NetProbe(host.name, HOST_INTERFACE, host.call)))
            wire = _wire(scenario, host) if host in mesh.hosts(scenario, net) else Wire(host.address)
            self._probes.append(stack.enter_context(SegmentsProbe(host.name, wire, host.call)))
        for name in net.hosts:
            self._process_probe(name, "client")
        for name, disk in ground.disks.items():
            self._probes.append(stack.enter_context(DiskProbe(name, disk.mount)))
        for link in ground.links:
            if link.process and link.place:
                self.adopt(link.process)
                self._probes.append(wan.RelayProbe(link, link.place.directory))
            else:
                routers = [net.switches[end] for end in link.ends]
                self._probes.append(NetemProbe(link.link, routers, link.ends[link.link.ends[0]]))

    @property
    def broker_hosts(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.network.broker_hosts)

    @property
    def client_hosts(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.network.client_hosts)

    @property
    def log_dir(self) -> Path:
        """With images, the first broker's: what is measured there is what each of them has."""
        return next((disk.mount for disk in self.ground.disks.values()), self._data)

    def address(self, host: str) -> str:
        return self.network.hosts[host].address

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str, component: str = "client") -> Iterator[Process]:
        place = self.network.hosts[host]
        words = [sys.executable if word == "python" and at == 0 else word for at, word in enumerate(argv)]
        log = place.directory / f"{name}.log"
        # Workers run in the host's directory; they are to find this very meshmark, installed or not.
        own = str(Path(meshmark.__file__).parent.parent)
        packages = {"PYTHONPATH": os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))}
        with running(place, words, name=name, component=component, log=log, env=packages, lines=True) as process:
            self._logs[f"{host}-{name}.log"] = log
            self._process_probe(host, component).add(process.pid)
            self._spawned.append(process)
            yield process

    def probes(self) -> Sequence[Probe]:
        """Those of CPU side by side: on a busy machine the reader waits between two probes, and the ledger needs one
        moment. That of compilers, which is slower, after them."""
        return tuple(sorted(self._probes, key=_turn))

    def check(self) -> None:
        try:
            for process in self._components.values():
                process.check()
        except ComponentFailed as error:
            places = [self._data, *(disk.mount for disk in self.ground.disks.values())]
            full = next((place for place in places if shutil.disk_usage(place).free < FULL_BYTES), None)
            if full:
                raise NoSpace(
                    f"the disk under {full} is full; {error}",
                    hint="Free some, set MESHMARK_WORK_DIR to another disk, or lower logBudgetBytes in the plan.",
                ) from error
            raise

    def configurations(self) -> Mapping[str, str]:
        return dict(self._configurations)

    def logs(self) -> Mapping[str, Path]:
        return dict(self._logs)

    @property
    def processes(self) -> Sequence[LabProcess]:
        """Sidecars, gateways and brokers, and relays of links."""
        return tuple(self._components.values())

    def adopt(self, process: LabProcess) -> None:
        """A component that has to run as long as the testbed does."""
        self._components = {**self._components, f"{process.host}-{process.name}": process}  # `check` may go over it
        self._logs[f"{process.host}-{process.name}.log"] = process.log
        self._process_probe(process.host, process.component).add(process.pid)

    @contextmanager
    def limit(self, limit: Limit) -> Iterator[None]:
        """As `meshmark.cluster.Limitable` has it; what it needs is in `limits.py`, `disk.py` and `link.py`."""
        with limiting(limit, self.ground, [*self.processes, *self._spawned]) as probe:
            self._probes.append(probe)
            try:
                yield
            finally:
                self._probes.remove(probe)

    def probe_links(self, trial: int | None = None) -> Sequence[LinkProbe]:
        """As `meshmark.cluster.Linked` has it; measured in `distance.py`."""
        if not self.ground.links:
            return ()
        return distance.probe(self.network, self.scenario.cluster.topology, self.ground.links[0].kind, trial)

    def cut(self, link: str) -> AbstractContextManager[None]:
        return wan.cut(self.network, self.scenario.cluster.topology, self.ground.links, link)

    def volume(self, host: str) -> Path:
        return self.ground.disks[host].mount

    def cpu_s(self, host: str, component: str) -> float:
        used = self._process_probe(host, component).read()
        return sum(value for key, value in used.items() if key.endswith(("/cpu_user_s", "/cpu_system_s")))

    def add_probe(self, probe: Probe) -> None:
        self._probes.append(probe)

    def note_configuration(self, name: str, text: str) -> None:
        self._configurations[name] = text

    def _process_probe(self, host: str, component: str) -> ProcessProbe:
        probe = self._process_probes.get((host, component))
        if probe is None:
            group = self.ground.place(host).group(component)
            probe = self._stack.enter_context(ProcessProbe(host, component, group))
            self._process_probes[host, component] = probe
            self._probes.append(probe)
        return probe


class LabCluster(LabTestbed):
    """Implements `meshmark.cluster.Cluster`; made by `cluster` alone."""

    def __init__(self, scenario: Scenario, ground: Ground, stack: ExitStack, authority: Authority | None) -> None:
        super().__init__(scenario, ground, stack)
        self._authority = authority
        self._renewed: dict[str, Identity] = {}
        self._restarts = 0
        self._profiler = perf.Profiler(self.spawn, self.network.client_hosts[0])
        self._administration: Administration
        self.log_dirs: dict[str, Path] = {}
        self.start_broker: Callable[[str, Path], AbstractContextManager[LabProcess]]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{host.address}:{BROKER_PORT}" for host in self.network.broker_hosts)

    @property
    def client_config(self) -> Mapping[str, str]:
        if self.scenario.data_plane.kafka_tls and self._authority:
            return {"security.protocol": "SSL", "ssl.ca.location": str(self._authority.path)}
        return {"security.protocol": "PLAINTEXT"}

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        return self.scenario.data_plane.encrypted_hops

    @property
    def plain_hops(self) -> tuple[str, ...]:
        return self.scenario.data_plane.plain_hops

    def create_topics(self, workload: Workload, prefix: str) -> Layout:
        return self._administration.create(workload, self.scenario.cluster, prefix)

    def delete_topics(self, layout: TopicLayout) -> None:
        self._administration.delete(layout)

    def prove(self) -> Sequence[Proof]:
        return proofs.prove(self.scenario.data_plane, self.network, self._authority, self.log_dir)

    def active_controller(self) -> str:
        """As the brokers have written down: to clients Kafka names any broker as the controller."""
        elections = []
        for log_dir in self.log_dirs.values():
            state = json.loads((log_dir.parent / "metadata" / QUORUM_STATE).read_text(encoding="utf-8"))
            elections.append((int(state["leaderEpoch"]), int(state["leaderId"])))
        # One that has not heard of its election yet knows no leader (-1) of that epoch.
        return self.broker_hosts[max(elections)[1] - 1]

    def paused(self, host: str) -> AbstractContextManager[None]:
        [process] = [each for each in self.processes if each.component == "kafka" and each.host == host]
        return broker.paused(process)

    def restart(self, host: str) -> None:
        """Each life of a broker has a log of its own."""
        name = f"{host}-broker"
        before = self._components[name]
        self._components = {key: each for key, each in self._components.items() if key != name}
        before.signal(signal.SIGTERM)
        before.wait(STOP_TIMEOUT_S)
        self._restarts += 1
        ended = f"broker-{self._restarts}.log"
        self._logs[f"{host}-{ended}"] = before.log.rename(before.log.with_name(ended))
        again = self._stack.enter_context(self.start_broker(host, before.log))
        self.adopt(again)
        broker.wait_until_started([again], START_TIMEOUT_S)

    def wait_until_in_sync(self, timeout_s: float) -> None:
        self._administration.wait_until_in_sync(len(self.broker_hosts), timeout_s)

    def renew_certificates(self) -> None:
        if not self.scenario.data_plane.kafka_tls or self._authority is None:
            raise MissingRequirement(
                f"the data plane {self.scenario.data_plane} has no certificates of Kafka's own",
                hint="Give a scenario with kafka-tls. Sidecars of the lab read theirs once.",
            )
        for host in self.network.broker_hosts:
            self._renewed[host.name] = self._authority.server_identity(host.name, host.address)

    def reload_certificate(self, host: str) -> None:
        new = self._renewed[host]
        self._administration.reload_keystore(host, str(new.keystore))
        place, wanted = self.network.hosts[host], fingerprint(new.chain.read_bytes())
        look = partial(place.call, partial(shown, place.address, BROKER_PORT))
        wait_until_shown(host, wanted, look, RELOAD_TIMEOUT_S)

    def warming(self) -> AbstractContextManager[None]:
        return compilers_first(process.pid for process in self.processes if process.component == "kafka")

    @contextmanager
    def timing_paths(self, seed: int) -> Iterator[None]:
        identity = None
        if self.scenario.data_plane.mtls and self._authority:
            identity = self._authority.mesh_identity("paths", mesh.CLIENT_ACCOUNT)
        plane = self.scenario.data_plane
        with paths.timing_paths(self.network, plane, identity=identity, seed=seed) as probe:
            self._probes.append(probe)
            try:
                yield
            finally:
                self._probes.remove(probe)

    def profiling(self, trial: int, hz: int) -> AbstractContextManager[None]:
        return self._profiler.recording(trial, hz)

    def cpu_profiles(self, windows: Mapping[int, tuple[float, float]]) -> Sequence[CpuProfile]:
        return self._profiler.counted(windows, (*self.processes, *self._spawned))

    def leaders(self) -> Mapping[tuple[str, int], str]:
        """Of every topic that there is now."""
        return self._administration.leaders()

    def wait_until_serving(self) -> None:
        """Until the brokers have started, and the first client host sees all of them through the data plane."""
        broker.wait_until_started([p for p in self.processes if p.component == "kafka"], START_TIMEOUT_S)
        try:
            self._administration.wait(len(self.broker_hosts), START_TIMEOUT_S)
        except LoadError as error:
            raise ComponentFailed(
                f"the brokers have started, and {self.client_hosts[0]} does not reach all of them: {error.message}",
                component="kafka",
                log_tail=tuple(
                    f"{each.host} {each.name}: {line}"
                    for each in self.processes
                    for line in each.log_tail(LINES_OF_EACH)
                ),
                hint="The logs of brokers and sidecars tell more.",
            ) from error

    def start_admin(self) -> None:
        process = self._stack.enter_context(
            self.spawn(self.client_hosts[0], administration.ARGV, name="admin", component="meshmark")
        )
        config = {"bootstrap.servers": self.bootstrap_servers, **self.client_config}
        self._administration = Administration(process, config, disks=self._partitions, check=self.check)

    def _partitions(self) -> set[tuple[str, str]]:
        """Directories of the brokers' logs, and whose."""
        return {(entry.name, host) for host, log_dir in self.log_dirs.items() for entry in log_dir.iterdir()}


@contextmanager
def testbed(parts: Parts, scenario: Scenario) -> Iterator[LabTestbed]:
    """Hosts and, where the data plane has them, sidecars."""
    with ExitStack() as stack:
        bed = LabTestbed(scenario, lay_ground(parts, scenario, stack), stack)
        mesh.start(parts.envoy, bed, _authority(parts, scenario, stack), stack)
        yield bed


@contextmanager
def cluster(parts: Parts, scenario: Scenario, keep_logs: KeepLogs) -> Iterator[LabCluster]:
    """A testbed with Kafka serving through the data plane."""
    with ExitStack() as stack:
        ground = lay_ground(parts, scenario, stack)
        authority = _authority(parts, scenario, stack)
        made = LabCluster(scenario, ground, stack, authority)
        stack.callback(lambda: keep_logs(made.logs()))
        made.start_admin()  # it takes as long to start as a sidecar does
        mesh.start(parts.envoy, made, authority, stack)
        plans = _broker_plans(parts, made, authority)
        for plan in plans:
            made.log_dirs[plan.host.name] = plan.log_dir
            made.note_configuration(f"{plan.host.name}.properties", render(plan.settings))
            words = broker.command(parts.runtime, scenario.cluster, plan, parts.archive)
            made.note_configuration(f"{plan.host.name}.command", "\n".join(words) + "\n")
        by_host = {plan.host.name: plan for plan in plans}
        made.start_broker = lambda host, log: broker.start(
            parts.runtime, scenario.cluster, by_host[host], parts.archive, log
        )
        started = broker.brokers(parts.runtime, scenario.cluster, plans, parts.archive)
        for process in stack.enter_context(started).values():
            made.adopt(process)
            made.add_probe(CompilersProbe(process.host, process.pid))
        for plan in plans:
            probe = KafkaLogProbe(plan.host.name, [plan.log_dir], made.leaders)
            made.add_probe(stack.enter_context(probe))
            made.add_probe(stack.enter_context(KafkaMetricsProbe(plan.host.name, plan.metrics_socket)))
        made.wait_until_serving()
        yield made


def _wire(scenario: Scenario, host: Host) -> Wire:
    """Of one with a sidecar."""
    return Wire(host.address, mark=MARK, port=INBOUND_PORT, exempt=mesh.exempt(scenario))


def _authority(parts: Parts, scenario: Scenario, stack: ExitStack) -> Authority | None:
    if not scenario.data_plane.encrypted_hops:
        return None
    directory = parts.instance.path / "identity"
    authority = Authority(directory, "cluster.local")
    stack.callback(shutil.rmtree, directory)
    return authority


def _broker_plans(parts: Parts, bed: LabCluster, authority: Authority | None) -> list[broker.BrokerPlan]:
    hosts = bed.network.broker_hosts
    nodes = broker.nodes(hosts)
    plans = []
    for host, node in zip(hosts, nodes, strict=True):
        tls = None
        if bed.scenario.data_plane.kafka_tls and authority:
            identity = authority.server_identity(host.name, host.address)
            tls = TlsStores(keystore=identity.keystore, truststore=identity.authority)
        data = bed.ground.data / host.name
        settings = broker_properties(
            bed.scenario, nodes, node, directory=data, log_budget_bytes=parts.log_budget_bytes, tls=tls
        )
        if parts.training:
            settings = with_plaintext(settings, node)
        trainee = parts.training if host is hosts[0] else None
        plans.append(broker.BrokerPlan(host=host, node=node, settings=settings, data=data, training=trainee))
    return plans


def _turn(probe: Probe) -> int:
    if isinstance(probe, CPU_PROBES):
        return 0
    return 1 if isinstance(probe, CompilersProbe) else 2

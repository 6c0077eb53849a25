"""The pods of one scenario as hosts of an experiment: processes in them, what they count, whether they still run.

In each pod an agent runs (`agent.py`), asked over the API server; so is every process. Instants are told by the
conductor's clock. A load worker on another machine is told how far that one's is ahead, and how well this was known is
kept (`clocks.py`). In a topology pods are those of several clusters, each spoken to over its own API server.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from meshmark.backends.kubernetes import clocks, distance, ephemeral, evidence, mesh, meshes, ownership, state, strimzi
from meshmark.backends.kubernetes.brokers import brokers, host_of
from meshmark.backends.kubernetes.clocks import Ahead
from meshmark.backends.kubernetes.files import yaml_text
from meshmark.backends.kubernetes.kinds import CONFIG_MAP, NAMESPACE, OPERATED, SERVICE, STATEFUL_SET, kind_of
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.manifest import WORKLOAD, Body
from meshmark.backends.kubernetes.measured import CLIENT, MONITOR, STRANGER
from meshmark.backends.kubernetes.metering import OnNodes
from meshmark.backends.kubernetes.node_proxies import NodeProxies
from meshmark.backends.kubernetes.replaced import replaced
from meshmark.backends.kubernetes.stream import AgentLink, PodProcess, read_pid, with_pid
from meshmark.backends.kubernetes.stretched import in_cluster
from meshmark.cluster import Probe
from meshmark.data_plane import Mesh
from meshmark.errors import ClusterUnreachable, ComponentFailed, MeshmarkError, MissingRequirement
from meshmark.nodes import ClockCheck
from meshmark.probes.host import MACHINE, ProcessProbe
from meshmark.record import Counters, LinkProbe

AGENT = ("python", "-m", "meshmark.backends.kubernetes.agent")
CHECK_S = 2.0
"""How often the API is asked whether all pods still run; `check` itself is called much more often."""
PATIENCE_S = 30.0
"""How long it may be away meanwhile."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
EXPLAIN_S = 5.0
"""A kubelet tells of a container that ended within a second or two."""
POLL_S = 0.5
POLICY_FILES = (*mesh.FILES, *meshes.FILES, strimzi.BOOTSTRAP_RULE, strimzi.REPLICATION_POLICY)


class AgentsProbe:
    """Implements `meshmark.cluster.Probe`: all agents at once, each asked by a thread of `pool`, which has one for
    each. `failures` has, by host, why the last reading of it failed, if it did; `spreads_s`, of each reading, the
    time from its first question to its last answer: no two pods were read further apart."""

    edges_only = False

    def __init__(
        self, agents: Mapping[str, AgentLink], pool: ThreadPoolExecutor, beside: Sequence[AgentLink] = ()
    ) -> None:
        self._agents = agents
        self._beside = beside
        self._pool = pool
        self.failures: dict[str, MeshmarkError] = {}
        self.spreads_s: list[float] = []

    def read(self) -> Counters:
        """What both agents of a host count, as their own CPU time, is added up."""
        values: Counters = {}
        asked_s = time.monotonic()
        asked = [(agent, self._pool.submit(agent.ask, "read")) for agent in (*self._agents.values(), *self._beside)]
        failures: dict[str, MeshmarkError] = {}
        for agent, answer in asked:
            try:
                found = answer.result()
            except (ComponentFailed, ClusterUnreachable) as error:  # `check` tells
                failures[agent.host] = error
            else:
                values |= {key: value + values.get(key, 0.0) for key, value in found.items()}
        self.failures = failures
        self.spreads_s.append(time.monotonic() - asked_s)
        return values


class PodsTestbed:
    """Implements `meshmark.cluster.Testbed` and `Linked`; made by `testbed` alone."""

    def __init__(self, sites: Sequence[Site], stack: ExitStack) -> None:
        self.scenario, self.namespace = sites[0].wanted.scenario, sites[0].wanted.namespace
        self.sites, self._stack = sites, stack
        there = {site.cluster: self._there(site) for site in sites}
        self._pods = {name: pod for pods in there.values() for name, pod in pods.items()}
        self._home = {name: site for site in sites for name in there[site.cluster]}
        self._restarts = {name: _restarts(pod) for name, pod in self._pods.items()}
        self._replacing: frozenset[str] = frozenset()
        self._checked = time.monotonic()
        self._answered = {site.cluster: self._checked for site in sites}
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshmark-")))
        self._logs: dict[str, Path] = {}
        self.made = brokers(self.scenario)
        if self.scenario.cluster.operator:
            self._join()
        self.agents: dict[str, AgentLink] = {}
        for host in (*self.broker_hosts, *self.client_hosts, *self.strangers):
            self.agents[host] = stack.enter_context(self._agent(host))
        self.around: NodeProxies | None = None
        """In ambient mode alone."""
        if self.scenario.data_plane.mesh == "ambient":
            asker = self.agents[self.strangers[0]]
            self.around = NodeProxies(sites[0].api, self.scenario.data_plane, self.namespace, self._meshed(), asker)
        beside = [stack.enter_context(self._sidecars_agent(host)) for host in self._joined_sidecars]
        threads = stack.enter_context(ThreadPoolExecutor(len(self.agents) + len(beside), thread_name_prefix="agents"))
        self.read = AgentsProbe(self.agents, threads, beside)
        self._probes: list[Probe] = [self.read, *([self.around] if self.around else [])]
        self.clocks: list[ClockCheck] = []
        self.loads: list[tuple[str, float]] = []
        """Where load workers were begun, and when."""
        self._living: dict[str, list[Ahead]] = {}
        self._ways = {site.cluster: self._beside_agent(site) for site in sites if site.cluster}
        self._away = {host for host in self.client_hosts if self._goes_by_another_clock(host)}
        if self._on_one_node() and not self._away:  # this very process is booked where it shares the node with all
            itself = stack.enter_context(ProcessProbe(MACHINE, "meshmark"))
            itself.add(os.getpid())
            self._probes.append(itself)

    @property
    def broker_hosts(self) -> tuple[str, ...]:
        return tuple(f"{WORKLOAD}-{n}" for n in range(1, self.scenario.cluster.brokers + 1))

    @property
    def client_hosts(self) -> tuple[str, ...]:
        return tuple(f"{CLIENT}-{n}" for n in range(1, self.scenario.cluster.clients + 1))

    @property
    def log_dir(self) -> Path:
        """In the brokers' pods."""
        return Path(self.made.volume)

    def address(self, host: str) -> str:
        """Of a broker that sidecars lead to, a name: they alone know the way to one in another cluster."""
        if self.scenario.cluster.topology and self.scenario.data_plane.sidecars and host in self.broker_hosts:
            return self.name_of(host)
        return self.pod_address(host)

    def pod_address(self, host: str) -> str:
        return str(self._pods[host]["status"]["podIP"])

    def name_of(self, broker: str) -> str:
        """By which it is told to clients."""
        return self.made.address(_number(broker), self.namespace)

    def pod_name(self, host: str) -> str:
        return str(self._pods[host]["metadata"]["name"])

    def probe_links(self, trial: int | None = None) -> Sequence[LinkProbe]:
        """As `meshmark.cluster.Linked` has it; measured in `distance.py`."""
        if not self.scenario.cluster.topology:
            return ()
        return tuple(distance.probes(self.scenario.cluster.topology, self._ways, self.pod_address, trial))

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str, component: str = "client") -> Iterator[PodProcess]:
        """`python` is the one of the pod's image."""
        with self._started(host, argv, name) as process:
            process.agent = self.agents[host]
            process.agent.ask("book", pid=process.pid, component=component)
            if component == "client":
                with self._by_its_clock(process):
                    yield process
            else:
                yield process

    def probes(self) -> Sequence[Probe]:
        return tuple(self._probes)

    def check(self) -> None:
        """Every CHECK_S it looks at the pods, and at whether their agents answer."""
        now = time.monotonic()
        if now - self._checked < CHECK_S:
            return
        self._checked = now
        for site in self.sites:
            self._check_pods(site, now)
        for host, failure in tuple(self.read.failures.items()):
            if host not in self._replacing:
                raise failure

    def _check_pods(self, site: Site, now: float) -> None:
        try:
            there = self._there(site)
        except ClusterUnreachable:
            if now - self._answered[site.cluster] > PATIENCE_S:
                raise
            return
        self._answered[site.cluster] = now
        wrong = {
            name: what
            for name, home in self._home.items()
            if home is site and name not in self._replacing and (what := self._wrong(name, there.get(name)))
        }
        if wrong:
            raise ComponentFailed(
                "; ".join(f"{name} {what}" for name, what in wrong.items()),
                component=next(iter(wrong)),
                log_tail=state.events_of(site.api, self.namespace, [self.pod_name(name) for name in wrong]),
                hint="The pods' logs are in the run directory.",
            )

    def _pods_of(self, site: Site) -> list[Body]:
        return [self._pods[name] for name, home in self._home.items() if home is site]

    def _there(self, site: Site) -> dict[str, Body]:
        return {host_of(pod): pod for pod in ownership.pods(site.api, site.wanted.namespace)}

    def _join(self) -> None:
        """Agents' containers, beside an operator's brokers and their sidecars."""
        if gone := [host for host in self.broker_hosts if host not in self._pods]:
            raise ComponentFailed(f"no pod of {', '.join(gone)} is there: its operator replaces it", component=gone[0])
        for site in self.sites:
            pods = [self.pod_name(host) for host in self.broker_hosts if self._home[host] is site]
            ephemeral.join(site.api, self.namespace, pods, site.wanted.beside)

    @property
    def _joined_sidecars(self) -> tuple[str, ...]:
        return self.broker_hosts if self.scenario.cluster.operator and self.scenario.data_plane.sidecars else ()

    def replace(self, host: str) -> None:
        """Its pod goes; the host is the one that comes instead, once that is ready. `check` looks away meanwhile."""
        self._replacing = self._replacing | {host}
        pod = replaced(self._home[host].api, self.namespace, self._pods[host])
        self._pods = {**self._pods, host: pod}
        self._restarts[host] = _restarts(pod)
        self.agents[host] = self._stack.enter_context(self._agent(host))
        self.read.failures.pop(host, None)
        self._replacing = self._replacing - {host}

    def explain(self) -> None:
        """Raises what is wrong with the pods, as soon as the cluster tells that anything is, within EXPLAIN_S, or that
        an API server is away: a process, or a connection, that ended with either says no more than that."""
        end = time.monotonic() + EXPLAIN_S
        self._answered = dict.fromkeys(self._answered, -math.inf)
        while True:
            self._checked = -math.inf
            self.check()
            if time.monotonic() > end:
                return
            time.sleep(POLL_S)

    def configurations(self) -> Mapping[str, str]:
        """Brokers' settings and all workloads as they were applied, the images that run; and of the mesh what its
        proxies were told about Kafka, or go by, and their versions."""
        found: dict[str, str] = {}
        mesh = self.scenario.data_plane.mesh
        for site in self.sites:
            found |= _applied(site, mesh)
            if self.made.settings:
                found |= self._settings_of_operator(site)
        found["images.json"] = json.dumps(self._images(), indent=1, sort_keys=True) + "\n"
        for host in (*self.broker_hosts, *self.client_hosts):
            if self._has_sidecar(host):
                found |= evidence.sidecar_configuration(mesh, self.agents[host], self.made.service)
        if self.around is not None:
            found |= {f"{node}.ztunnel.version": f"{said}\n" for node, said in self.around.versions().items()}
        return found

    def _settings_of_operator(self, site: Site) -> dict[str, str]:
        """As it wrote them for each broker. Raises ComponentFailed where it did not."""
        assert self.made.settings is not None, "there is an operator"
        found: dict[str, str] = {}
        for host in self.broker_hosts:
            name, key = (part.format(number=_number(host)) for part in self.made.settings)
            body = site.api.get(CONFIG_MAP, name, self.namespace)
            if body is None or key not in body.get("data", {}):
                raise ComponentFailed(
                    f"there is no configmap/{name} with {key}, in which the operator puts the settings of {host}",
                    component=host,
                )
            found[f"{host}.properties"] = body["data"][key]
        return found

    def node(self, host: str) -> str:
        """That its pod is on; in a topology with its cluster."""
        return in_cluster(self._home[host].cluster, _node(self._pods[host]))

    def on_nodes(self) -> list[OnNodes]:
        """Those that pods are on, of each cluster."""
        return [
            OnNodes(
                api=site.api,
                cluster=site.cluster,
                nodes={_node(pod): str(pod["status"].get("hostIP", "")) for pod in self._pods_of(site)},
                runtimes=frozenset(_runtimes(self._pods_of(site))),
            )
            for site in self.sites
        ]

    def broker_of(self, site: Site) -> str:
        """The first one there."""
        return next(host for host in self.broker_hosts if self._home[host] is site)

    @property
    def one_clock(self) -> bool:
        """Of all load workers and of this process."""
        return not self._away

    def logs(self) -> Mapping[str, Path]:
        """Of processes; those of containers, and of the cluster, are `kept.py`'s."""
        return {name: file for name, file in self._logs.items() if file.is_file()}

    @property
    def strangers(self) -> tuple[str, ...]:
        return tuple(name for name in self._pods if name.startswith(STRANGER))

    def beside(self, host: str) -> tuple[str, ...]:
        """Strangers in its cluster."""
        return tuple(name for name in self.strangers if self._home[name] is self._home[host])

    def _wrong(self, name: str, pod: Body | None) -> str:
        """One that is not ready for a moment, under load, still runs."""
        if pod is None or pod["metadata"]["uid"] != self._pods[name]["metadata"]["uid"]:
            rolled = f", or rolled by {operator}" if (operator := self.scenario.cluster.operator) else ""
            return f"is gone: it was removed or evicted{rolled}"
        if _restarts(pod) > self._restarts[name]:
            return f"was started again: {state.problem_of(pod) or 'a container of it had ended'}"
        runs = pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        return "" if runs else state.problem_of(pod) or "does not run any more"

    @contextmanager
    def _started(
        self, host: str, argv: Sequence[str], name: str, container: str | None = None
    ) -> Iterator[PodProcess]:
        log = self._directory / f"{host}-{name}.log"
        self._logs[log.name] = log
        api = self._home[host].api
        within = container or _container(host)
        with api.stream(self.pod_name(host), self.namespace, within, with_pid(argv)) as socket:
            process = PodProcess(socket, host=host, context=api.context, name=name, log=log)
            process.pid = read_pid(process)
            try:
                yield process
            finally:
                with suppress(ComponentFailed, ClusterUnreachable):  # the pod goes anyway
                    process.end()

    @contextmanager
    def _by_its_clock(self, process: PodProcess) -> Iterator[None]:
        """While one lives on a host, all that begin there are told the same."""
        host, began_s = process.host, time.monotonic()
        self.loads.append((host, began_s))
        if host not in self._away:
            yield
            return
        living = self._living.setdefault(host, [])
        before = living[0] if living else self._ahead(host)
        living.append(before)
        process.clock_ahead_s = before.middle_s
        try:
            yield
        finally:
            living.pop()
            after = None
            with suppress(ComponentFailed, ClusterUnreachable):  # `check` tells
                after = self._ahead(host)
            self.clocks.append(clocks.checked(process, before, after, began_s, time.monotonic()))

    @contextmanager
    def _agent(self, host: str) -> Iterator[AgentLink]:
        words = [*AGENT, host]
        if host in self.broker_hosts:
            log, metadata = self.made.directories(_number(host))
            words += ["--data", self.made.volume, "--log", log, "--metadata", metadata]
            words += ["--beside"] if self.scenario.cluster.operator else []
        if self._has_sidecar(host):
            words += ["--sidecar", self.scenario.data_plane.mesh]
        if host == self.broker_hosts[0] and self._on_one_node():
            words.append("--machine")
        with self._started(host, words, "agent") as process:
            yield AgentLink(process)

    def _has_sidecar(self, host: str) -> bool:
        plane = self.scenario.data_plane
        if host.startswith(WORKLOAD):
            return plane.has_sidecar("broker")
        return plane.has_sidecar("client") and host.startswith(CLIENT)

    def _meshed(self) -> set[str]:
        """Nodes of all pods but the one outside."""
        return {self.node(host) for host in (*self.broker_hosts, *self.client_hosts)}

    def _beside_agent(self, site: Site) -> AgentLink:
        """Times ways, which takes a while, and must not keep who reads counters waiting."""
        host = self.broker_of(site)
        argv = (*AGENT, host)
        return AgentLink(self._stack.enter_context(self.spawn(host, argv, name="way", component="meshmark")))

    @contextmanager
    def _sidecars_agent(self, host: str) -> Iterator[AgentLink]:
        words = [*AGENT, host, "--processes"]
        with self._started(host, words, "agent-sidecar", ephemeral.BESIDE_SIDECAR) as process:
            yield AgentLink(process)

    def _on_one_node(self) -> bool:
        """Only then the node's figures are those of the whole cluster."""
        return len({self.node(host) for host in self._pods}) == 1

    def _goes_by_another_clock(self, host: str) -> bool:
        """Load workers are told instants. Raises MissingRequirement where these would mean nothing to them."""
        ahead = self._ahead(host)
        same_machine = self.agents[host].ask("clock")["boot_id"] == BOOT_ID.read_text(encoding="ascii").strip()
        if same_machine and ahead.low_s <= 0 <= ahead.high_s:
            return False
        if ahead.bound_s > clocks.MOST_S:
            raise MissingRequirement(
                f"load workers on the node {self.node(host)} go by another clock than this process, known to "
                f"{ahead.bound_s * 1e3:.0f} ms alone, by way of the context {self._home[host].api.context}: instants "
                "that it tells them would mean little",
                hint="Run meshmark nearer to it, best on that node or in a pod there; --client-nodes says where load "
                "pods go.",
            )
        return True

    def _ahead(self, host: str) -> Ahead:
        return clocks.compare(lambda: float(self.agents[host].ask("clock")["monotonic_s"]))

    def _images(self) -> dict[str, dict[str, str]]:
        """Pod -> container -> image, by digest where the cluster says it."""
        return {
            name: {
                status["name"]: str(status.get("imageID") or status.get("image"))
                for key in ("initContainerStatuses", "containerStatuses")
                for status in (pod.get("status") or {}).get(key) or []
            }
            for name, pod in self._pods.items()
        }


def _applied(site: Site, mesh: Mesh) -> dict[str, str]:
    """Files of a cluster's configurations; in a topology those that each has are named after it."""
    of = f"{site.cluster}." if site.cluster else ""
    found: dict[str, str] = {}
    for each in site.wanted.manifests:
        kind = kind_of(each.body)
        if kind == CONFIG_MAP:
            found |= {name: text for name, text in each.body["data"].items() if name.startswith(f"{WORKLOAD}-")}
        elif kind in (STATEFUL_SET, *OPERATED):
            found[f"{of}{each.body['metadata']['name']}.{kind.name.lower()}.yaml"] = yaml_text(each.body)
        elif mesh != "none" and (kind in (NAMESPACE, SERVICE) or each.file in POLICY_FILES):
            found[f"{of}{each.file}"] = yaml_text(each.body)
    return found


def _node(pod: Body) -> str:
    return str(pod["spec"].get("nodeName", ""))


def _runtimes(pods: Iterable[Body]) -> Iterator[str]:
    """What runs their containers, by the names that it gives them."""
    for pod in pods:
        for status in pod["status"].get("containerStatuses") or []:
            yield str(status.get("containerID", "")).partition("://")[0]


def _number(broker: str) -> int:
    return int(broker.rpartition("-")[2])


def _container(host: str) -> str:
    return MONITOR if host.startswith(WORKLOAD) else host.rpartition("-")[0]


def _restarts(pod: Body) -> int:
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return sum(each.get("restartCount", 0) for each in statuses)

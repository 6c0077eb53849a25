"""Kubernetes as a Backend: each round's cluster in the namespace of its scenario, nothing left of it afterwards.

    backend = KubernetesBackend({"": api}, plan, target, load, tell=note, timeout_s=600)
    backend.prepare(plan)
    with backend.cluster(scenario) as cluster: ...

What the nodes and the images are is looked at, once, in pods without Kafka, before the run begins. Limits: no limits
of hosts, no `perf`, no small requests along the path; all scenarios of a plan are in the same clusters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import PurePosixPath

from meshmark import __version__
from meshmark.backends.kubernetes import cluster, operated, ownership, rights, tls
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.asked import Target, quantity, targets
from meshmark.backends.kubernetes.change import Tell, Wanted
from meshmark.backends.kubernetes.cluster import PodsCluster
from meshmark.backends.kubernetes.config import KAFKA_SCRIPTS
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.measured import LoadPods, measured
from meshmark.backends.kubernetes.meshes import has_waypoint
from meshmark.backends.kubernetes.metering import NOBODY, Metering, OnNodes, all_metered, located
from meshmark.backends.kubernetes.pods import BASH
from meshmark.backends.kubernetes.rights import Right
from meshmark.backends.kubernetes.scenario import manifests
from meshmark.backends.kubernetes.state import CONTAINER
from meshmark.cluster import KeepLogs, discard_logs
from meshmark.errors import MissingRequirement, ObjectRefused, UsageError
from meshmark.plan import Plan, Scenario
from meshmark.record import HostFacts, Versions

NONE = "none"
"""A version of what no scenario of the plan has."""
LOOK = (BASH, "-c", f"ls {PurePosixPath(KAFKA_SCRIPTS).with_name('libs')}; java -version 2>&1")
KAFKA = re.compile(r"^kafka-clients-(\S+)\.jar$", re.MULTILINE)
JAVA = re.compile(r"^(?:openjdk|java) version \"([^\"]+)\"", re.MULTILINE)


def looked_at(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """The first of each mesh, and of those with a waypoint; where none has a mesh, the first of all."""
    found = {(each.data_plane.mesh, has_waypoint(each.data_plane)): each for each in reversed(scenarios)}
    return [each for (mesh, _), each in found.items() if mesh != "none"] or list(found.values())


class KubernetesBackend:
    """Implements `meshmark.cluster.Backend` in a cluster, or in those of the topology that all scenarios have: `apis`
    has the connection to each, by its name there, which is empty without a topology."""

    name = "kubernetes"

    def __init__(
        self,
        apis: Mapping[str, Api],
        plan: Plan,
        target: Callable[[Scenario], Target],
        load: LoadPods,
        *,
        tell: Tell,
        timeout_s: float,
        metering: Metering = NOBODY,
        more: Sequence[Right] = (),
    ) -> None:
        self._apis, self._plan, self._target, self._load = apis, plan, target, load
        self._metering, self._more = metering, more
        self._tell, self._timeout_s = tell, timeout_s
        self._seen: tuple[HostFacts, Versions] | None = None

    def facts(self) -> HostFacts:
        return self._looked()[0]

    def versions(self) -> Versions:
        return self._looked()[1]

    def prepare(self, plan: Plan) -> None:
        """Raises UsageError with all that this backend cannot do, and NoRights and Busy, before anything is changed;
        then it looks at nodes and images."""
        self._plan = plan
        if wrong := list(_impossible(plan)):
            raise UsageError(
                f"the plan {plan.name} cannot be run in Kubernetes: {'; '.join(wrong)}",
                hint="Leave these out, or run it in the lab.",
            )
        for scenario in plan.scenarios:
            joins = rights.JOIN if scenario.cluster.operator else ()
            needed = (*rights.of(scenario.data_plane), *self._metering.needed, *self._more, *joins)
            cluster.refuse_kept(self._sites(scenario), needed)
        self._looked()

    def testbed(self, scenario: Scenario) -> AbstractContextManager[PodsTestbed]:
        """An operator makes no pods without Kafka: in place of its brokers' are those that meshmark would make."""
        return cluster.testbed(self._sites(scenario, kafka=False), tell=self._tell, timeout_s=self._timeout_s)

    def cluster(self, scenario: Scenario, keep_logs: KeepLogs = discard_logs) -> AbstractContextManager[PodsCluster]:
        return cluster.cluster(
            self._sites(scenario),
            keep_logs,
            tell=self._tell,
            timeout_s=self._timeout_s,
            sources=self.sources,
        )

    def _sites(self, scenario: Scenario, *, kafka: bool = True) -> list[Site]:
        target = self._target(scenario)
        if scenario.cluster.operator and not kafka:
            target = replace(target, image=self._load.image)
            cluster_ = scenario.cluster.model_copy(update={"operator": "", "replication_in_mesh": False})
            scenario = scenario.model_copy(update={"cluster": cluster_})
        return [
            Site(api=self._apis[each.cluster], wanted=self._wanted(scenario, each, kafka=kafka))
            for each in targets(scenario, target)
        ]

    def _wanted(self, scenario: Scenario, target: Target, *, kafka: bool) -> Wanted:
        made = manifests(self._plan, scenario, target, kafka=kafka)
        return Wanted(
            scenario=scenario,
            manifests=measured(made, scenario, target, self._load, kafka=kafka),
            issuer=tls.issuer() if kafka and scenario.data_plane.kafka_tls else None,
            beside=self._load.image,
        )

    def _looked(self) -> tuple[HostFacts, Versions]:
        """Of `looked_at`: that a mesh takes pods, and that a waypoint is made, is known then, too, and that
        who is to tell of the nodes does. An operator's brokers are looked at while they serve: it alone knows their
        image."""
        if self._seen is None:
            looks = [self._look(scenario) for scenario in looked_at(self._plan.scenarios)]
            proxies = {program: said for _, _, told in looks for program, said in told.items()}
            facts, versions, _ = looks[0]
            own = {"envoy": proxies.pop("envoy", NONE), "proxies": proxies}
            self._seen = facts, versions.model_copy(update=own)
        return self._seen

    @cached_property
    def sources(self) -> Mapping[str, Metering]:
        """Where it is asked for, by cluster. Found once, so that no later round ends the run by not finding it."""
        return {cluster: located(api, self._metering) for cluster, api in self._apis.items()}

    def _look(self, scenario: Scenario) -> tuple[HostFacts, Versions, dict[str, str]]:
        with (
            self.cluster(scenario) if scenario.cluster.operator else self.testbed(scenario) as bed,
            all_metered(bed.on_nodes(), self.sources, bed.namespace, required=True),
        ):
            return self._facts(bed), self._versions(bed), _proxies(bed)

    def _facts(self, bed: PodsTestbed) -> HostFacts:
        """CPUs and memory of all nodes that pods are on."""
        by_node = {bed.node(host): agent.ask("facts") for host, agent in reversed(bed.agents.items())}
        first = bed.agents[bed.broker_hosts[0]].ask("facts")
        scenario, target = bed.scenario, self._target(bed.scenario)
        return HostFacts(
            hostname="; ".join(_told(site, place) for site, place in zip(bed.sites, bed.on_nodes(), strict=True)),
            kernel=first["kernel"],
            cpu_model=first["cpu_model"],
            cpus=sum(each["cpus"] for each in by_node.values()),
            memory_bytes=sum(each["memory_bytes"] for each in by_node.values()),
            cgroup=first["cgroup"],
            file_system=first["file_system"],
            privileges="; ".join(filter(None, (given(scenario, target, self._load), str(self._metering)))),
            features={
                "pressure_stall_information": first["pressure_stall_information"],
                "one_node": len(by_node) == 1,
                "one_clock": bed.one_clock,
                "shared_nodes": target.share_nodes,
            },
        )

    def _versions(self, bed: PodsTestbed) -> Versions:
        """As the parts say themselves; they must say the same in every cluster."""
        said = {site.api.context: self._said(bed, site) for site in bed.sites}
        if len(set(said.values())) > 1:
            told = "; ".join(f"{context}: {', '.join(each)}" for context, each in said.items())
            raise MissingRequirement(
                f"the clusters have different versions of Kafka and Java: {told}",
                hint="A run is of one version of each: give all clusters the same images.",
            )
        kafka, java = next(iter(said.values()))
        facts = bed.agents[bed.client_hosts[0]].ask("facts")
        return Versions(
            meshmark=__version__,
            python=facts["python"],
            kafka=kafka,
            java=java,
            envoy=NONE,
            librdkafka=facts["librdkafka"],
            operator=self._operator(bed),
        )

    def _operator(self, bed: PodsTestbed) -> str:
        """Its name and, where it says that, its version."""
        name, [site, *_] = bed.scenario.cluster.operator, bed.sites
        made = operated.read(ownership.ours(site.api, bed.namespace)) if name else None
        return f"{name} {made.version}".strip() if made else NONE

    def _said(self, bed: PodsTestbed, site: Site) -> tuple[str, str]:
        """Kafka and Java of one cluster, by its first broker."""
        broker, said = bed.broker_of(site), io.BytesIO()
        site.api.execute(bed.pod_name(broker), bed.namespace, CONTAINER, LOOK, said, io.BytesIO())
        text = said.getvalue().decode(errors="replace")
        kafka, java = KAFKA.search(text), JAVA.search(text)
        wanted = self._target(bed.scenario).kafka_version
        if kafka is None or java is None or (kafka[1] != wanted and not bed.scenario.cluster.operator):
            raise ObjectRefused(
                f"the brokers' image has Kafka {kafka[1] if kafka else 'nowhere'} and Java "
                f"{java[1] if java else 'nowhere'}; asked for was Kafka {wanted}",
                hint="--image names the image, --kafka the version.",
            )
        return kafka[1], java[1]


def _told(site: Site, place: OnNodes) -> str:
    """What a cluster is."""
    nodes = f"{len(place.nodes)} {'node' if len(place.nodes) == 1 else 'nodes'}"
    runtime = ", ".join(sorted(place.runtimes))
    return f"{site.api.context}: Kubernetes {site.api.version()}, {nodes}, {runtime}"


def _proxies(bed: PodsTestbed) -> dict[str, str]:
    """Program -> what the mesh's proxies say of themselves; several where they differ."""
    texts = {name: text.strip() for name, text in bed.configurations().items() if name.endswith(".version")}
    said: dict[str, set[str]] = {}
    for name, version in texts.items():
        said.setdefault(name.removesuffix(".version").rpartition(".")[2], set()).add(version)
    if len(bed.sites) > 1 and any(len(versions) > 1 for versions in said.values()):
        told = "; ".join(f"{program} {', '.join(sorted(versions))}" for program, versions in said.items())
        raise MissingRequirement(
            f"the clusters' meshes are of different versions: {told}",
            hint="A run is of one version: give all clusters the same.",
        )
    return {program: ", ".join(sorted(versions)) for program, versions in said.items()}


def given(scenario: Scenario, target: Target, load: LoadPods) -> str:
    """What pods are of, and get: the options that are no part of the plan. A run that goes on needs the same."""
    size = f"{target.cpus} CPUs, {quantity(target.memory_bytes)} of memory, heap {quantity(target.heap_bytes)}"
    volume = f"volume {quantity(target.volume_bytes)} of {target.storage_class or 'the default class'}"
    nodes = f" on nodes {load.nodes}" if load.nodes else ""
    image = f"by {scenario.cluster.operator}" if scenario.cluster.operator else target.image
    return f"pods: brokers {image}, {size}, {volume}; load {load.image}{nodes}"


def _impossible(plan: Plan) -> Iterator[str]:
    """What the plan asks for that pods cannot be made to do; each scenario's own is judged with its objects."""
    if plan.explain_blocks:
        yield "what limits is told by limiting hosts (explainBlocks), and nodes are what they are"
    if len({scenario.cluster.operator for scenario in plan.scenarios}) > 1:
        yield "its scenarios have different operators, and so different versions of Kafka: a run has one"
    if plan.cpu_samples_hz:
        yield "perf looks at a whole machine (cpuSamplesHz), and pods may not"
    for scenario in plan.scenarios:
        if scenario.gateways:
            behind = ", ".join(cluster.name for cluster in scenario.gateways)
            yield (
                f"scenario {scenario.name}: {behind} is behind a gateway, which nobody reads there, and through which "
                "no way can be timed"
            )
        if scenario.cluster.client_cpus:
            yield f"scenario {scenario.name}: clientCpus reserves CPUs of the lab; here it is --client-nodes"

"""A plan's topology in Kubernetes: each of its clusters is one of Kubernetes, and Kafka is stretched over them. Pure.

Each has the objects of a scenario with its own brokers alone, in a namespace of the same name, and a service for each
broker, wherever that is. A mesh of several clusters takes services of one name and namespace for one and the same, and
knows who serves them where: so brokers find each other by the same names in all of them, controllers included, whose
port is in the mesh here. Without such a mesh nobody resolves these names beyond their own cluster.

What lies between the clusters is what it is: a round trip is said by the plan, and not made.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.backends.kubernetes.manifest import WORKLOAD
from meshmark.data_plane import BROKER_BROKER
from meshmark.plan import Scenario
from meshmark.topology import Link, MeshCluster

POD_NAME = "statefulset.kubernetes.io/pod-name"
"""A label that a StatefulSet gives its pods."""
PROBE_PORT = 5203
"""Outside the mesh, and nothing listens there: that the other kernel refuses tells that it is reached, and when."""
BROKERS_MOST = 9


def brokers_of(scenario: Scenario, cluster: str) -> range:
    """Numbers of the brokers of one of the topology's clusters; of all where there is none."""
    topology = scenario.cluster.topology
    if not topology:
        return range(1, scenario.cluster.brokers + 1)
    return topology.brokers(cluster)


def clients_of(scenario: Scenario, cluster: str) -> range:
    """The same of load pods."""
    topology = scenario.cluster.topology
    if not topology:
        return range(1, scenario.cluster.clients + 1)
    return topology.clients(cluster)


def stranger_of(scenario: Scenario, cluster: str) -> int:
    """The number of its pod outside the mesh."""
    names = [each.name for each in scenario.cluster.topology.clusters] or [cluster]
    return names.index(cluster) + 1


def in_cluster(cluster: str, name: str) -> str:
    """Of what has a name in each of them."""
    return f"{cluster}/{name}" if cluster else name


def services_of(scenario: Scenario) -> tuple[str, ...]:
    """Names of brokers that have a service of their own: all in a topology, none without."""
    brokers = scenario.cluster.brokers if scenario.cluster.topology else 0
    return tuple(f"{WORKLOAD}-{number}" for number in range(1, brokers + 1))


def service_file(broker: str) -> str:
    return f"service-{broker}.yaml"


def rule_file(broker: str) -> str:
    return f"destination-rule-{broker}.yaml"


FILES = tuple(
    name(f"{WORKLOAD}-{number}") for name in (service_file, rule_file) for number in range(1, BROKERS_MOST + 1)
)


def network(cluster: MeshCluster) -> str:
    """As the mesh calls it: clusters of one network reach each other's pods directly."""
    return f"meshmark-{cluster.name}" if cluster.gateway else "meshmark"


def inexpressible(scenario: Scenario, *, kafka: bool = True) -> Iterator[str]:
    """What of a topology cannot be had. Without `kafka` nobody asks for a broker by its name."""
    topology = scenario.cluster.topology
    plane = scenario.data_plane
    if kafka and (plane.mesh != "istio" or not (plane.has_sidecar("broker") and plane.carries(BROKER_BROKER))):
        yield (
            f"with the data plane {plane} nobody resolves the brokers' names in other clusters; istio "
            "and istio-mtls have a mesh that does"
        )
    for cluster in topology.clusters:
        if not cluster.brokers:
            yield f"the cluster {cluster.name} of its topology has no brokers"
    for link in topology.links:
        if told := ", ".join(_made(link)):
            yield f"the link {link.name} says {told}, and what lies between clusters is what it is"


def _made(link: Link) -> Iterator[str]:
    """What a lab makes of a link beside its distance."""
    ways = link.ways()
    if any(way.jitter_s for way in ways):
        yield "jitterMs"
    if any(way.loss for way in ways):
        yield "loss"
    if any(way.bandwidth_bytes_s is not None for way in ways):
        yield "bandwidthBytesS"
    if link.flap.down_seconds:
        yield "flap"

"""What carries traffic in ambient mode and is in no pod of ours: the ztunnel of each node, and the waypoint.

Their counters are asked for at their pods' addresses, by the agent of the pod outside the mesh. They have no port and
no pod, only workloads, and go on from scenario to scenario: so all is told by what they grew by. To find ztunnel's
pods takes the right to list pods in Istio's own namespace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

from meshmark.backends.kubernetes import evidence, meshes, state
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.rights import ISTIO_SYSTEM
from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.backends.kubernetes.survey import ZTUNNEL
from meshmark.data_plane import DataPlane
from meshmark.errors import ClusterUnreachable, ComponentFailed
from meshmark.probes import istio_tcp
from meshmark.probes.istio_tcp import BROKER, CLIENT, DESTINATION, SOURCE, Flow, Passed
from meshmark.record import Counters, Proof

T = TypeVar("T")
OF_WAYPOINT = {"gateway.networking.k8s.io/gateway-name": meshes.WAYPOINT}
HOST = "ztunnel"
"""Of proofs: of all nodes together."""
COUNTED_S = 15.0
"""A waypoint's Envoy counts a connection within five seconds of its begin, or at its end."""
POLL_S = 0.5
MESH = (CLIENT, BROKER, meshes.WAYPOINT)
"""Workloads that may open connections to brokers; the one outside is counted, too, when it is refused."""

Counted = Mapping[str, Mapping[Flow, Passed]]
"""By who counts: the ztunnels of all nodes, waypoints."""


class NodeProxies:
    """Those that serve pods on these nodes; `asker` is in a pod outside the mesh. Raises ComponentFailed where one is
    not there, or does not answer."""

    edges_only = True

    def __init__(self, api: Api, plane: DataPlane, namespace: str, nodes: Collection[str], asker: AgentLink) -> None:
        self._plane, self._namespace, self._asker = plane, namespace, asker
        self.addresses = _by_node(api.find(POD, ISTIO_SYSTEM, ZTUNNEL), nodes)
        self._waypoints: tuple[str, ...] = ()
        if meshes.has_waypoint(plane):
            self._waypoints = tuple(map(_address, _ready(api.find(POD, namespace, OF_WAYPOINT))))
            if not self._waypoints:
                raise ComponentFailed(
                    f"no pod of the waypoint is ready in the namespace {namespace}",
                    component=meshes.WAYPOINT,
                    hint="Istio makes it of the Gateway `waypoint`; `meshmark up` shows the same and keeps it.",
                )

    def read(self) -> Counters:
        """What ztunnels carried, as `meshmark.cluster.Probe`; at edges alone, since they are what is measured."""
        with suppress(ComponentFailed, ClusterUnreachable):  # the testbed's `check` tells
            return dict(self._asker.ask("ztunnels", addresses=self.addresses, namespace=self._namespace))
        return {}

    def versions(self) -> dict[str, str]:
        """By node, as each ztunnel says it."""
        return {node: self._page(address, istio_tcp.version) for node, address in self.addresses.items()}

    def counted(self) -> Counted:
        """Since the proxies started."""
        found = {HOST: self._sum(self.addresses.values())}
        return {**found, meshes.WAYPOINT: self._sum(self._waypoints)} if self._waypoints else found

    def proofs(self, before: Counted, by_clients: int, by_brokers: int) -> tuple[Proof, ...]:
        """Of what clients, and brokers, have asked brokers since then: so many connections at the least. Waits until
        they are counted, for a while; one that does not answer once is asked again."""
        end = time.monotonic() + COUNTED_S
        while True:
            over = time.monotonic() > end
            try:
                found = tuple(self._judged(before, self.counted(), by_clients, by_brokers))
            except ComponentFailed:
                if over:
                    raise
            else:
                if over or all(proof.holds for proof in found):
                    return found
            time.sleep(POLL_S)

    def _judged(self, before: Counted, now: Counted, by_clients: int, by_brokers: int) -> Iterator[Proof]:
        try:
            grown = {who: istio_tcp.grown(before[who], found) for who, found in now.items()}
        except ValueError as error:
            yield Proof(name="ztunnel counts what it carries", host=HOST, holds=False, detail=str(error))
            return
        nodes = grown[HOST]
        for who, source, asked in (("load pods", CLIENT, by_clients), ("brokers", BROKER, by_brokers)):
            if asked:
                name = f"every connection that ztunnel carries from {who} to brokers is mutual TLS"
                yield _encrypted(name, nodes, asked, {"reporter": SOURCE, "source": source})
        name = "every connection that ztunnel hands to brokers is mutual TLS"
        yield _encrypted(name, nodes, by_clients + by_brokers, {"reporter": DESTINATION, "destination": BROKER})
        if self._waypoints:
            yield self._through(nodes, grown[meshes.WAYPOINT], by_clients + by_brokers)

    def _through(self, nodes: Mapping[Flow, Passed], waypoint: Mapping[Flow, Passed], asked: int) -> Proof:
        past = istio_tcp.total(nodes, reporter=SOURCE, destination=BROKER).opened
        ours = (istio_tcp.total(waypoint, reporter=istio_tcp.WAYPOINT, source=who).opened for who in (CLIENT, BROKER))
        forwarded = sum(ours)
        return Proof(
            name="every connection to brokers passes the waypoint",
            host=meshes.WAYPOINT,
            holds=forwarded >= asked > 0 == past,
            detail=f"of {asked} at the least it counts {forwarded:.0f} of load pods and brokers; "
            f"ztunnel carries {past:.0f} past it",
        )

    def _sum(self, addresses: Collection[str]) -> dict[Flow, Passed]:
        return istio_tcp.summed(self._page(address, self._flows) for address in addresses)

    def _flows(self, text: str) -> dict[Flow, Passed]:
        return istio_tcp.flows(text, self._namespace)

    def _page(self, address: str, read: Callable[[str], T]) -> T:
        port, path = istio_tcp.METRICS_PORT, istio_tcp.METRICS_PATH
        try:
            return evidence.page(self._asker, address, port, path, read)
        except ComponentFailed as error:
            raise ComponentFailed(
                f"what is counted at {address}:{port} cannot be read: {error.message}",
                component=HOST,
                hint="Pods of the scenario's namespace have to reach it; does a NetworkPolicy keep them away?",
            ) from None


def _encrypted(name: str, found: Mapping[Flow, Passed], asked: int, which: Mapping[str, str]) -> Proof:
    inside = {flow: passed for flow, passed in found.items() if flow.source in MESH}
    tls, plain = (istio_tcp.total(inside, **which, encrypted=encrypted).opened for encrypted in (True, False))
    return Proof(
        name=name,
        host=HOST,
        holds=tls >= asked > 0 == plain,
        detail=f"of {asked} at the least it counts {tls:.0f} with mutual TLS and {plain:.0f} without",
    )


def _by_node(pods: Collection[Body], nodes: Collection[str]) -> dict[str, str]:
    found = {pod["spec"].get("nodeName", ""): _address(pod) for pod in _ready(pods)}
    if absent := sorted(set(nodes) - found.keys()):
        raise ComponentFailed(
            f"no ztunnel is ready on {', '.join(absent)}, where pods of the scenario are",
            component=HOST,
            hint=f"It is looked for in the namespace {ISTIO_SYSTEM}, by the label app=ztunnel. "
            "`meshmark doctor --backend kubernetes` tells whether it runs.",
        )
    return {node: found[node] for node in sorted(nodes)}


def _ready(pods: Collection[Body]) -> list[Body]:
    return [pod for pod in pods if not state.problem_of(pod)]


def _address(pod: Body) -> str:
    return str((pod.get("status") or {}).get("podIP", ""))

"""Where brokers and clients are: clusters of a mesh, and the links between them. A part of the plan; pure.

A cluster is one of Kubernetes, as the mesh sees it: hosts that are close to each other, in one region. Kafka itself is
one cluster, stretched over them. Without a topology there is one cluster with everything.

Hosts are numbered through the clusters in their order: with 2 brokers in the first and 1 in the second, broker-3 is
the second's. A packet takes the path with the least RTT, over other clusters where that is shorter; paths are fixed,
so nothing goes another way while a link is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Annotated

from pydantic import Field

from meshmark.values import Model

TRUST_DOMAIN = "cluster.local"
"""Istio's default, and the only one here."""

ClusterName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,14}$")]
Share = Annotated[float, Field(ge=0, le=0.5)]
Milliseconds = Annotated[float, Field(ge=0, le=2_000)]
BytesPerSecond = Annotated[float, Field(ge=10_000, le=2**32 - 1)]
"""The most that netem's 32 bits hold (struct tc_netem_rate of linux/pkt_sched.h)."""


class MeshCluster(Model):
    """One cluster of the mesh."""

    name: ClusterName
    brokers: int = Field(0, ge=0, le=9, description="Kafka brokers here")
    controllers: int | None = Field(
        None, ge=0, le=9, description="so many of these brokers, the first ones, are controllers as well; null: all"
    )
    passive: bool = Field(False, description="its brokers hold copies and lead no partition")
    clients: int = Field(0, ge=0, le=9, description="hosts that load workers run on")
    rack: str = Field("", max_length=48, description="broker.rack of its brokers, the region; empty: its name")
    gateway: bool = Field(
        False,
        description="other clusters reach its brokers through an east-west gateway alone; false: directly",
    )
    trust_domain: str = Field(
        TRUST_DOMAIN, max_length=253, description="of its identities; a mesh has one root of trust, so it is the same"
    )

    @property
    def region(self) -> str:
        return self.rack or self.name

    @property
    def voters(self) -> int:
        return self.brokers if self.controllers is None else self.controllers


class Backward(Model):
    """What differs in a link's other direction."""

    jitter_ms: Milliseconds | None = Field(None, description="null: as forward")
    loss: Share | None = Field(None, description="null: as forward")
    bandwidth_bytes_s: BytesPerSecond | None = Field(None, description="null: as forward")


class Flap(Model):
    """How a link goes down and comes back while a trial's load is offered, again and again."""

    up_seconds: float = Field(5, gt=0, le=3_600, description="before it goes down")
    down_seconds: float = Field(0, ge=0, le=600, description="nothing passes, in either direction; 0: it stays up")


class Link(Model):
    """What lies between two clusters. Loss, jitter and bandwidth are those of each direction."""

    ends: tuple[ClusterName, ...] = Field(min_length=2, max_length=2, description="two clusters")
    rtt_ms: Milliseconds = Field(description="there and back; half of it in each direction")
    jitter_ms: Milliseconds = Field(
        0, description="a packet takes longer or shorter by up to so much, evenly; packets keep their order"
    )
    loss: Share = Field(0, description="share of packets of up to 1,500 bytes that do not arrive")
    bandwidth_bytes_s: BytesPerSecond | None = Field(None, description="bytes of IP packets; null: without limit")
    back: Backward = Field(Backward(), description="of the direction from the second to the first, what differs")
    flap: Flap = Field(Flap(), description="goes down now and then while trials' load is offered")

    @property
    def name(self) -> str:
        return "-".join(self.ends)

    def other(self, end: str) -> str:
        return self.ends[1] if end == self.ends[0] else self.ends[0]

    def ways(self) -> tuple[Way, Way]:
        """Forward and back."""
        forward = Way(
            delay_s=self.rtt_ms / 2e3,
            jitter_s=self.jitter_ms / 1e3,
            loss=self.loss,
            bandwidth_bytes_s=self.bandwidth_bytes_s,
        )
        back = self.back
        other = {
            "jitter_s": None if back.jitter_ms is None else back.jitter_ms / 1e3,
            "loss": back.loss,
            "bandwidth_bytes_s": back.bandwidth_bytes_s,
        }
        return forward, forward.model_copy(update={key: value for key, value in other.items() if value is not None})


class Way(Model):
    """One direction of a link, in base units."""

    delay_s: float
    jitter_s: float
    loss: float
    bandwidth_bytes_s: float | None


class Topology(Model):
    """Clusters and links; empty: one cluster without a name."""

    clusters: tuple[MeshCluster, ...] = Field((), max_length=9)
    links: tuple[Link, ...] = Field((), max_length=36)

    def __bool__(self) -> bool:
        return bool(self.clusters)

    def cluster_of(self, kind: str, number: int) -> MeshCluster:
        """Of host `KIND-NUMBER`; `kind` is broker or client. ValueError if there is no such host."""
        for cluster in self.clusters:
            count = cluster.brokers if kind == "broker" else cluster.clients
            if number <= count:
                return cluster
            number -= count
        raise ValueError(f"no cluster has a {kind} of that number")

    def controllers(self) -> tuple[int, ...]:
        """Numbers of the brokers that are controllers as well."""
        return tuple(number for first, cluster in self._numbered() for number in range(first, first + cluster.voters))

    def leading(self) -> tuple[int, ...]:
        """Numbers of the brokers that may lead partitions."""
        return tuple(
            number
            for first, cluster in self._numbered()
            if not cluster.passive
            for number in range(first, first + cluster.brokers)
        )

    def gateways(self) -> tuple[MeshCluster, ...]:
        """Clusters that others reach through a gateway."""
        return tuple(cluster for cluster in self.clusters if cluster.gateway)

    def brokers(self, name: str) -> range:
        """Numbers of the brokers of a cluster; of none that there is not."""
        return next((range(at, at + each.brokers) for at, each in self._numbered() if each.name == name), range(0))

    def clients(self, name: str) -> range:
        """Numbers of the client hosts of a cluster; of none that there is not."""
        first = 1
        for cluster in self.clusters:
            if cluster.name == name:
                return range(first, first + cluster.clients)
            first += cluster.clients
        return range(0)

    def flapping(self) -> tuple[Link, ...]:
        """Links that go down now and then."""
        return tuple(link for link in self.links if link.flap.down_seconds)

    def _numbered(self) -> Iterator[tuple[int, MeshCluster]]:
        """Each cluster with the number of its first broker."""
        first = 1
        for cluster in self.clusters:
            yield first, cluster
            first += cluster.brokers

    def way(self, first: str, second: str) -> Way:
        """What lies between two clusters, in that direction: of all links of the path."""
        here, ways = first, []
        for link in self.path(first, second):
            forward, back = link.ways()
            ways.append(forward if here == link.ends[0] else back)
            here = link.other(here)
        limits = [way.bandwidth_bytes_s for way in ways if way.bandwidth_bytes_s is not None]
        return Way(
            delay_s=sum(way.delay_s for way in ways),
            jitter_s=sum(way.jitter_s for way in ways),
            loss=1 - prod(1 - way.loss for way in ways),
            bandwidth_bytes_s=min(limits, default=None),
        )

    def farthest_s(self) -> float:
        """The longest round trip between two clusters, as asked for; 0 where there is only one."""
        pairs = combinations([cluster.name for cluster in self.clusters], 2)
        there_and_back = ((self.way(*pair), self.way(*reversed(pair))) for pair in pairs)
        return max((there.delay_s + back.delay_s for there, back in there_and_back), default=0.0)

    def between(self, first: str, second: str) -> tuple[str, ...]:
        """The clusters that a packet passes on its way."""
        passed = [first]
        for link in self.path(first, second):
            passed.append(link.other(passed[-1]))
        return tuple(passed[1:-1])

    def path(self, first: str, second: str) -> tuple[Link, ...]:
        """The links from one cluster to another, nearest first: least RTT, then fewest links, then names. The way back
        is the same. ValueError where there is none."""
        low, high = sorted((first, second))
        found = _shortest(self.links, low, high)
        if found is None:
            raise ValueError(f"no path between {first} and {second}")
        return found if low == first else tuple(reversed(found))


def _shortest(links: Sequence[Link], first: str, second: str) -> tuple[Link, ...] | None:
    """By extending the best path that is not extended yet (Dijkstra)."""
    beyond = neighbours(links)
    waiting: list[tuple[float, int, tuple[str, ...], tuple[Link, ...]]] = [(0.0, 0, (first,), ())]
    done: set[str] = set()
    while waiting:
        waiting.sort(key=lambda each: each[:3])
        rtt_ms, count, names, taken = waiting.pop(0)
        here = names[-1]
        if here == second:
            return taken
        if here in done:
            continue
        done.add(here)
        for there, link in beyond.get(here, ()):
            if there not in done:
                waiting.append((rtt_ms + link.rtt_ms, count + 1, (*names, there), (*taken, link)))
    return None


def neighbours(links: Sequence[Link]) -> Mapping[str, Sequence[tuple[str, Link]]]:
    """Cluster -> those it has a link to."""
    found: dict[str, list[tuple[str, Link]]] = {}
    for link in links:
        for end in link.ends:
            found.setdefault(end, []).append((link.other(end), link))
    return found


def reachable(links: Sequence[tuple[str, str]], start: str) -> set[str]:
    """Clusters to which there is a path, the first one included."""
    found, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for ends in links:
            if here in ends:
                there = ends[1] if ends[0] == here else ends[0]
                if there not in found:
                    found.add(there)
                    waiting.append(there)
    return found


def contradictions(topology: Topology, brokers: int, clients: int) -> Iterator[str]:
    """What cannot be, in words: one topology against itself and against the numbers of brokers and clients."""
    names = [cluster.name for cluster in topology.clusters]
    if len(set(names)) < len(names):
        yield "clusters must have different names"
    if any(cluster.trust_domain != TRUST_DOMAIN for cluster in topology.clusters):
        yield f"all clusters of a mesh must have one root of trust, {TRUST_DOMAIN}"
    if any(cluster.gateway and not cluster.brokers for cluster in topology.clusters):
        yield "a gateway leads to brokers: a cluster without brokers has none"
    for link in topology.links:
        if not set(link.ends) <= set(names) or len(set(link.ends)) < 2:
            yield f"the link {link.name} must join two of the clusters"
        if max(way.jitter_s for way in link.ways()) > link.rtt_ms / 2e3:
            yield f"jitterMs of the link {link.name} is above half of its rttMs"
    pairs = [frozenset(link.ends) for link in topology.links]
    if len(set(pairs)) < len(pairs):
        yield "two clusters have one link at most"
    elif len({link.name for link in topology.links}) < len(pairs):
        yield "links are named after their ends, and two would have one name; rename a cluster"
    if names and reachable([(link.ends[0], link.ends[1]) for link in topology.links], names[0]) < set(names):
        yield "there must be a path between any two clusters"
    if len(names) > 1 and sum(bool(cluster.brokers or cluster.clients) for cluster in topology.clusters) == 1:
        yield "two clusters at least must have hosts, or no link has anything to carry"
    if any(cluster.voters > cluster.brokers for cluster in topology.clusters):
        yield "controllers are brokers as well: a cluster has as many of these at least"
    if names and not topology.controllers():
        yield "one broker at least must be a controller"
    if names and not topology.leading():
        yield "one broker at least must lead: not every cluster with brokers can be passive"
    for what, told, held in (
        ("brokers", brokers, sum(cluster.brokers for cluster in topology.clusters)),
        ("clients", clients, sum(cluster.clients for cluster in topology.clusters)),
    ):
        if names and told != held:
            yield f"the clusters have {held} {what} together, cluster.{what} says {told}"

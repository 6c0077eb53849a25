"""Data planes, one row for each: where proxies are, what passes them, who encrypts which hop. Pure.

Names are Istio's and Linkerd's own. All else in meshmark asks for the properties, never for a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from meshmark.errors import UsageError

CLIENT_BROKER, BROKER_BROKER, CONTROLLER = "client-broker", "broker-broker", "controller"
BETWEEN_HOSTS = (CLIENT_BROKER, BROKER_BROKER)
"""Hops that data planes differ in."""
HOPS = (*BETWEEN_HOSTS, CONTROLLER)
AT_CONTROLLERS = "at the controllers' port"
"""How proofs end that are of that hop, where a mesh carries it although the data plane by itself does not."""
MADE_TLS = "every connection that its sidecar made to Kafka is TLS"
TAKEN_TLS = "every connection that its sidecar took for Kafka is TLS"
CONTROLLERS_TLS = "every connection that its sidecar made to controllers is TLS"
REPLICATION_TLS = "every connection that its sidecar made to the port of replication is TLS"
NO_PLAINTEXT = "a plaintext client outside the mesh gets no answer"
NO_CERTIFICATE = "a TLS client without a certificate gets no answer"
"""What proofs of a mesh's mTLS show."""

Mesh = Literal["none", "istio", "ambient", "linkerd"]
"""`istio` is its sidecars; ambient mode is Istio's too, and shares nothing with them."""
Place = Literal["client", "broker", "node"]
"""Where a proxy is: beside each client, beside each broker, or one for all pods of a node."""
NetworkPath = Literal["direct", "client-sidecars", "sidecars", "sidecars-mtls", "ztunnel", "waypoint", "linkerd"]
"""What a TCP flow from a client to a broker passes."""
KAFKA, ENVOY, ZTUNNEL, WAYPOINT, LINKERD = "kafka", "envoy", "ztunnel", "ztunnel and waypoint", "linkerd-proxy"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """`carries`: hops that pass the proxies at their ends; others go past them. `encrypted_by`: hop -> who."""

    mesh: Mesh = "none"
    proxies: tuple[Place, ...] = ()
    carries: tuple[str, ...] = ()
    encrypted_by: Mapping[str, str] = field(default_factory=dict)
    path: NetworkPath = "direct"
    backends: tuple[str, ...]


_EVERY_BACKEND = ("lab", "kubernetes", "simulated")
_NO_MESH = _Row(backends=_EVERY_BACKEND)


class DataPlane(StrEnum):
    """Who encrypts and who forwards between two hosts."""

    row: _Row

    def __new__(cls, name: str, row: _Row = _NO_MESH) -> DataPlane:
        made = str.__new__(cls, name)
        made._value_ = name
        made.row = row
        return made

    PLAIN = "plain"
    KAFKA_TLS = "kafka-tls", _Row(encrypted_by=dict.fromkeys(BETWEEN_HOSTS, KAFKA), backends=_EVERY_BACKEND)
    ISTIO = (
        "istio",
        _Row(
            mesh="istio", proxies=("client", "broker"), carries=BETWEEN_HOSTS, path="sidecars", backends=_EVERY_BACKEND
        ),
    )
    ISTIO_MTLS = (
        "istio-mtls",
        _Row(
            mesh="istio",
            proxies=("client", "broker"),
            carries=BETWEEN_HOSTS,
            encrypted_by=dict.fromkeys(BETWEEN_HOSTS, ENVOY),
            path="sidecars-mtls",
            backends=_EVERY_BACKEND,
        ),
    )
    ISTIO_CLIENTS = (
        "istio-clients",
        _Row(
            mesh="istio",
            proxies=("client",),
            carries=(CLIENT_BROKER,),
            path="client-sidecars",
            backends=_EVERY_BACKEND,
        ),
    )
    ISTIO_MTLS_EXCLUDE_REPLICATION = (
        "istio-mtls-exclude-replication",
        _Row(
            mesh="istio",
            proxies=("client", "broker"),
            carries=(CLIENT_BROKER,),
            encrypted_by={CLIENT_BROKER: ENVOY},
            path="sidecars-mtls",
            backends=_EVERY_BACKEND,
        ),
    )
    AMBIENT = (
        "ambient",
        _Row(
            mesh="ambient",
            proxies=("node",),
            carries=HOPS,
            encrypted_by=dict.fromkeys(HOPS, ZTUNNEL),
            path="ztunnel",
            backends=("kubernetes",),
        ),
    )
    AMBIENT_WAYPOINT = (
        "ambient-waypoint",
        _Row(
            mesh="ambient",
            proxies=("node",),
            carries=HOPS,
            encrypted_by={**dict.fromkeys(BETWEEN_HOSTS, WAYPOINT), CONTROLLER: ZTUNNEL},
            path="waypoint",
            backends=("kubernetes",),
        ),
    )
    LINKERD = (
        "linkerd",
        _Row(
            mesh="linkerd",
            proxies=("client", "broker"),
            carries=BETWEEN_HOSTS,
            encrypted_by=dict.fromkeys(BETWEEN_HOSTS, LINKERD),
            path="linkerd",
            backends=("kubernetes",),
        ),
    )
    LINKERD_SKIP = "linkerd-skip", _Row(mesh="linkerd", proxies=("client", "broker"), backends=("kubernetes",))

    @property
    def mesh(self) -> Mesh:
        return self.row.mesh

    @property
    def backends(self) -> tuple[str, ...]:
        """Those that can bring it up."""
        return self.row.backends

    @property
    def path(self) -> NetworkPath:
        return self.row.path

    @property
    def sidecars(self) -> bool:
        """Is there a proxy beside any client or broker?"""
        return self.has_sidecar("client") or self.has_sidecar("broker")

    def has_sidecar(self, place: Place) -> bool:
        return place in self.row.proxies

    def carries(self, hop: str) -> bool:
        """Does what is sent over this hop pass the proxies at its ends?"""
        return hop in self.row.carries

    @property
    def encrypted_by(self) -> Mapping[str, str]:
        """Hop -> who, in the order of HOPS, as it is made; a run proves it."""
        return {hop: self.row.encrypted_by[hop] for hop in HOPS if hop in self.row.encrypted_by}

    def encrypts(self, hop: str) -> bool:
        return hop in self.row.encrypted_by

    @property
    def mtls(self) -> bool:
        """Does a mesh encrypt what clients and brokers exchange?"""
        return self.mesh != "none" and self.encrypts(CLIENT_BROKER)

    @property
    def kafka_tls(self) -> bool:
        """Does Kafka itself encrypt?"""
        return self.mesh == "none" and self.encrypts(CLIENT_BROKER)

    @property
    def gateways(self) -> bool:
        """Can brokers be behind a gateway? It tells them apart by the name that mTLS of sidecars sends first."""
        return self.mesh == "istio" and all(map(self.encrypts, BETWEEN_HOSTS))

    @property
    def own_replication(self) -> bool:
        """Do brokers replicate over a listener of their own, past the sidecars that clients reach them through?"""
        return self.has_sidecar("broker") and self.carries(CLIENT_BROKER) and not self.carries(BROKER_BROKER)

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        """As it is made; a run proves it."""
        return tuple(self.encrypted_by)

    def by(self, hops: Iterable[str]) -> dict[str, str]:
        """Hop -> who encrypts it: what the mesh carries beside those above, as it does between brokers."""
        told = self.row.encrypted_by
        return {hop: told.get(hop) or told[BROKER_BROKER] for hop in hops}

    @property
    def plain_hops(self) -> tuple[str, ...]:
        """Between an application and its own proxy nothing is encrypted."""
        local = ("application-sidecar",) if self.sidecars else ("application-ztunnel",) if self.row.proxies else ()
        return (*local, *(hop for hop in HOPS if not self.encrypts(hop)))


def require(planes: Iterable[DataPlane], backend: str) -> None:
    """Raises UsageError with those that the backend cannot bring up, and who can."""
    absent = list(dict.fromkeys(plane for plane in planes if backend not in plane.backends))
    if absent:
        told = "; ".join(f"{plane} (there: {', '.join(plane.backends)})" for plane in absent)
        raise UsageError(
            f"the backend {backend} has no data plane {told}",
            hint=f"Take another with --backend, or leave these scenarios out; {backend} has: "
            + ", ".join(plane for plane in DataPlane if backend in plane.backends),
        )

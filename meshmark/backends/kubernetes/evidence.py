"""What shows that traffic is encrypted, or is not, as the scenario says: answers, refusals, and sidecars' counters.

A pod outside the mesh asks brokers what somebody there gets; load pods, and brokers' pods among each other, ask the
same from within. Of each sidecar its own counters say how many of its connections to Kafka's port are TLS: Envoy's by
handshakes, Linkerd's by labels. Those of ambient mode are no pod's (`node_proxies.py`). A refusal means something only
where a connection is accepted, and beside the same question that is answered. Where the controllers' port is in the
mesh, brokers' pods (a load pod of one that is alone) and who is outside ask there, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.config import TLS_DIRECTORY
from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.data_plane import (
    AT_CONTROLLERS,
    BROKER_BROKER,
    CLIENT_BROKER,
    CONTROLLER,
    CONTROLLERS_TLS,
    MADE_TLS,
    NO_CERTIFICATE,
    NO_PLAINTEXT,
    REPLICATION_TLS,
    TAKEN_TLS,
    DataPlane,
    Mesh,
)
from meshmark.errors import ComponentFailed
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT, REPLICATION_PORT
from meshmark.probes import linkerd
from meshmark.record import Proof

T = TypeVar("T")
_OUTBOUND = r"cluster\.outbound\|{port}\|.*\.(upstream_cx_total|upstream_cx_connect_fail|ssl\.handshake)"
SERVER_INFO = "/server_info"
CONFIGURATION = "/config_dump"
AUTHORITY = f"{TLS_DIRECTORY}/{manifest.TLS_AUTHORITY}"
LOOPBACK, ENVOY_PORT = "127.0.0.1", 15_000
REFUSES: dict[Mesh, str] = {"istio": "STRICT", "ambient": "STRICT", "linkerd": "require-identity"}
"""By what the mesh calls it, that who is outside is refused."""
FIRST = 80
"""Letters of what cannot be read that are told."""
SETTLED_S = 5.0
"""A handshake over some round trips, and a sidecar that counts it, may take as long."""
POLL_S = 0.5
_MADE = {BROKER_PORT: MADE_TLS, CONTROLLER_PORT: CONTROLLERS_TLS, REPLICATION_PORT: REPLICATION_TLS}
OWN_PORTS = {BROKER_BROKER: "the port of replication", CONTROLLER: "the port of controllers"}
ANYBODY = ""
"""In place of an authority: any server is taken, and no certificate shown."""


class Place(NamedTuple):
    """A broker as it is asked."""

    host: str
    address: str
    name: str
    """By which its certificate knows it."""
    within: str = ""
    """Where it is asked from inside the mesh; empty: at its address."""
    port: int = BROKER_PORT

    @property
    def at(self) -> str:
        """In words, where that is not Kafka's port."""
        return f" {AT_CONTROLLERS}" if self.port == CONTROLLER_PORT else ""


class Connections(NamedTuple):
    """Of a sidecar, out to a port: those that were made, and of them those with TLS."""

    made: int
    encrypted: int


def prove(
    plane: DataPlane,
    brokers: Sequence[Place],
    agents: Mapping[str, AgentLink],
    clients: Sequence[AgentLink],
    strangers: Mapping[str, AgentLink],
    controllers: Sequence[Place] = (),
) -> tuple[Proof, ...]:
    """All proofs of a data plane; `agents` are the brokers', by host, `clients` those of all load pods, and
    `strangers`, by broker, who asks it from outside the mesh. `controllers` are those whose port is in the mesh.
    Sidecars are counted last: each has sent something by then, if there is anywhere to send it. Raises ComponentFailed
    where one does not answer."""
    found: list[Proof] = []
    behind = plane.has_sidecar("broker") or plane.has_sidecar("node")
    among = [*agents.values()] if len(brokers) > 1 and behind else []
    inside = [*clients, *among]
    for broker in brokers:
        if plane.kafka_tls:
            for client in clients:
                found += _kafka_tls(broker, client)
        elif stranger := strangers.get(broker.host):
            found += _mesh(plane, broker, inside, stranger)
    for controller in controllers:
        found += _mesh(plane, controller, among or clients, strangers[controller.host])
    if plane.sidecars:
        voters = {controller.host for controller in controllers}
        found += [_settled(partial(_counted, plane, agent, BROKER_PORT)) for agent in inside]
        if plane.mesh == "linkerd" and plane.carries(CLIENT_BROKER):
            found += [_settled(partial(_taken_by_linkerd, agent)) for agent in agents.values()]
        found += [
            _settled(partial(_counted, plane, agent, CONTROLLER_PORT)) for agent in among if voters - {agent.host}
        ]
    return tuple(found)


def own_tls(broker: Place, hop: str, agent: AgentLink) -> tuple[Proof, ...]:
    """That the place's port, at which an operator's brokers are reached over this hop, speaks TLS of Kafka's and
    nothing else; asked by the broker's own agent, past any proxy, since others may be kept from it."""
    found, detail = _shown(broker, agent)
    proofs = (
        Proof(name=f"{OWN_PORTS[hop]} shows a certificate of Kafka's", host=broker.host, holds=found, detail=detail),
        _refused(f"a plaintext client gets no answer at {OWN_PORTS[hop]}", broker, agent),
    )
    return tuple(proof.model_copy(update={"hop": hop}) for proof in proofs)


def carried(plane: DataPlane, brokers: Sequence[Place], hop: str, among: Sequence[AgentLink]) -> tuple[Proof, ...]:
    """That what brokers send to this port of the others passes their sidecars, and is TLS of the mesh's if that has
    mTLS, whatever is inside. Each asks the others before its sidecar is counted; one that is alone sends nothing."""
    proofs: list[Proof] = []
    for agent in among:
        others = [_shown(broker, agent) for broker in brokers if broker.host != agent.host]
        if others:
            name = f"{OWN_PORTS[hop]} of every other broker shows a certificate of Kafka's through its sidecar"
            holds, details = all(found for found, _ in others), "; ".join(detail for _, detail in others)
            proofs += [
                Proof(name=name, host=agent.host, holds=holds, detail=details),
                _settled(partial(_counted, plane, agent, brokers[0].port)),
            ]
    return tuple(proof.model_copy(update={"hop": hop}) for proof in proofs)


def _shown(broker: Place, agent: AgentLink) -> tuple[bool, str]:
    """Whether a certificate is, and which."""
    shown = str(agent.ask("shown", address=broker.address, port=broker.port))
    certificate = re.fullmatch(r"[0-9a-f]{64}", shown)
    return certificate is not None, f"{agent.host}: {f'SHA-256 {shown}' if certificate else shown}"


def statistics(port: int) -> str:
    """The page of Envoy's with its connections out to that port."""
    return f"/stats?filter={quote(f'^{_OUTBOUND.format(port=port)}$', safe='')}"


def connections(text: str, port: int = BROKER_PORT) -> Connections:
    """Of Envoy's statistics, as that page has them."""
    sums = {"upstream_cx_total": 0, "upstream_cx_connect_fail": 0, "handshake": 0}
    for line in text.splitlines():
        name, _, value = line.rpartition(": ")
        if re.fullmatch(_OUTBOUND.format(port=port), name) and value.isdecimal():
            sums[name.rpartition(".")[2]] += int(value)
    return Connections(made=sums["upstream_cx_total"] - sums["upstream_cx_connect_fail"], encrypted=sums["handshake"])


def envoy(agent: AgentLink, path: str) -> str:
    """What the pod's Envoy answers."""
    return str(agent.ask("page", address=LOOPBACK, port=ENVOY_PORT, path=path))


def sidecar_configuration(mesh: Mesh, agent: AgentLink, service: str = manifest.SERVICE) -> dict[str, str]:
    """By file: a sidecar's version, and of Envoy what it was told about Kafka. Linkerd's is told by annotations."""
    if mesh == "linkerd":
        return {f"{agent.host}.linkerd.version": f"{_linkerd(agent, linkerd.version)}\n"}
    return {
        f"{agent.host}.envoy.version": f"{envoy_version(envoy(agent, SERVER_INFO))}\n",
        f"{agent.host}.envoy.json": envoy_configuration(envoy(agent, CONFIGURATION), service),
    }


def envoy_version(text: str) -> str:
    """Of Envoy's `/server_info`: `COMMIT/VERSION/...`."""
    return str(json.loads(text)["version"]).split("/")[1]


def envoy_configuration(text: str, service: str = manifest.SERVICE) -> str:
    """Of Envoy's whole configuration what concerns Kafka: what it accepts, and its way to brokers, by the service that
    they have. It has no keys."""
    accepts: list[Any] = []
    sends: list[Any] = []
    for part in json.loads(text)["configs"]:
        for entry in part.get("dynamic_listeners", []):
            listener = entry.get("active_state", {}).get("listener", {})
            if listener.get("name") == "virtualInbound":
                accepts.append(listener)
        sends += [entry["cluster"] for entry in part.get("dynamic_active_clusters", [])]
    to_kafka = re.compile(rf"outbound\|{BROKER_PORT}\|.*\|({service}|{manifest.WORKLOAD}-\d)\..*")
    sends = [cluster for cluster in sends if to_kafka.fullmatch(str(cluster.get("name", "")))]
    return json.dumps({"accepts": accepts, "sends": sends}, indent=1, sort_keys=True) + "\n"


def _kafka_tls(broker: Place, client: AgentLink) -> Iterator[Proof]:
    yield _refused("a plaintext client gets no answer", broker, client)
    yield _answered(
        "a client that verifies the broker's certificate and name gets an answer over TLS 1.3",
        broker,
        client,
        authority=AUTHORITY,
        server_name=broker.name,
    )


def _mesh(plane: DataPlane, broker: Place, inside: Sequence[AgentLink], stranger: AgentLink) -> Iterator[Proof]:
    who = "a client behind a sidecar" if plane.sidecars else "a client in the mesh"
    within = broker._replace(address=broker.within or broker.address)
    for agent in inside:
        if agent.host != broker.host:
            yield _answered(f"{who} gets an answer", within, agent)
    if plane.mtls:
        by = REFUSES[plane.mesh]
        yield _refused(f"{by}: {NO_PLAINTEXT}", broker, stranger)
        yield _refused(f"{by}: {NO_CERTIFICATE}", broker, stranger, authority=ANYBODY)
    else:
        yield _answered("a plaintext client outside the mesh gets an answer", broker, stranger)
    if plane.own_replication:
        yield _answered(
            f"a plaintext client outside the mesh gets an answer at port {REPLICATION_PORT}, which the mesh excludes",
            broker._replace(port=REPLICATION_PORT),
            stranger,
        ).model_copy(update={"hop": BROKER_BROKER})


def _settled(read: Callable[[], Proof]) -> Proof:
    """What a sidecar counts, read again until it holds: a connection is counted before its handshake is over."""
    end = time.monotonic() + SETTLED_S
    while not (proof := read()).holds and time.monotonic() < end:
        time.sleep(POLL_S)
    return proof


def _counted(plane: DataPlane, agent: AgentLink, port: int) -> Proof:
    if plane.mesh == "linkerd":
        return _counted_by_linkerd(plane, agent)
    found = connections(envoy(agent, statistics(port)), port)
    if plane.mtls:
        name, holds = _MADE[port], 0 < found.made <= found.encrypted
    else:
        name, holds = f"no{_MADE[port].removeprefix('every')}", found.made > 0 == found.encrypted
    return Proof(
        name=name,
        host=agent.host,
        holds=holds,
        detail=f"Envoy counts {found.made} connections and {found.encrypted} TLS handshakes",
    )


def _counted_by_linkerd(plane: DataPlane, agent: AgentLink) -> Proof:
    found = _connections(agent)
    if plane.carries(CLIENT_BROKER):
        name, holds = MADE_TLS, 0 < found.made == found.made_encrypted
    else:
        name, holds = "no connection to Kafka passes its sidecar", not any(found)
    return _by_linkerd(name, agent, found, holds=holds)


def _taken_by_linkerd(agent: AgentLink) -> Proof:
    """Of a broker: one that is refused is not counted."""
    found = _connections(agent)
    return _by_linkerd(TAKEN_TLS, agent, found, holds=0 < found.taken == found.taken_encrypted)


def _by_linkerd(name: str, agent: AgentLink, found: linkerd.Connections, *, holds: bool) -> Proof:
    return Proof(
        name=name,
        host=agent.host,
        holds=holds,
        detail=f"linkerd-proxy counts {found.made} connections that it made to port {BROKER_PORT}, "
        f"{found.made_encrypted} of them TLS, and {found.taken} that it took, {found.taken_encrypted} of them TLS",
    )


def _connections(agent: AgentLink) -> linkerd.Connections:
    return _linkerd(agent, lambda text: linkerd.connections(text, BROKER_PORT))


def _linkerd(agent: AgentLink, read: Callable[[str], T]) -> T:
    return page(agent, LOOPBACK, linkerd.METRICS_PORT, linkerd.METRICS_PATH, read)


def page(agent: AgentLink, address: str, port: int, path: str, read: Callable[[str], T]) -> T:
    """What `read` finds there. Raises ComponentFailed where nothing answers, or something that it cannot read."""
    text = str(agent.ask("page", address=address, port=port, path=path))
    try:
        return read(text)
    except ValueError as error:
        raise ComponentFailed(
            f"what {address}:{port}{path} answers to {agent.host} cannot be read: {error}; it begins with "
            f"{text[:FIRST].splitlines()[:1]}",
            component=agent.host,
            hint="Does something else than the mesh's proxy answer there, or is it of another version?",
        ) from None


def _answered(name: str, broker: Place, by: AgentLink, **how: str) -> Proof:
    answered, detail = by.ask("kafka", address=broker.address, port=broker.port, **how)
    return Proof(name=f"{name}{broker.at}", host=broker.host, holds=answered, detail=f"{by.host}: {detail}")


def _refused(name: str, broker: Place, by: AgentLink, **how: str) -> Proof:
    reached = by.ask("reach", address=broker.address, port=broker.port)
    answered, detail = by.ask("kafka", address=broker.address, port=broker.port, **how)
    met = "a connection is accepted" if reached else "no connection is accepted, which shows nothing"
    holds = reached and not answered
    return Proof(name=f"{name}{broker.at}", host=broker.host, holds=holds, detail=f"{by.host}: {met}; {detail}")

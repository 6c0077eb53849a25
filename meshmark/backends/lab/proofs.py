"""Shows what a data plane promises, at each broker, by asking Kafka for its API versions.

Under STRICT mTLS the questions go past the client's own sidecar (their sockets bear the mark that interception lets
pass), so that they reach the broker's sidecar as they are, or else the gateway that a broker is behind; the sidecars
there are asked from the gateway's host, where no sidecar is. A refusal means something only beside the same question
with a proper certificate, which must be answered; and only an answer of Kafka counts, since under TLS 1.3 the client's
side of a handshake ends before the server has judged the client's certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from meshmark.backends.lab.gateway import Entrance, entrance
from meshmark.backends.lab.link import Host, Network
from meshmark.data_plane import BROKER_BROKER, DataPlane
from meshmark.dataplane.envoy import ALPN, MARK
from meshmark.dataplane.identity import Authority, Identity
from meshmark.kafka.api_versions import Wrap, ask, plain_client
from meshmark.kafka.properties import BROKER_PORT, REPLICATION_PORT
from meshmark.record import Proof


def prove(data_plane: DataPlane, network: Network, authority: Authority | None, directory: Path) -> Sequence[Proof]:
    """All proofs of a data plane. `directory` is for the certificates of a stranger."""
    client = network.client_hosts[0]
    found: list[Proof] = []
    for broker in network.broker_hosts:
        if data_plane.sidecars and not data_plane.mtls:
            found.append(
                _answered("a request passes the sidecars in the clear", client, broker, plain_client, mark=False)
            )
            if not data_plane.has_sidecar("broker"):
                found.append(
                    _answered(
                        "a plaintext client past its sidecar gets an answer", client, broker, plain_client, mark=True
                    )
                )
        elif authority is None:
            continue
        elif data_plane.kafka_tls:
            found += _kafka_tls(client, broker, authority)
        else:
            door = entrance(network, client, broker)
            within = network.gateway_before(broker) if door.server_name else None
            found += _strict(within or client, broker, authority, directory)
            if door.server_name:
                found += _gateway(client, broker, authority, door)
            if data_plane.own_replication:
                found.append(_replication(client, broker))
    return tuple(found)


def _kafka_tls(client: Host, broker: Host, authority: Authority) -> list[Proof]:
    verified = ssl.create_default_context(cafile=str(authority.path))
    verified.minimum_version = ssl.TLSVersion.TLSv1_3
    return [
        _refused("a plaintext client gets no answer", client, broker, plain_client, mark=False),
        _answered(
            "a client that verifies the broker's certificate and address gets an answer over TLS 1.3",
            client,
            broker,
            lambda raw, _: verified.wrap_socket(raw, server_hostname=broker.address),
            mark=False,
        ),
    ]


def _strict(client: Host, broker: Host, authority: Authority, directory: Path) -> list[Proof]:
    member = authority.mesh_identity(f"{client.name}-proof", "client")
    stranger = Authority(directory / "stranger", "cluster.local").mesh_identity(client.name, "client")
    return [
        _refused("STRICT: a plaintext client gets no answer", client, broker, plain_client, mark=True),
        _refused(
            "STRICT: a TLS client without a certificate gets no answer", client, broker, mesh_client(None), mark=True
        ),
        _refused(
            "STRICT: a TLS client with a certificate of another CA gets no answer",
            client,
            broker,
            mesh_client(stranger),
            mark=True,
        ),
        _answered(
            "STRICT: a TLS client with a certificate of the mesh gets an answer",
            client,
            broker,
            mesh_client(member),
            mark=True,
        ),
    ]


def _gateway(client: Host, broker: Host, authority: Authority, door: Entrance) -> list[Proof]:
    """From another cluster. The gateway judges no certificate; what it lets pass, the broker's sidecar judges."""
    member = mesh_client(authority.mesh_identity(f"{client.name}-proof", "client"))
    return [
        _refused("gateway: a plaintext client gets no answer", client, broker, plain_client, mark=True, door=door),
        _refused(
            "gateway: a TLS client that names another host gets no answer",
            client,
            broker,
            member,
            mark=True,
            door=door._replace(server_name="outbound_.9092_._.nobody.meshmark"),
        ),
        _refused(
            "gateway: a TLS client without a certificate gets no answer",
            client,
            broker,
            mesh_client(None),
            mark=True,
            door=door,
        ),
        _refused("gateway: nobody gets an answer past it", client, broker, member, mark=True),
        _answered(
            "gateway: a TLS client with a certificate of the mesh gets an answer through it",
            client,
            broker,
            member,
            mark=True,
            door=door,
        ),
    ]


def _replication(client: Host, broker: Host) -> Proof:
    """Honest about what the mesh leaves out; that no byte of it passes sidecars, their counters show in each trial."""
    return _answered(
        f"replication: a plaintext client gets an answer at port {REPLICATION_PORT}, which the mesh excludes",
        client,
        broker,
        plain_client,
        mark=True,
        door=Entrance(broker.address, REPLICATION_PORT, None),
    ).model_copy(update={"hop": BROKER_BROKER})


def mesh_client(identity: Identity | None) -> Wrap:
    """A TLS client as a sidecar is one; it takes any server, so that only the server's judgement counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    if identity:
        context.load_cert_chain(identity.chain, identity.key)
    return lambda raw, server_name: context.wrap_socket(raw, server_hostname=server_name)


def _answered(name: str, client: Host, broker: Host, wrap: Wrap, *, mark: bool, door: Entrance | None = None) -> Proof:
    answered, detail = client.call(lambda: _ask(door or _itself(broker), wrap, mark))
    return Proof(name=name, host=broker.name, holds=answered, detail=detail)


def _refused(name: str, client: Host, broker: Host, wrap: Wrap, *, mark: bool, door: Entrance | None = None) -> Proof:
    answered, detail = client.call(lambda: _ask(door or _itself(broker), wrap, mark))
    return Proof(name=name, host=broker.name, holds=not answered, detail=detail)


def _itself(broker: Host) -> Entrance:
    return Entrance(broker.address, BROKER_PORT, None)


def _ask(door: Entrance, wrap: Wrap, mark: bool) -> tuple[bool, str]:
    return ask(door.address, door.port, wrap, server_name=door.server_name, mark=MARK if mark else None)

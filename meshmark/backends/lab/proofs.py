"""Shows what a data plane promises, at each broker, by asking Kafka for its API versions.

Under STRICT mTLS the questions go past the client's own sidecar (their sockets bear the mark that interception lets
pass), so that they reach the broker's sidecar as they are. A refusal means something only beside the same question
with a proper certificate, which must be answered; and only an answer of Kafka counts, since under TLS 1.3 the client's
side of a handshake ends before the server has judged the client's certificate.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from meshmark.backends.lab.link import Host, Network
from meshmark.dataplane.envoy import MARK
from meshmark.dataplane.identity import Authority, Identity
from meshmark.kafka.properties import BROKER_PORT
from meshmark.plan import DataPlane
from meshmark.record import Proof

TIMEOUT_S = 5.0
API_VERSIONS = 18
CORRELATION = 0x6D6D
# Request header version 1 (API key, API version, correlation id, client id) and no body: ApiVersions version 0.
CLIENT_ID = b"meshmark"
BODY = struct.pack(f"!hhih{len(CLIENT_ID)}s", API_VERSIONS, 0, CORRELATION, len(CLIENT_ID), CLIENT_ID)
REQUEST = struct.pack("!i", len(BODY)) + BODY

Wrap = Callable[[socket.socket], socket.socket]


def prove(data_plane: DataPlane, network: Network, authority: Authority | None, directory: Path) -> Sequence[Proof]:
    """All proofs of a data plane. `directory` is for the certificates of a stranger."""
    client = network.client_hosts[0]
    found: list[Proof] = []
    for broker in network.broker_hosts:
        if data_plane is DataPlane.ISTIO:
            found.append(
                _answered("a request passes the sidecars in the clear", client, broker, plain_client, mark=False)
            )
        elif authority is None:
            continue
        elif data_plane is DataPlane.KAFKA_TLS:
            found += _kafka_tls(client, broker, authority)
        elif data_plane is DataPlane.ISTIO_MTLS:
            found += _strict(client, broker, authority, directory)
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
            lambda raw: verified.wrap_socket(raw, server_hostname=broker.address),
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


def plain_client(raw: socket.socket) -> socket.socket:
    return raw


def mesh_client(identity: Identity | None) -> Wrap:
    """A TLS client as a sidecar is one; it takes any server, so that only the server's judgement counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["istio"])
    if identity:
        context.load_cert_chain(identity.chain, identity.key)
    return context.wrap_socket


def _answered(name: str, client: Host, broker: Host, wrap: Wrap, *, mark: bool) -> Proof:
    answered, detail = client.call(lambda: _ask(broker.address, wrap, mark))
    return Proof(name=name, host=broker.name, holds=answered, detail=detail)


def _refused(name: str, client: Host, broker: Host, wrap: Wrap, *, mark: bool) -> Proof:
    answered, detail = client.call(lambda: _ask(broker.address, wrap, mark))
    return Proof(name=name, host=broker.name, holds=not answered, detail=detail)


def _ask(address: str, wrap: Wrap, mark: bool) -> tuple[bool, str]:
    """Did Kafka answer, and what happened. A timeout counts as no answer, and is told apart from a refusal."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as raw:
        raw.settimeout(TIMEOUT_S)
        if mark:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        try:
            raw.connect((address, BROKER_PORT))
            with wrap(raw) as connection:
                connection.sendall(REQUEST)
                return _judge(connection)
        except TimeoutError:
            return False, f"silence for {TIMEOUT_S:.0f} s"
        except ssl.SSLError as error:
            return False, f"TLS: {error.reason or error}"
        except OSError as error:
            return False, error.strerror or str(error)


def _judge(connection: socket.socket) -> tuple[bool, str]:
    received = b""
    while len(received) < 10:
        piece = connection.recv(4096)
        if not piece:
            return False, f"the connection was closed after {len(received)} bytes"
        received += piece
    size, correlation, error = struct.unpack("!iih", received[:10])
    if correlation != CORRELATION:
        return False, f"an answer that is not Kafka's: {received[:10]!r}"
    protocol = f" over {connection.version()}" if isinstance(connection, ssl.SSLSocket) else " in the clear"
    return error == 0, f"Kafka answered {size} bytes{protocol}, error code {error}"

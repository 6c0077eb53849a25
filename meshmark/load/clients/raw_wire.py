"""What the raw client says to a broker: Produce 7 by hand, since it is said often; Metadata 7 and SASL through kio.

These versions are known to every Kafka from 2.1 to 4.x. Metadata never creates a topic.
"""

from __future__ import annotations

import io
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kio.schema.api_versions.v0 import ApiVersionsRequest
from kio.schema.errors import ErrorCode
from kio.schema.metadata.v7 import MetadataRequest, MetadataResponse
from kio.schema.metadata.v7.request import MetadataRequestTopic
from kio.schema.request_header.v1.header import RequestHeader
from kio.schema.sasl_authenticate.v0 import SaslAuthenticateRequest, SaslAuthenticateResponse
from kio.schema.sasl_handshake.v1 import SaslHandshakeRequest, SaslHandshakeResponse
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

from meshmark.load.clients import ClientError

Address = tuple[str, int]

_PRODUCE, _VERSION = 0, 7
_START = struct.Struct(">ihhi")
_LENGTH = struct.Struct(">i")
_ANSWER = struct.Struct(">ihq")
_ANSWER_REST = 16 + 4  # append time and start offset of the partition; throttle time
_SETTLED = {
    # Given before anything is appended. A leader that is deposed while it waits for its followers says
    # NOT_LEADER_OR_FOLLOWER of what it has appended, so that is not one of them.
    ErrorCode.corrupt_message,
    ErrorCode.unknown_topic_or_partition,
    ErrorCode.leader_not_available,
    ErrorCode.message_too_large,
    ErrorCode.invalid_topic_exception,
    ErrorCode.record_list_too_large,
    ErrorCode.not_enough_replicas,
    ErrorCode.invalid_required_acks,
    ErrorCode.topic_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.invalid_timestamp,
    ErrorCode.unsupported_version,
    ErrorCode.unsupported_for_message_format,
    ErrorCode.policy_violation,
    ErrorCode.invalid_record,
}
NO_ERROR = 0


def error_name(code: int) -> str:
    """Kafka's."""
    try:
        return ErrorCode(code).name.upper()
    except ValueError:
        return f"ERROR_{code}"


def surely_not_stored(code: int) -> bool:
    return code in _SETTLED


class Target:
    """A partition to produce to: its requests and their answers."""

    def __init__(self, topic: str, partition: int, *, client_id: str, acks: int, timeout_ms: int) -> None:
        self.topic, self.partition = topic, partition
        self.leader = -1  # node id; -1: none is known
        name = _text(topic)
        # Client id, no transaction, acks, timeout, one topic, one partition.
        ask = (_text(client_id), struct.pack(">hhii", -1, acks, timeout_ms, 1), name, struct.pack(">ii", 1, partition))
        self._fixed = b"".join(ask)
        self._answer_at = 4 + 4 + len(name) + 4  # correlation id, one topic, one partition
        self._answer_bytes = self._answer_at + _ANSWER.size + _ANSWER_REST

    def head(self, correlation: int, record_bytes: int) -> bytes:
        """A request up to its records."""
        size = _START.size - _LENGTH.size + len(self._fixed) + _LENGTH.size + record_bytes
        return _START.pack(size, _PRODUCE, _VERSION, correlation) + self._fixed + _LENGTH.pack(record_bytes)

    def answer(self, frame: bytes) -> tuple[int, int]:
        """Error code, and the offset of the first record."""
        if len(frame) != self._answer_bytes:
            raise ClientError("_BAD_MSG", f"an answer of {len(frame)} bytes where {self._answer_bytes} were expected")
        partition, code, offset = _ANSWER.unpack_from(frame, self._answer_at)
        if partition != self.partition:
            raise ClientError("_BAD_MSG", f"an answer for partition {partition} where {self.partition} was asked")
        return code, offset


@dataclass(frozen=True, slots=True)
class Layout:
    """Where partitions are led now."""

    leaders: dict[tuple[str, int], int]
    nodes: dict[int, Address]


@dataclass(frozen=True, slots=True)
class Access:
    """How a connection is made."""

    client_id: str
    tls: ssl.SSLContext | None
    credentials: tuple[str, str] | None
    timeout_s: float


def connect(address: Address, access: Access) -> socket.socket:
    """Blocking, authenticated, and answered once: a connection through a proxy is open before it has reached the
    broker. Raises OSError or ClientError."""
    made = socket.create_connection(address, timeout=access.timeout_s)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if access.tls is not None:
            made = access.tls.wrap_socket(made, server_hostname=address[0])
        if access.credentials is not None:
            _authenticate(made, access)
        _ask(made, access.client_id, ApiVersionsRequest())
    except ssl.SSLError as error:
        made.close()
        raise ClientError("_SSL", str(error)) from None
    except BaseException:
        made.close()
        raise
    return made


def layout(address: Address, access: Access, topics: Iterable[str]) -> Layout:
    """Asks a broker. Raises OSError or ClientError."""
    asked = MetadataRequest(
        topics=tuple(MetadataRequestTopic(name=TopicName(topic)) for topic in topics), allow_auto_topic_creation=False
    )
    with connect(address, access) as asking:
        told: MetadataResponse = _exchange(asking, access.client_id, asked, MetadataResponse)
    missing = [topic for topic in told.topics if topic.error_code == ErrorCode.unknown_topic_or_partition]
    if missing:
        names = ", ".join(str(topic.name) for topic in missing)
        raise ClientError("UNKNOWN_TOPIC_OR_PARTITION", f"no topic {names} on the cluster; create it before the load")
    for topic in told.topics:
        if topic.error_code != ErrorCode.none:
            raise ClientError(error_name(topic.error_code), f"no metadata of topic {topic.name}")
    return Layout(
        {
            (str(topic.name), int(each.partition_index)): int(each.leader_id)
            for topic in told.topics
            for each in topic.partitions
        },
        {int(node.node_id): (node.host, int(node.port)) for node in told.brokers},
    )


def _authenticate(made: socket.socket, access: Access) -> None:
    assert access.credentials is not None
    user, password = access.credentials
    hand: SaslHandshakeResponse = _exchange(
        made, access.client_id, SaslHandshakeRequest(mechanism="PLAIN"), SaslHandshakeResponse
    )
    if hand.error_code != ErrorCode.none:
        raise ClientError(error_name(hand.error_code), f"the broker takes {', '.join(hand.mechanisms)}")
    said = SaslAuthenticateRequest(auth_bytes=f"\0{user}\0{password}".encode())
    heard: SaslAuthenticateResponse = _exchange(made, access.client_id, said, SaslAuthenticateResponse)
    if heard.error_code != ErrorCode.none:
        raise ClientError(error_name(heard.error_code), heard.error_message or "refused")


def _exchange(made: socket.socket, client_id: str, request: Any, answer: Any) -> Any:
    entity, _ = entity_reader(answer)(_ask(made, client_id, request), _LENGTH.size)
    return entity


def _ask(made: socket.socket, client_id: str, request: Any) -> bytes:
    """One request and its answer, correlation first, of versions without tagged fields."""
    said = io.BytesIO()
    header = RequestHeader(
        request_api_key=request.__api_key__,
        request_api_version=i16(request.__version__),
        correlation_id=i32(0),
        client_id=client_id,
    )
    entity_writer(RequestHeader)(said, header)
    entity_writer(type(request))(said, request)
    body = said.getvalue()
    made.sendall(_LENGTH.pack(len(body)) + body)
    (size,) = _LENGTH.unpack(_exactly(made, _LENGTH.size))
    return _exactly(made, size)


def _exactly(made: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        data = made.recv(count - len(got))
        if not data:
            raise ConnectionResetError("the broker has closed the connection")
        got += data
    return bytes(got)


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">h", len(data)) + data

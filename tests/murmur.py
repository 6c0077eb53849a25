"""Where Kafka's Java client puts a record with a key: MurmurHash2 with its seed, modulo the number of partitions."""

from __future__ import annotations

_SEED, _M, _R, _ALL = 0x9747B28C, 0x5BD1E995, 24, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """As `org.apache.kafka.common.utils.Utils.murmur2`, unsigned."""
    made = (_SEED ^ len(data)) & _ALL
    whole = len(data) // 4 * 4
    for first in range(0, whole, 4):
        word = int.from_bytes(data[first : first + 4], "little") * _M & _ALL
        made = (made * _M & _ALL) ^ ((word ^ word >> _R) * _M & _ALL)
    if rest := data[whole:]:
        made = (made ^ int.from_bytes(rest, "little")) * _M & _ALL
    made = (made ^ made >> 13) * _M & _ALL
    return made ^ made >> 15


def partition(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions

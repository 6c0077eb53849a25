"""Keys of records as OpenMessaging Benchmark's distributors give them. Pure.

There are 10,000 keys, each of seven random bytes in URL-safe base64 without padding (`KeyDistributor.java` there).
KEY_ROUND_ROBIN takes them in turn. RANDOM_NANO takes one at random: by the nanoseconds of the clock there, by the seed
here. A partition follows from the key, by the partitioner of Kafka's own client (`PARTITIONER`).
"""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from meshmark.plan import KEY_BYTES, KeyDistributor

KEYS = 10_000
PARTITIONER = "murmur2_random"
"""librdkafka's name for what the Java client does with keys."""
_RANDOM_BYTES = 7


class Keys:
    """Of one load process. Their memory lives as long as this does."""

    def __init__(self, distributor: KeyDistributor, seed: int) -> None:
        self._source = np.random.default_rng([seed, KEYS])
        made = self._source.bytes(KEYS * _RANDOM_BYTES)
        self.texts = tuple(
            base64.urlsafe_b64encode(made[first : first + _RANDOM_BYTES]).rstrip(b"=")
            for first in range(0, len(made), _RANDOM_BYTES)
        )
        self._memory = np.frombuffer(b"".join(self.texts), dtype=np.uint8)
        first_address = self._memory.ctypes.data
        self._addresses = first_address + np.arange(KEYS, dtype=np.uint64) * np.uint64(KEY_BYTES)
        self._in_turn = distributor == "KEY_ROUND_ROBIN"
        self._next = 0

    def upcoming(self, count: int) -> NDArray[np.uint64]:
        """Addresses of the next keys."""
        if self._in_turn:
            return self._addresses[np.arange(self._next, self._next + count) % KEYS]
        return self._addresses[self._source.integers(0, KEYS, count)]

    def take(self, count: int) -> None:
        """So many records have theirs."""
        self._next = (self._next + count) % KEYS

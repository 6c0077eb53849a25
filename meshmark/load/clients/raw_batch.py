"""Record batches (format 2) that are encoded once and sent again and again.

One encoding of the longest batch serves all lengths: a batch of fewer records is a new header before the first of
them. A header is made once a second for each length in use, so that records carry a fresh timestamp. The checksum
covers neither base offset nor leader epoch, which a broker fills in.

Stamped batches are copies with the intended send time of each record in the first bytes of its value, and a checksum
of their own. Limits: no keys, no headers, no compression; every batch begins with the same random values.
"""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime

import numpy as np
from crc32c import crc32c
from kio.records.schema import Record
from kio.records.writers import write_record
from kio.static.primitive import TZAwareMicros, i8, i64
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

HEADER_BYTES = 61
_HEAD = struct.Struct(">qiibI")  # base offset, length, leader epoch, magic, checksum
_BODY = struct.Struct(
    ">hiqqqhii"
)  # attributes, last offset, first and last time, producer id, epoch, sequence, records
_MAGIC = 2
_BEFORE_LENGTH_COUNTS = 12
_STAMPED_BYTES = 16
_FRESH_MS = 1_000
_EPOCH = TZAwareMicros.parse(datetime.fromtimestamp(0, UTC))


class Batches:
    """Of up to `most` records whose values have `size` bytes. `stamp` marks them as in `worker_protocol`; 0: not."""

    def __init__(self, *, size: int, most: int, seed: int, stamp: int = 0) -> None:
        values = np.random.default_rng(seed).integers(0, 256, size=(most, size), dtype=np.uint8)
        if stamp:
            values[:, 8:_STAMPED_BYTES] = np.frombuffer(stamp.to_bytes(8, "little"), dtype=np.uint8)
        encoded, self._ends = io.BytesIO(), [0]
        for number, value in enumerate(values):
            record = Record(
                attributes=i8(0), timestamp=_EPOCH, offset=i64(number), key=None, value=value.tobytes(), headers=()
            )
            write_record(encoded, record, i64(0), i64(0))
            self._ends.append(encoded.tell())
        self._records = memoryview(encoded.getvalue())
        # A record ends with its value and the number of its headers, one byte.
        starts = HEADER_BYTES + np.array(self._ends[1:], dtype=np.int64) - 1 - size
        self._stamped = starts[:, None] + np.arange(8)
        self._headers: dict[int, tuple[int, bytes]] = {}

    def length(self, count: int) -> int:
        """Bytes of a batch of so many records."""
        return HEADER_BYTES + self._ends[count]

    def plain(self, count: int, now_ms: int) -> tuple[bytes, memoryview]:
        """A batch of so many records, in two parts. `now_ms`: Unix time."""
        records = self._records[: self._ends[count]]
        made_ms, header = self._headers.get(count, (0, b""))
        if now_ms - made_ms >= _FRESH_MS:
            header = _header(count, now_ms, records)
            self._headers[count] = now_ms, header
        return header, records

    def stamped(self, intended_ns: Int64Array, now_ms: int) -> bytearray:
        """A batch whose values begin with these times."""
        count = len(intended_ns)
        batch = bytearray(self.length(count))
        view = memoryview(batch)
        view[HEADER_BYTES:] = self._records[: self._ends[count]]
        times = np.ascontiguousarray(intended_ns, dtype="<i8").view(np.uint8).reshape(count, 8)
        np.frombuffer(batch, dtype=np.uint8)[self._stamped[:count]] = times
        view[:HEADER_BYTES] = _header(count, now_ms, view[HEADER_BYTES:])
        return batch


def records_within(size: int, most_bytes: int) -> int:
    """How many records with values of `size` bytes a batch of at most `most_bytes` holds; at least one."""
    # Length, attributes, time, offset, no key, length of the value, no headers; offsets of two bytes.
    overhead = 2 * _varint_bytes(size + 8) + 6
    return max(1, (most_bytes - HEADER_BYTES) // (size + overhead))


def _varint_bytes(value: int) -> int:
    return (2 * value).bit_length() // 7 + 1


def _header(count: int, now_ms: int, records: memoryview) -> bytes:
    body = _BODY.pack(0, count - 1, now_ms, now_ms, -1, -1, -1, count)
    length = HEADER_BYTES - _BEFORE_LENGTH_COUNTS + len(records)
    return _HEAD.pack(0, length, -1, _MAGIC, crc32c(records, crc32c(body))) + body

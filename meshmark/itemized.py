"""The intended send times of all records that one load worker saw: as text, and held against those of another.

Encoded are the differences of the sorted times, byte plane by byte plane, since most of their higher bytes are zero:
two to three bytes a record are left. Pure.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meshmark.read_back import ReadBack

Int64Array = NDArray[np.int64]


def encoded(times_ns: Int64Array) -> str:
    """In no order; each as often as it was seen."""
    steps = np.diff(np.sort(times_ns), prepend=0).astype("<i8")
    planes = steps.view(np.uint8).reshape(-1, steps.itemsize).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 1)).decode()


def decoded(text: str) -> Int64Array:
    """Sorted."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(8, -1)
    return np.cumsum(np.ascontiguousarray(planes.T).view("<i8").ravel())


def compared(acknowledged_ns: Sequence[Int64Array], read_ns: Sequence[Int64Array]) -> tuple[ReadBack, ...]:
    """Of every consumer group, how many records were acknowledged and read how often: of all producers together, and
    of each group, in ascending order."""
    every_ns = np.sort(np.concatenate(acknowledged_ns))
    return tuple(
        ReadBack(group=group, acknowledged=acknowledged, read=read, records=records)
        for group, times_ns in enumerate(read_ns, start=1)
        for acknowledged, read, records in _joint(every_ns, times_ns)
    )


def _joint(acknowledged_ns: Int64Array, read_ns: Int64Array) -> list[tuple[int, int, int]]:
    times_ns = np.union1d(acknowledged_ns, read_ns)
    acknowledged, read = _often(times_ns, acknowledged_ns), _often(times_ns, read_ns)
    width = int(read.max(initial=0)) + 1
    kinds, records = np.unique(acknowledged * width + read, return_counts=True)
    return [(*divmod(kind, width), count) for kind, count in zip(kinds.tolist(), records.tolist(), strict=True)]


def _often(times_ns: Int64Array, seen_ns: Int64Array) -> Int64Array:
    return np.searchsorted(seen_ns, times_ns, side="right") - np.searchsorted(seen_ns, times_ns, side="left")

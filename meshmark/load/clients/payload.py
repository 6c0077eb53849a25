"""What record values hold: a pool of them, made once. Pure.

As OpenMessaging Benchmark does it: some share of each value is random, the rest is zeros, so that compression has
something to do; or every value is the content of a file.
"""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from meshmark.worker_protocol import Payload


def values(payload: Payload, *, rows: int, size: int, seed: int) -> NDArray[np.uint8]:
    """`rows` values of `size` bytes, one a row; where fewer are distinct, they repeat in turn."""
    pool = np.zeros((rows, size), dtype=np.uint8)
    if payload.content:
        pool[:] = np.frombuffer(base64.b64decode(payload.content), dtype=np.uint8)
        return pool
    distinct = min(payload.distinct or rows, rows)
    random_bytes = int(size * payload.random_share)
    source = np.random.default_rng(seed)
    pool[:distinct, :random_bytes] = source.integers(0, 256, size=(distinct, random_bytes), dtype=np.uint8)
    return pool[np.arange(rows) % distinct] if distinct < rows else pool

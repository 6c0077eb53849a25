"""librdkafka's statistics (one JSON text per client and interval) summed up to Batches. Pure.

Batch sizes are windows: each text covers what was sent since the one before, so every text must be added. Requests
and their bytes are cumulative.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from meshmark.worker_protocol import Batches


class Statistics:
    """Of one client."""

    def __init__(self) -> None:
        self.as_of_s = 0.0  # machine's monotonic clock
        self._batches = self._records = self._batch_bytes = self._requests = self._request_bytes = 0

    def add(self, text: bytes) -> None:
        read = json.loads(text)
        self.as_of_s = read["ts"] / 1e6
        self._requests, self._request_bytes = read["tx"], read["tx_bytes"]
        for topic in read["topics"].values():
            self._batches += topic["batchcnt"]["cnt"]
            self._records += topic["batchcnt"]["sum"]
            self._batch_bytes += topic["batchsize"]["sum"]

    def batches(self) -> Batches:
        return Batches(
            batches=self._batches,
            records=self._records,
            batch_bytes=self._batch_bytes,
            requests=self._requests,
            request_bytes=self._request_bytes,
        )


def sum_batches(parts: Iterable[Batches]) -> Batches:
    listed = list(parts)
    return Batches(**{name: sum(getattr(part, name) for part in listed) for name in Batches.model_fields})

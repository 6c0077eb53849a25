"""librdkafka's statistics (one JSON text per client and interval) summed up to Batches. Pure.

Batch sizes and times are windows: each text covers what was sent since the one before, so every text must be added.
Requests and their bytes are cumulative. Times are of requests of every kind; of a producer that knows its topics,
nearly all are Produce requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from meshmark.worker_protocol import Batches

INTERVAL_MS, INTERVAL_MOST_MS = 500, 10_000
"""One text costs some tens of microseconds per client; the end of a load waits for one more of them."""


def interval_ms(partitions: int) -> int:
    """For a client that knows so many: each is some 800 bytes of every text, and takes some ten microseconds more."""
    return min(max(INTERVAL_MS, partitions), INTERVAL_MOST_MS)


class _Time:
    """The sum of one time, and of how much it was taken."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._sum_us = 0
        self.count = 0

    def add(self, broker: dict[str, Any]) -> None:
        self._sum_us += broker[self._name]["sum"]
        self.count += broker[self._name]["cnt"]

    @property
    def sum_s(self) -> float:
        return self._sum_us / 1e6


class Statistics:
    """Of one client."""

    def __init__(self) -> None:
        self.as_of_s = 0.0  # machine's monotonic clock
        self.connected = False  # to the leaders of all partitions that are known, of which there are some
        self._batches = self._records = self._batch_bytes = self._requests = self._request_bytes = 0
        self._queued, self._sending, self._answering = _Time("int_latency"), _Time("outbuf_latency"), _Time("rtt")

    def add(self, text: bytes) -> None:
        read = json.loads(text)
        self.as_of_s = read["ts"] / 1e6
        self._request_bytes = read["tx_bytes"]
        # Not `tx`, which counts a request once for each part in which it was written to the socket.
        self._requests = sum(sum(broker["req"].values()) for broker in read["brokers"].values())
        up = {broker["nodeid"] for broker in read["brokers"].values() if broker["state"] == "UP"}
        leaders = {
            partition["leader"]
            for topic in read["topics"].values()
            for number, partition in topic["partitions"].items()
            if int(number) >= 0  # the one below is for records that have no partition yet
        }
        self.connected = bool(leaders) and leaders <= up
        for topic in read["topics"].values():
            self._batches += topic["batchcnt"]["cnt"]
            self._records += topic["batchcnt"]["sum"]
            self._batch_bytes += topic["batchsize"]["sum"]
        for broker in read["brokers"].values():
            for time in (self._queued, self._sending, self._answering):
                time.add(broker)

    def batches(self) -> Batches:
        return Batches(
            batches=self._batches,
            records=self._records,
            batch_bytes=self._batch_bytes,
            requests=self._requests,
            request_bytes=self._request_bytes,
            queued_s=self._queued.sum_s,
            queued=self._queued.count,
            sending_s=self._sending.sum_s,
            sending=self._sending.count,
            answering_s=self._answering.sum_s,
            answering=self._answering.count,
        )


def sum_batches(parts: Iterable[Batches]) -> Batches:
    listed = list(parts)
    return Batches(**{name: sum(getattr(part, name) for part in listed) for name in Batches.model_fields})

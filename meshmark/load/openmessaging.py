"""An OpenMessaging workload as a load of `alone.py`: the same producers, consumers, payloads and rate.

Each producer has one topic and each subscription of a topic is a consumer group of its own, as there. What differs:
a backlog is built from the start of the load, warm-up included, and `producerRate: 0`, there a rate that a controller
raises and lowers without end, is the closed loop here: as fast as it goes, and named so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshmark.planfile.openmessaging import File
from meshmark.worker_protocol import Payload

_MINUTE_S = 60


def asked(file: File, topics: Sequence[str], group: str) -> dict[str, Any]:
    """Fields of a LoadRequest."""
    workload = file.workload
    # Without useRandomizedPayloads the content says what values hold.
    share = workload.random_bytes_ratio if workload.use_randomized_payloads else 0
    groups = [f"{group}-{number + 1}" for number in range(workload.subscriptions_per_topic)]
    return {
        "topics": tuple(topics),
        "topic_each": True,
        "partitions_per_topic": workload.partitions_per_topic,
        "rate_msg_s": workload.producer_rate or None,
        "warmup_s": workload.warmup_duration_minutes * _MINUTE_S,
        "duration_s": workload.test_duration_minutes * _MINUTE_S,
        "message_size": workload.message_size,
        "payload": Payload(random_share=share, distinct=workload.randomized_payload_pool_size, content=file.content),
        "key_distributor": workload.key_distributor,
        "workers": workload.producers,
        "groups": tuple(groups),
        "consumers": workload.consumers,
        "backlog_bytes": workload.backlog_bytes,
        "backlog_drain_ratio": workload.backlog_drain_ratio,
    }

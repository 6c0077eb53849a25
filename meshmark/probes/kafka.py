"""A broker's own metrics: which MBeans are asked for, and answers -> values named as in `metrics.METRICS`. Pure.

Kafka's request times are histograms over everything since the broker started. Their quantiles, from a reservoir that
prefers the last five minutes, say nothing about a window, so they are not read; count and mean give a sum, and two
sums the mean of what lies between them. Limits: Kafka rounds each part of each request to whole milliseconds before it
enters the histogram, so what takes less than half of one counts as nothing; count and mean are read one after the
other, so a sum is off by the requests that come in between.
"""

from __future__ import annotations

from typing import NamedTuple

Values = dict[str, float]

REQUESTS = {"produce": "Produce", "follower_fetch": "FetchFollower", "consumer_fetch": "FetchConsumer"}
PARTS = {
    "queue": "RequestQueueTimeMs",
    "local": "LocalTimeMs",
    "remote": "RemoteTimeMs",
    "throttle": "ThrottleTimeMs",
    "response_queue": "ResponseQueueTimeMs",
    "response_send": "ResponseSendTimeMs",
    "total": "TotalTimeMs",
}
LISTENER = "CLIENT"
"""Whose network threads count; the controllers' listener has one of its own, idle nearly always."""
NO_ANSWER = "-"


class Asked(NamedTuple):
    """One attribute, and what it is multiplied by to give base units."""

    question: str
    scale: float = 1.0


_NETWORK_THREADS = f"kafka.server:type=socket-server-metrics,listener={LISTENER},networkProcessor=*"

SINGLE: dict[str, Asked] = {
    # A meter of nanoseconds, already divided by the number of threads.
    "request_handler_idle_s": Asked(
        "kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent Count", 1e-9
    ),
    "network_thread_idle_s": Asked(f"{_NETWORK_THREADS} io-wait-time-ns-total", 1e-9),
    "request_queue_size": Asked("kafka.network:type=RequestChannel,name=RequestQueueSize Value"),
    "response_queue_size": Asked("kafka.network:type=RequestChannel,name=ResponseQueueSize Value"),
    "under_replicated_partitions": Asked("kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions Value"),
    "compile_s": Asked("java.lang:type=Compilation TotalCompilationTime", 1e-3),
    "isr_shrinks": Asked("kafka.server:type=ReplicaManager,name=IsrShrinksPerSec Count"),
}


def _timed(request: str, part: str) -> tuple[str, str]:
    bean = f"kafka.network:type=RequestMetrics,name={PARTS[part]},request={REQUESTS[request]}"
    return f"{bean} Count", f"{bean} Mean"


_TIMED = tuple((request, part) for request in REQUESTS for part in PARTS)

QUESTIONS: tuple[str, ...] = (
    *(asked.question for asked in SINGLE.values()),
    *(question for request, part in _TIMED for question in _timed(request, part)),
)
"""`OBJECT NAME, blank, ATTRIBUTE` each; a pattern asks for the sum over what it matches."""


def metrics(answers: tuple[str, ...]) -> Values:
    """Answers in the order of QUESTIONS; what has none is absent. Raises ValueError for anything else."""
    if len(answers) != len(QUESTIONS):
        raise ValueError(f"{len(answers)} answers to {len(QUESTIONS)} questions")
    told = {
        question: float(answer) for question, answer in zip(QUESTIONS, answers, strict=True) if answer != NO_ANSWER
    }
    values = {name: told[asked.question] * asked.scale for name, asked in SINGLE.items() if asked.question in told}
    for request, part in _TIMED:
        count, mean = (told.get(question) for question in _timed(request, part))
        if count is None or mean is None:
            continue
        values[f"{request}_{part}_s"] = count * mean / 1e3
        if part == "total":
            values[f"{request}_requests"] = count
    return values

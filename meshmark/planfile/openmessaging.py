"""OpenMessaging Benchmark's workload files, unchanged: YAML -> what they ask, every mistake placed at its line.

Keys mean what they mean there (`Workload.java` and `WorkloadGenerator.java` of openmessaging/benchmark). A key that
meshmark cannot honour is a mistake: nothing is ignored. `as_plan` makes a plan of one for `meshmark run`, which
searches rates by itself, and says which keys it therefore leaves out.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

from pydantic import Field

from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError
from meshmark.plan import (
    CONNECTIONS_MAX,
    PARTITIONS_MAX,
    PAYLOAD_BYTES_MAX,
    TOPICS_MAX,
    KeyDistributor,
    Plan,
    Scenario,
)
from meshmark.plan import Workload as PlanWorkload
from meshmark.planfile.reading import check, read_text
from meshmark.planfile.tree import START, Node, Problem, parse
from meshmark.values import Model

GB = 1024**3
"""Of `consumerBacklogSizeGB`, as OpenMessaging Benchmark counts it."""
PLANES = (DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO, DataPlane.ISTIO_MTLS)
"""What a workload file is run on."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
"""Up to the most of any of its files; what a machine and a cluster take is for them to say."""


class Workload(Model):
    """The keys of a file."""

    name: str = ""
    topics: Count
    partitions_per_topic: Count
    key_distributor: KeyDistributor = "NO_KEY"
    message_size: int = Field(ge=16, le=1_000_000)
    use_randomized_payloads: bool = False
    random_bytes_ratio: float = Field(0, ge=0, le=1)
    randomized_payload_pool_size: int = Field(0, ge=0, le=1_000_000)
    payload_file: str = ""
    subscriptions_per_topic: int = Field(0, ge=0, le=64)
    consumer_per_subscription: Count = 1
    producers_per_topic: Count
    producer_rate: float = Field(0, ge=0, le=1e9)
    consumer_backlog_size_gb: float = Field(0, ge=0, le=1_000_000, alias="consumerBacklogSizeGB")
    backlog_drain_ratio: float = Field(1, ge=0, le=1)
    test_duration_minutes: float = Field(gt=0, le=1_440)
    warmup_duration_minutes: float = Field(1, ge=0, le=1_440)

    @property
    def producers(self) -> int:
        return self.topics * self.producers_per_topic

    @property
    def consumers(self) -> int:
        """Of all topics, for one subscription of each."""
        return self.topics * self.consumer_per_subscription

    @property
    def backlog_bytes(self) -> int:
        return round(self.consumer_backlog_size_gb * GB)


class File(Model):
    """A workload, and the content of its payload file in base64 (empty: values are made)."""

    workload: Workload
    content: str = ""


def load(path: Path) -> File:
    """PlanError with all problems, each `FILE:LINE:COL: key: what is wrong; what is allowed`."""
    root, problems = parse(read_text(path, "workload"))
    if root is None or not isinstance(root.value, dict):
        problems = problems or [Problem(START, "", "a workload is a mapping of keys (`topics: 1`, ...)")]
        raise PlanError([f"{path}:{problem}" for problem in problems], "workload")
    problems += check(Workload, root, {problem.key for problem in problems})
    if problems:
        raise PlanError([f"{path}:{problem}" for problem in sorted(set(problems))], "workload")
    workload = Workload.model_validate(root.plain())
    problems = [*_payload(root, workload), *_together(root, workload)]
    content = b""
    if not problems and not workload.use_randomized_payloads:
        content, problems = _content(root, workload, path)
    if problems:
        raise PlanError([f"{path}:{problem}" for problem in sorted(set(problems))], "workload")
    return File(workload=workload, content=base64.b64encode(content).decode())


def _at(root: Node, key: str, text: str) -> Problem:
    node = root.items().get(key)
    return Problem((node.key_at or node.at or START) if node else START, key, text)


def _payload(root: Node, workload: Workload) -> list[Problem]:
    if workload.use_randomized_payloads:
        if not workload.randomized_payload_pool_size:
            return [_at(root, "randomizedPayloadPoolSize", "missing or 0; useRandomizedPayloads needs at least 1")]
        if workload.payload_file:
            return [_at(root, "payloadFile", "has no effect with useRandomizedPayloads: true; leave one of them out")]
        return []
    if not workload.payload_file:
        return [_at(root, "payloadFile", "missing; needed unless useRandomizedPayloads is true")]
    unused = [key for key in ("randomBytesRatio", "randomizedPayloadPoolSize") if root.items().get(key)]
    return [
        _at(root, key, "has no effect without useRandomizedPayloads: true; leave it out")
        for key in unused
        if root.items()[key].value
    ]


def _together(root: Node, workload: Workload) -> list[Problem]:
    """Values against each other."""
    found = []
    if workload.consumer_backlog_size_gb and not workload.producer_rate:
        found.append(_at(root, "consumerBacklogSizeGB", "a backlog needs a producerRate above 0"))
    if workload.consumer_backlog_size_gb and not workload.subscriptions_per_topic:
        found.append(_at(root, "consumerBacklogSizeGB", "a backlog needs subscriptionsPerTopic above 0"))
    return found


def _content(root: Node, workload: Workload, path: Path) -> tuple[bytes, list[Problem]]:
    """Relative paths are tried from the working directory, as there, then beside the file and above it."""
    tried = [folder / workload.payload_file for folder in (Path(), path.parent, path.parent.parent)]
    for candidate in tried:
        try:
            content = candidate.read_bytes()
        except OSError:
            continue
        if len(content) != workload.message_size:
            text = f"{candidate} has {len(content):,} bytes; messageSize says {workload.message_size:,}"
            return b"", [_at(root, "payloadFile", text)]
        return content, []
    where = ", ".join(map(str, dict.fromkeys(tried)))
    return b"", [_at(root, "payloadFile", f"cannot be read; looked for {where}")]


def as_plan(path: Path) -> tuple[Plan, tuple[str, ...]]:
    """A plan that measures a file's workload under every data plane, and what `run` decides itself."""
    file = load(path)
    asked = file.workload
    refused = [
        (
            "payloadFile",
            file.content != "" and asked.message_size > PAYLOAD_BYTES_MAX,
            f"a plan holds payloads of up to {PAYLOAD_BYTES_MAX:,} bytes; useRandomizedPayloads makes larger ones",
        ),
        ("consumerBacklogSizeGB", asked.consumer_backlog_size_gb > 0, "a run builds no backlog; `meshmark load` does"),
        *(
            (key, value > most, f"{value:,} in all; a plan has at most {most:,}, a file for `meshmark load` more")
            for key, value, most in (
                ("topics", asked.topics, TOPICS_MAX),
                ("partitionsPerTopic", asked.partitions_per_topic, PARTITIONS_MAX),
                ("producersPerTopic", asked.producers, CONNECTIONS_MAX),
                ("consumerPerSubscription", asked.consumers, CONNECTIONS_MAX),
            )
        ),
    ]
    problems = [f"{path}: {key}: {text}" for key, present, text in refused if present]
    if problems:
        raise PlanError(problems, "workload")
    workload = PlanWorkload(
        topics=asked.topics,
        partitions_per_topic=asked.partitions_per_topic,
        message_size=asked.message_size,
        random_bytes_ratio=asked.random_bytes_ratio if asked.use_randomized_payloads else 1,
        randomized_payload_pool_size=asked.randomized_payload_pool_size,
        payload_base64=file.content,
        key_distributor=asked.key_distributor,
        workers=asked.producers,
        subscriptions_per_topic=asked.subscriptions_per_topic,
        consumer_per_subscription=asked.consumers,
        topic_each=True,
    )
    scenarios = tuple(Scenario(name=plane.value, data_plane=plane, workload=workload) for plane in PLANES)
    left = [
        f"producerRate {asked.producer_rate:g}: a run searches the highest rate that each data plane carries",
        f"testDurationMinutes {asked.test_duration_minutes:g}: windows are the method's (windowSeconds, trials)",
        f"warmupDurationMinutes {asked.warmup_duration_minutes:g}: a run warms up until the rate is flat",
    ]
    plan = Plan(name="openmessaging", description=asked.name or path.stem, scenarios=scenarios)
    return plan, tuple(left)

"""Load by itself: on any Kafka, from worker processes on this machine, for so many seconds.

    with local() as machine:
        result = drive(request, machine, SystemClock(), told=print)

Producers and consumers are processes of one machine, so a record's way through the cluster is timed by one clock.

Limits: topics must exist (`topics.py` makes them); nothing of the cluster is measured but what its clients see.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

from pydantic import Field, field_validator, model_validator

from meshmark.clock import Clock
from meshmark.load.generator import LEAD_S, Load, Mark, Spawner, load
from meshmark.pacer import Arrivals, Constant, PacerSpec, Rate, Shape
from meshmark.plan import ClientKind, ConfigValue, KeyDistributor, Seconds, Workload
from meshmark.record import LoadInterval
from meshmark.values import Model
from meshmark.worker_protocol import Payload, Schedule, WorkerSpec

TICK_S = 0.1
INTERVAL_S = 1.0
BACKLOG_MAX_S = 3_600.0
"""A backlog that is not there after this time, or not gone, is told so."""
BACKLOG_LEFT = 1_000
"""Records under way at any time: a backlog of so few counts as drained, as in OpenMessaging Benchmark."""
_WORKLOAD = Workload()

Mode = Literal["open loop", "closed loop"]


class LoadRequest(Model):
    """What is asked. Without a rate and a shape: closed loop."""

    bootstrap_servers: str
    topics: tuple[str, ...] = Field(min_length=1)
    topic_each: bool = Field(False, description="each producer, and each consumer, has one of the topics")
    partitions_per_topic: int = Field(0, ge=0, description="0: as many as each has")
    rate_msg_s: Rate | None = None
    shape: Shape | None = Field(None, description="a rate that changes, instead of one that does not")
    arrivals: Arrivals = "poisson"
    warmup_s: float = Field(0, ge=0, le=86_400, description="load before what the latencies are of")
    duration_s: Seconds
    message_size: int = Field(_WORKLOAD.message_size, ge=16, le=1_000_000)
    payload: Payload = Payload()
    key_distributor: KeyDistributor = "NO_KEY"
    client: ClientKind = _WORKLOAD.client
    clients: int = Field(1, ge=1, le=64, description="worker processes")
    workers: int = Field(_WORKLOAD.workers, ge=1, description="producer connections of each client")
    client_config: dict[str, str] = Field(default_factory=dict)
    producer_config: dict[str, ConfigValue] = Field(default_factory=dict)
    groups: tuple[str, ...] = Field((), max_length=64, description="consumer groups; each reads everything")
    consumers: int = Field(1, ge=1, description="members of each group")
    consumer_config: dict[str, ConfigValue] = Field(default_factory=dict)
    backlog_bytes: int = Field(0, ge=0, description="of values: consumers read nothing before so much waits for them")
    backlog_drain_ratio: float = Field(1, ge=0, le=1, description="the part of it that must be read: then it is gone")
    seed: int = Field(1, ge=0, le=2**32 - 1)

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for each in value.split(","):
            host, _, port = each.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ValueError(f"{each.strip() or 'nothing'} is not HOST:PORT")
        return value

    @model_validator(mode="after")
    def _fits(self) -> LoadRequest:
        if self.rate_msg_s is not None and self.shape is not None:
            raise ValueError("a rate and a shape: only one of them can be")
        if self.client == "raw" and (self.topic_each or self.payload != Payload() or self.key_distributor != "NO_KEY"):
            raise ValueError(
                "the raw client gives each connection all topics, random values, and no keys; use librdkafka"
            )
        if self.backlog_bytes and (self.mode == "closed loop" or not self.groups):
            raise ValueError("a backlog needs consumers, and a rate that goes on while it is drained")
        if self.topic_each and self.workers < len(self.topics):
            raise ValueError(f"{self.workers} producers cannot have one of {len(self.topics)} topics each")
        if self.topic_each and self.groups and self.consumers < len(self.topics):
            raise ValueError(f"{self.consumers} consumers cannot have one of {len(self.topics)} topics each")
        return self

    @property
    def mode(self) -> Mode:
        return "closed loop" if self.pace is None else "open loop"

    @property
    def pace(self) -> Shape | None:
        return self.shape if self.rate_msg_s is None else Constant(rate_msg_s=self.rate_msg_s)

    @property
    def _stamp(self) -> int:
        """Records that nobody reads need none, and in closed loop there is no intended time."""
        return random.Random(f"{self.groups}/stamp").getrandbits(62) | 1 if self.groups and self.pace else 0

    def reads(self) -> dict[str, tuple[str, ...]]:
        """What each consumer group reads, by the names that Kafka will know them by."""
        if not self.topic_each:
            return dict.fromkeys(self.groups, self.topics)
        return {f"{group}-{topic}": (topic,) for group in self.groups for topic in self.topics}

    def specs(self) -> list[WorkerSpec]:
        return [*self._producers(), *self._consumers()]

    def _consumers(self) -> list[WorkerSpec]:
        return [
            WorkerSpec(
                name=f"consumer-{number + 1}",
                role="consumer",
                bootstrap_servers=self.bootstrap_servers,
                client_config=self.client_config,
                config=dict(self.consumer_config),
                topics=self.topics,
                partitions_per_topic=self.partitions_per_topic,
                message_size=self.message_size,
                connections=self.consumers,
                topic_each=self.topic_each,
                held=self.backlog_bytes > 0,
                group=group,
                seed=self.seed,
                interval_s=INTERVAL_S,
                stamp=self._stamp,
            )
            for number, group in enumerate(self.groups)
        ]

    def _producers(self) -> list[WorkerSpec]:
        return [
            WorkerSpec(
                name=f"producer-{number + 1}",
                role="producer",
                client=self.client,
                bootstrap_servers=self.bootstrap_servers,
                client_config=self.client_config,
                config={**_WORKLOAD.producer_config, **self.producer_config},
                topics=self.topics,
                partitions_per_topic=self.partitions_per_topic,
                message_size=self.message_size,
                connections=self.workers,
                topic_each=self.topic_each,
                payload=self.payload,
                key_distributor=self.key_distributor,
                stamp=self._stamp,
                seed=self.seed + number,
                interval_s=INTERVAL_S,
                schedule=self._schedule(number),
            )
            for number in range(self.clients)
        ]

    def _schedule(self, number: int) -> Schedule | None:
        if self.pace is None:
            return None
        pacer = PacerSpec(shape=self.pace, arrivals=self.arrivals, seed=self.seed)
        return Schedule(pacer=pacer, worker=number, workers=self.clients)


class Backlog(Model):
    """What became of a backlog that was asked for. Times are from when it was awaited."""

    asked_bytes: int
    state: Literal["drained", "not drained", "not built"]
    built_s: float | None = None
    built_records: int | None = Field(None, description="that waited when it was there")
    drained_s: float | None = None


class LoadResult(Model):
    """What came of it. Rates are of the `seconds` from the end of the warm-up to just before the end of the load.
    Totals at the `end` are of everything; those of `measured`, its latencies and its lateness, of what came after the
    warm-up, up to the resolution of the last record."""

    mode: Mode
    seconds: float
    rate_msg_s: float
    consumed_msg_s: float
    end: Mark
    measured: Mark
    backlog: Backlog | None = None
    interrupted: bool
    settings: dict[str, dict[str, str]] = Field(
        description="load process -> what its clients go by, defaults included"
    )

    @property
    def invalid(self) -> str:
        """Why it says nothing about the system; empty when it does."""
        return self.measured.fault


def drive(request: LoadRequest, machine: Spawner, clock: Clock, *, told: Callable[[LoadInterval], None]) -> LoadResult:
    """Load for the time that is asked, and until its backlog is drained, or until Ctrl-C; every interval is told.
    Raises LoadError and ComponentFailed like everything in `generator.py`."""
    asked = Backlog(asked_bytes=request.backlog_bytes, state="not built") if request.backlog_bytes else None
    with load(machine, request.specs(), clock) as running:
        drive = _Drive(running, clock, told, asked)
        origin_s = begun_s = running.start()
        warm: Mark | None = None
        try:
            if request.warmup_s:
                drive.until(origin_s + request.warmup_s)
                warm = running.mark()
                begun_s = warm.time_s
            if request.backlog_bytes:
                drive.build_and_drain(request)
            until_s = max(origin_s + request.warmup_s + request.duration_s, clock.now() + LEAD_S)
            drive.until(until_s - LEAD_S)
        except KeyboardInterrupt:
            until_s = 0.0
        last = running.mark()
        end, settings = running.stop(until_s), running.settings
    window = last.since(warm) if warm else last
    seconds = last.time_s - begun_s
    return LoadResult(
        mode=request.mode,
        seconds=seconds,
        rate_msg_s=window.totals.acknowledged / seconds,
        consumed_msg_s=window.totals.consumed / seconds,
        end=end,
        measured=end.since(warm) if warm else end,
        backlog=drive.backlog,
        interrupted=not until_s,
        settings=settings,
    )


class _Drive:
    """Waiting, while intervals are told."""

    def __init__(
        self, running: Load, clock: Clock, told: Callable[[LoadInterval], None], backlog: Backlog | None
    ) -> None:
        self._running = running
        self._clock = clock
        self._told = told
        self.backlog = backlog

    def until(self, until_s: float, done: Callable[[Mark], bool] | None = None) -> Mark | None:
        """The instant at which it was done; None when the time was over before."""
        while (left := until_s - self._clock.now()) > 0:
            self._clock.sleep(min(TICK_S, left))
            for interval in self._running.intervals():
                self._told(interval)
            if done is not None and done(mark := self._running.mark()):
                return mark
        return None

    def build_and_drain(self, request: LoadRequest) -> None:
        """Consumers are held until the backlog is there; load goes on while they read it."""
        wanted = -(-request.backlog_bytes // request.message_size)
        left = max(BACKLOG_LEFT, int((1 - request.backlog_drain_ratio) * wanted))
        begun_s = self._clock.now()
        built = self.until(begun_s + BACKLOG_MAX_S, lambda mark: (mark.lag or 0) >= wanted)
        if built is not None:
            self._note(state="not drained", built_s=built.time_s - begun_s, built_records=built.lag)
        released_s = self._running.release()
        drained = self.until(released_s + BACKLOG_MAX_S, lambda mark: (mark.lag or 0) <= left)
        if built is not None and drained is not None:
            self._note(state="drained", drained_s=max(0.0, drained.time_s - released_s))

    def _note(self, **found: object) -> None:
        assert self.backlog is not None, "asked for"
        self.backlog = self.backlog.model_copy(update=found)

"""Load by itself: on any Kafka, from worker processes on this machine, for so many seconds.

    with local() as machine:
        result = drive(request, machine, SystemClock(), told=print)

Limits: topics must exist; nothing is warmed up and nothing of the cluster is measured but what its clients see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field, field_validator

from meshmark.clock import Clock
from meshmark.load.generator import LEAD_S, Load, Mark, Spawner, load
from meshmark.load.mark import generator_fault
from meshmark.pacer import Arrivals, Constant, PacerSpec, Rate
from meshmark.plan import ClientKind, ConfigValue, Model, Seconds, Workload
from meshmark.record import LoadInterval
from meshmark.worker_protocol import Schedule, WorkerSpec

TICK_S = 0.1
INTERVAL_S = 1.0
_WORKLOAD = Workload()

Mode = Literal["open loop", "closed loop"]


class LoadRequest(Model):
    """What is asked. Without a rate: closed loop."""

    bootstrap_servers: str
    topics: tuple[str, ...] = Field(min_length=1)
    rate_msg_s: Rate | None = None
    arrivals: Arrivals = "poisson"
    duration_s: Seconds
    message_size: int = Field(_WORKLOAD.message_size, ge=16, le=1_000_000)
    client: ClientKind = _WORKLOAD.client
    clients: int = Field(1, ge=1, le=64, description="worker processes")
    workers: int = Field(_WORKLOAD.workers, ge=1, le=10_000, description="producer connections of each client")
    client_config: dict[str, str] = Field(default_factory=dict)
    producer_config: dict[str, ConfigValue] = Field(default_factory=dict)
    seed: int = Field(1, ge=0, le=2**32 - 1)

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for each in value.split(","):
            host, _, port = each.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ValueError(f"{each.strip() or 'nothing'} is not HOST:PORT")
        return value

    @property
    def mode(self) -> Mode:
        return "closed loop" if self.rate_msg_s is None else "open loop"

    def specs(self) -> list[WorkerSpec]:
        return [
            WorkerSpec(
                name=f"producer-{number + 1}",
                role="producer",
                client=self.client,
                bootstrap_servers=self.bootstrap_servers,
                client_config=self.client_config,
                config={**_WORKLOAD.producer_config, **self.producer_config},
                topics=self.topics,
                partitions_per_topic=0,
                message_size=self.message_size,
                connections=self.workers,
                seed=self.seed + number,
                interval_s=INTERVAL_S,
                schedule=self._schedule(number),
            )
            for number in range(self.clients)
        ]

    def _schedule(self, number: int) -> Schedule | None:
        if self.rate_msg_s is None:
            return None
        pacer = PacerSpec(shape=Constant(rate_msg_s=self.rate_msg_s), arrivals=self.arrivals, seed=self.seed)
        return Schedule(pacer=pacer, worker=number, workers=self.clients)


class LoadResult(Model):
    """What came of it. `rate_msg_s` is what was acknowledged in the `seconds` from the start to just before the end of
    the load; totals and latencies are of all records, those that were resolved after it included."""

    mode: Mode
    seconds: float
    rate_msg_s: float
    end: Mark
    interrupted: bool

    @property
    def invalid(self) -> str:
        """Why it says nothing about the system; empty when it does."""
        return generator_fault(self.end.lateness)


def drive(request: LoadRequest, machine: Spawner, clock: Clock, *, told: Callable[[LoadInterval], None]) -> LoadResult:
    """Load for the time that is asked, or until Ctrl-C; every interval is told. Raises LoadError and ComponentFailed
    like everything in `generator.py`."""
    with load(machine, request.specs(), clock) as running:
        origin_s = running.start()
        until_s = origin_s + request.duration_s
        interrupted = _watch(running, clock, until_s - LEAD_S, told)
        last = running.mark()
        end = running.stop(0.0 if interrupted else until_s)
    seconds = last.time_s - origin_s
    return LoadResult(
        mode=request.mode,
        seconds=seconds,
        rate_msg_s=last.totals.acknowledged / seconds,
        end=end,
        interrupted=interrupted,
    )


def _watch(running: Load, clock: Clock, until_s: float, told: Callable[[LoadInterval], None]) -> bool:
    """True when it was interrupted: then the load is to end in order, too."""
    try:
        while (left := until_s - clock.now()) > 0:
            clock.sleep(min(TICK_S, left))
            for interval in running.intervals():
                told(interval)
    except KeyboardInterrupt:
        return True
    return False

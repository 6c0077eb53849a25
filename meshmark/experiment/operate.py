"""What a cluster's own administrators do to it, done under load: brokers restarted, certificates renewed, one broker
after the other, and a proof that nothing that was acknowledged is lost.

    topics -> load in open loop -> as it is -> each broker: restart, or renew; all replicas in sync again -> as it is
    -> consumers connect, and read from the beginning -> the load ends, and they have read to its end

What the load says meanwhile is heard by a thread, which is joined, and its error raised, after each step: so whoever
interrupts, interrupts the step. Limits: one producing client of librdkafka; for how long nothing was acknowledged is
known to within the interval of its reports.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

from pydantic import Field

from meshmark.analysis.outages import still_s
from meshmark.clock import Clock
from meshmark.cluster import Cluster, renewable, restartable
from meshmark.errors import MeshmarkError
from meshmark.load.generator import Load, consumer_specs, load, producer_spec
from meshmark.plan import Scenario, Workload
from meshmark.read_back import ReadBack, duplicated, missing
from meshmark.record import Latency, LoadTotals, Point
from meshmark.values import Model

Operation = Literal["restart", "rotate"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
TICK_S = 0.25
INTERVAL_S = 0.25
SETTLED_S = 5.0
"""Before the operation, and after it."""
IN_SYNC_TIMEOUT_S = 120.0

Tell = Callable[[str], None]


class Stage(Model):
    """Of the operation: `before`, a broker's name, `after`. Records count where they were resolved."""

    name: str
    began_s: float
    seconds: float = Field(description="of a broker: until all replicas were in sync again")
    totals: LoadTotals
    latency: Latency | None = Field(description="from the intended send to the acknowledgement")
    still_s: float | None = Field(description="longest time in which nothing was acknowledged")


class Operated(Model):
    """What came of it; `totals` and `read_back` are of everything."""

    operation: Operation
    scenario: str
    rate_msg_s: float
    stages: tuple[Stage, ...]
    totals: LoadTotals
    read_back: tuple[ReadBack, ...]
    faults: tuple[str, ...] = Field(description="why it does not tell whether records are lost")
    late: str = Field(description="why latencies say little; empty where they do not")

    @property
    def lost(self) -> int:
        """Records that were acknowledged, and are not there."""
        return missing(self.read_back)

    @property
    def twice(self) -> int:
        """Records that are there more than once."""
        return duplicated(self.read_back)


def operate(
    cluster: Cluster,
    scenario: Scenario,
    operation: Operation,
    clock: Clock,
    *,
    rate_msg_s: float,
    seed: int,
    tell: Tell,
) -> Operated:
    """Raises MissingRequirement, before any load, where the cluster cannot do it; what a load raises; and whatever
    keeps a broker from coming back."""
    step = _step(cluster, operation)
    workload = _workload(scenario.workload)
    layout = cluster.create_topics(workload, f"operate-{operation}")
    producer = producer_spec(workload, cluster, layout, client=1, seed=seed, rate_msg_s=rate_msg_s)
    readers = consumer_specs(workload, cluster, layout, seed=seed, end_to_end=True)
    with load(cluster, [producer.model_copy(update={"interval_s": INTERVAL_S})], clock) as running:
        running.start()
        stages = tuple(_stages(cluster, step, running, clock, tell))
        tell("reading everything back")
        running.add(readers)
        end = running.stop()
        read_back = running.read_back()
    return Operated(
        operation=operation,
        scenario=scenario.name,
        rate_msg_s=rate_msg_s,
        stages=stages,
        totals=end.totals,
        read_back=read_back,
        faults=(*end.notes, *(() if end.totals.acknowledged else ("nothing was acknowledged",))),
        late=end.fault,
    )


def _workload(asked: Workload) -> Workload:
    """Of the scenario; everything is kept, and read back once."""
    return asked.model_copy(
        update={
            "client": "librdkafka",
            "subscriptions_per_topic": 1,
            "topic_config": {**asked.topic_config, "retention.bytes": -1},
        }
    )


def _step(cluster: Cluster, operation: Operation) -> Callable[[str], None]:
    """What is done to a broker's host. Certificates are made at once, for all."""
    if operation == "restart":
        return restartable(cluster).restart
    system = renewable(cluster)
    system.renew_certificates()
    return system.reload_certificate


def _stages(cluster: Cluster, step: Callable[[str], None], running: Load, clock: Clock, tell: Tell) -> Iterator[Stage]:
    yield _stage("before", lambda: clock.sleep(SETTLED_S), cluster, running, clock)
    for host in cluster.broker_hosts:

        def done(host: str = host) -> None:
            step(host)
            restartable(cluster).wait_until_in_sync(IN_SYNC_TIMEOUT_S)

        stage = _stage(host, done, cluster, running, clock)
        tell(f"{host}: all replicas are in sync again after {stage.seconds:.1f} s")
        yield stage
    yield _stage("after", lambda: clock.sleep(SETTLED_S), cluster, running, clock)


def _stage(name: str, do: Callable[[], None], cluster: Cluster, running: Load, clock: Clock) -> Stage:
    """Until it is done."""
    first = running.mark()
    points = [Point.of(first.time_s, first.totals), *_heard_while(do, cluster, running, clock)]
    last = running.mark()
    points.append(Point.of(last.time_s, last.totals))
    inside = sorted((each for each in points if each.time_s >= first.time_s), key=lambda each: each.time_s)
    grown = last.since(first)
    return Stage(
        name=name,
        began_s=first.time_s,
        seconds=last.time_s - first.time_s,
        totals=grown.totals,
        latency=grown.latency,
        still_s=still_s(inside),
    )


def _heard_while(do: Callable[[], None], cluster: Cluster, running: Load, clock: Clock) -> list[Point]:
    """The load's reports while it is done; what nobody hears is left out. Where both go wrong, what the cluster's
    check found came first."""
    done = threading.Event()

    def hear() -> list[Point]:
        points: list[Point] = []
        while not done.is_set():
            clock.sleep(TICK_S)
            cluster.check()
            points += [Point.of(each.time_s, each.totals) for each in running.intervals()]
        return points

    with ThreadPoolExecutor(1, thread_name_prefix="listener") as pool:
        hearing = pool.submit(hear)
        try:
            do()
        except MeshmarkError:
            done.set()
            hearing.result()
            raise
        finally:
            done.set()
        return hearing.result()

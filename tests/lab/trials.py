"""A bench for single trials on a cluster that is there, with a run directory of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshmark.backends.lab.cluster import LabCluster
from meshmark.clock import SystemClock
from meshmark.experiment.progress import Silent
from meshmark.experiment.trial import Bench
from meshmark.measure.sampler import sampling
from meshmark.plan import Plan, Scenario, Slot
from meshmark.record import HostFacts, RoundStarted, Started, Versions
from meshmark.store import RunWriter


@contextmanager
def bench(cluster: LabCluster, scenario: Scenario, directory: Path) -> Iterator[Bench]:
    """The scenario may differ from the cluster's in what trials alone care for."""
    clock = SystemClock()
    started = Started(
        run_id="test",
        started_at=time.time(),
        clock_offset_s=0,
        command=(),
        effort="default",
        scenarios_selected=(scenario.name,),
        host=HostFacts(
            hostname="test",
            kernel="",
            cpu_model="",
            cpus=1,
            memory_bytes=1,
            cgroup="v1",
            file_system="",
            privileges="root",
            features={},
        ),
        versions=Versions(meshmark="", python="", kafka="", java="", envoy="", librdkafka=""),
    )
    writer = RunWriter.create(directory, Plan(name="test", scenarios=(scenario,)), started).round(
        RoundStarted(
            index=1,
            scenario=scenario.name,
            repeat=1,
            data_plane=scenario.data_plane,
            started_at=time.time(),
            time_s=clock.now(),
        )
    )
    with sampling(cluster.probes, 1.0, writer.sample, clock) as sampler:
        yield Bench(
            cluster=cluster,
            scenario=scenario,
            slot=Slot(index=1, scenario=scenario.name, repeat=1),
            seed=1,
            sampler=sampler,
            writer=writer,
            progress=Silent(),
            clock=clock,
        )

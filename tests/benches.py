"""A bench as the conductor makes one, for tests of a single step of a round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshmark.clock import Clock
from meshmark.cluster import Cluster
from meshmark.experiment.progress import Silent
from meshmark.experiment.trial import Bench
from meshmark.measure.sampler import sampling
from meshmark.plan import Scenario, Slot
from meshmark.record import RoundStarted
from meshmark.store import RoundWriter


@contextmanager
def bench(cluster: Cluster, scenario: Scenario, directory: Path, clock: Clock, index: int = 1) -> Iterator[Bench]:
    slot = Slot(index=index, scenario=scenario.name, repeat=1)
    started = RoundStarted(
        index=index, scenario=scenario.name, repeat=1, data_plane=scenario.data_plane, started_at=0, time_s=clock.now()
    )
    writer = RoundWriter(directory, started)
    with sampling(cluster.probes, 1.0, writer.sample, clock) as sampler:
        yield Bench(
            cluster=cluster,
            scenario=scenario,
            slot=slot,
            seed=1,
            sampler=sampler,
            writer=writer,
            progress=Silent(),
            clock=clock,
        )

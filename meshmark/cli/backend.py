"""Picks the backend and makes the machine ready for it: needed checks first, before anything is changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from meshmark.cli import kubernetes
from meshmark.cli.kubernetes import Place
from meshmark.cli.output import note

if TYPE_CHECKING:
    from meshmark.backends.lab.cluster import LabCluster
    from meshmark.backends.lab.instance import Instance
    from meshmark.backends.lab.session import Session
    from meshmark.clock import Clock
    from meshmark.cluster import Backend
    from meshmark.plan import Plan


@contextmanager
def opened(place: Place, plan: Plan, *, kafka: str, offline: bool) -> Iterator[tuple[Backend, Clock]]:
    """The backend of that name, ready to run the plan, and the clock it lives by."""
    from meshmark.clock import SystemClock
    from meshmark.errors import UsageError

    if place.backend == "simulated":
        from meshmark.backends.simulated import SimulatedBackend, SimulatedClock

        simulated = SimulatedClock()
        yield SimulatedBackend(simulated, seed=plan.seed), simulated
        return
    if place.backend == "kubernetes":
        yield kubernetes.backend(place, plan), SystemClock()
        return
    if place.backend != "lab":
        raise UsageError(f"there is no backend {place.backend}", hint="backends are: lab, kubernetes, simulated")
    _make_ready(plan, kafka=kafka, offline=offline)
    from meshmark.backends.lab.backend import lab

    with lab("run", kafka=kafka, offline=offline) as backend:
        for what in backend.instance.reclaimed:
            note(f"removed: {what}")
        yield backend, SystemClock()


def keep_up(plan: Plan, *, kafka: str, offline: bool) -> Session:
    """Brings the plan's only scenario up and leaves it to its keeper."""
    from meshmark.backends.lab import session
    from meshmark.backends.lab.instance import reclaim

    (scenario,) = plan.scenarios
    _make_ready(plan, kafka=kafka, offline=offline)
    for what in reclaim():
        note(f"removed: {what}")
    note(f"starting {scenario.name}: {scenario.cluster.brokers} brokers")
    description = {"scenario": scenario.name, "data plane": str(scenario.data_plane)}
    if links := scenario.cluster.topology.links:
        description["links"] = ", ".join(f"{link.name} {link.rtt_ms:g} ms RTT" for link in links)
    return session.up(lambda owned: _kept(owned, plan, kafka), description)


@contextmanager
def _kept(owned: Instance, plan: Plan, kafka: str) -> Iterator[LabCluster]:
    """In the keeper: what was fetched before is there, so nothing is downloaded here."""
    from meshmark.backends.lab.backend import LabBackend
    from meshmark.backends.lab.namespace import enter_user_namespace

    if os.geteuid() != 0:
        enter_user_namespace()
    backend = LabBackend(owned, kafka=kafka, offline=True)
    backend.prepare(plan)
    with backend.cluster(plan.scenarios[0]) as cluster:
        yield cluster


def _make_ready(plan: Plan, *, kafka: str, offline: bool) -> None:
    """Checks what the plan needs, then fetches what is not in the cache. Leaves no second thread behind, so that
    a user namespace can be entered afterwards."""
    from meshmark.cli.doctor import require
    from meshmark.kafka import distribution
    from meshmark.kafka.companion import companion
    from meshmark.live.progress import counter
    from meshmark.planfile import limits_needed

    distribution.read_lock(kafka)
    if needed := limits_needed(plan):
        from meshmark.backends.lab.limits import REQUIRE

        for limited in needed:
            REQUIRE[limited]()
    require(plan, offline=offline and kafka == distribution.KAFKA)
    with counter(sys.stderr, "jars of Kafka") as told:
        distribution.fetch(kafka, offline=offline, progress=told)
        companion(distribution.java(), offline=offline)

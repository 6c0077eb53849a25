"""Plays the flapping links of a topology while a trial's load is offered: down and up again, until the load ends.

Each link that flaps has a thread, which is joined, and its error raised, at the end; the links are whole then. What
happened is recorded as it was, not as it was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from meshmark.clock import Clock
from meshmark.cluster import Cluster, Cuttable, cuttable
from meshmark.record import Outage
from meshmark.store import RoundWriter
from meshmark.topology import Link, Topology


@contextmanager
def flapping(cluster: Cluster, topology: Topology, trial: int, clock: Clock, writer: RoundWriter) -> Iterator[None]:
    """Nothing happens where no link flaps. Raises MissingRequirement where links cannot be cut."""
    links = topology.flapping()
    if not links:
        yield
        return
    system, over = cuttable(cluster), threading.Event()
    with ThreadPoolExecutor(len(links), thread_name_prefix="flap") as pool:
        running = [pool.submit(_flap, system, link, trial, clock, over) for link in links]
        try:
            yield
        finally:
            over.set()
        for ended in running:
            for outage in ended.result():
                writer.outage(outage)


def _flap(system: Cuttable, link: Link, trial: int, clock: Clock, over: threading.Event) -> list[Outage]:
    found = []
    while not over.wait(link.flap.up_seconds):
        with system.cut(link.name):
            began_s = clock.now()
            over.wait(link.flap.down_seconds)
            ended_s = clock.now()
        found.append(Outage(trial=trial, link=link.name, began_s=began_s, ended_s=ended_s))
    return found

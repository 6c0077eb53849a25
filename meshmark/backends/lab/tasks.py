"""CPU of what is not meshmark's: kernel threads, and the machine's other processes by name.

Reads every process of the machine, some milliseconds of work, so only at the edges of windows. Between two readings
growth is booked; what a process used before the first reading counts for nobody. A process that lived and died between
two readings is in its parent's time for children, if that waited for it, and is booked under the parent's name.

Keys: machine/kernel (where kernel threads are visible: not inside a PID namespace), machine/others, and
machine/others:NAME of each name that used something.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshmark.probes import procfs
from meshmark.probes.host import MACHINE, PAGE_BYTES, TICKS_PER_S, text_of
from meshmark.probes.procfs import ProcessStat
from meshmark.record import Counters


class Used(NamedTuple):
    """CPU seconds."""

    user_s: float
    system_s: float

    def plus(self, other: Used) -> Used:
        return Used(self.user_s + other.user_s, self.system_s + other.system_s)

    def less(self, other: Used) -> Used:
        """Never below nothing: a parent that does not wait for its children never gets their time."""
        return Used(max(0.0, self.user_s - other.user_s), max(0.0, self.system_s - other.system_s))


NOTHING = Used(0.0, 0.0)
Tasks = Mapping[int, ProcessStat]


class TasksProbe:
    """Implements `meshmark.cluster.Probe`; remembers the last reading."""

    edges_only = True

    def __init__(self, own: int) -> None:
        """`own` is meshmark's process; its descendants, which are its components, are left out."""
        self._own = own
        self._seen: Tasks | None = None
        self._kernel = NOTHING
        self._others: defaultdict[str, Used] = defaultdict(lambda: NOTHING)

    def read(self) -> Counters:
        now = {stat.pid: stat for stat in _all_tasks()}
        if self._seen is not None:
            own = family(now, self._own)
            for stat, grown in growth(self._seen, now):
                if stat.kernel:
                    self._kernel = self._kernel.plus(grown)
                elif stat.pid not in own:
                    self._others[stat.name] = self._others[stat.name].plus(grown)
        self._seen = now
        counters = _keyed("kernel", self._kernel) if any(stat.kernel for stat in now.values()) else {}
        total = NOTHING
        for name, used in self._others.items():
            total = total.plus(used)
            if used != NOTHING:
                counters |= _keyed(f"others:{name.replace('/', '_')}", used)
        return counters | _keyed("others", total)


def growth(before: Tasks, now: Tasks) -> Iterable[tuple[ProcessStat, Used]]:
    """What each task, and those of its descendants that ended, used between two readings."""
    counted: defaultdict[int, Used] = defaultdict(lambda: NOTHING)
    for gone in before.values():
        if not _lives(gone, now):
            ancestor = gone
            while ancestor.parent in before and not _lives(ancestor, now):
                ancestor = before[ancestor.parent]
            # Its whole life is now in the ancestor's time for children; this much of it was before.
            counted[ancestor.pid] = counted[ancestor.pid].plus(_used(gone)).plus(_waited(gone))
    for stat in now.values():
        known = before[stat.pid] if stat.pid in before and _lives(before[stat.pid], now) else None
        own = _used(stat).less(_used(known) if known else NOTHING)
        waited = _waited(stat).less(_waited(known) if known else NOTHING).less(counted[stat.pid])
        yield stat, own.plus(waited)


def family(tasks: Tasks, root: int) -> set[int]:
    """A process and all its descendants."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for stat in tasks.values():
        children[stat.parent].append(stat.pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children[pid]
    return found


def _lives(stat: ProcessStat, now: Tasks) -> bool:
    return stat.pid in now and now[stat.pid].start_ticks == stat.start_ticks


def _used(stat: ProcessStat) -> Used:
    return Used(stat.user_s, stat.system_s)


def _waited(stat: ProcessStat) -> Used:
    return Used(stat.children_user_s, stat.children_system_s)


def _all_tasks() -> Iterable[ProcessStat]:
    for name in (entry.name for entry in os.scandir("/proc")):
        if name.isdigit():
            try:
                yield procfs.process_stat(text_of(f"/proc/{name}/stat"), TICKS_PER_S, PAGE_BYTES)
            except (OSError, ValueError):
                continue  # it ended meanwhile


def _keyed(component: str, used: Used) -> Counters:
    return {f"{MACHINE}/{component}/cpu_user_s": used.user_s, f"{MACHINE}/{component}/cpu_system_s": used.system_s}

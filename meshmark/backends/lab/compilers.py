"""The compiler threads of a JVM: their CPU time, and their priority while a broker warms up.

Three brokers compile for some 30 CPU seconds before they are as fast as they get. Under load compilers share the CPUs
with everything else, and on two cores that takes them longer than half a minute; while they lag behind, a rate may
stand still for many seconds far below what compiled code gives. So they go first until a broker is warm, and then have
the priority that they always have. What they still use then is warm-up and not the price of load: the ledger has it
apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from meshmark.probes import procfs
from meshmark.probes.host import PAGE_BYTES, TICKS_PER_S, text_of
from meshmark.record import Counters

NICE = -15
LOOKED_THROUGH = 10
_NAMES = ("C1 Compiler", "C2 Compiler")


class CompilersProbe:
    """Keys HOST/kafka/compilers_cpu_user_s and .._system_s: what the compiler threads of a broker used, within what
    the broker used. Implements `meshmark.cluster.Probe`.

    Names are read of threads that are new, and of all at each LOOKED_THROUGH-th reading. A thread that ends (JVMs on
    many CPUs end idle compilers) keeps what it had used at the reading before.
    """

    edges_only = False

    def __init__(self, host: str, pid: int) -> None:
        self._prefix = f"{host}/kafka/compilers_cpu_"
        self._pid = pid
        self._readings = 0
        self._threads: frozenset[int] = frozenset()
        self._compilers: frozenset[int] = frozenset()
        self._used: dict[tuple[int, int], tuple[float, float]] = {}

    def read(self) -> Counters:
        threads = frozenset(_threads(self._pid))
        unknown = threads if self._readings % LOOKED_THROUGH == 0 else threads - self._threads
        self._readings += 1
        self._compilers = (self._compilers & threads) | frozenset(_compilers(self._pid, unknown))
        self._threads = threads
        for thread in self._compilers:
            with suppress(OSError, ValueError):  # it ended meanwhile
                text = text_of(f"/proc/{self._pid}/task/{thread}/stat")
                stat = procfs.process_stat(text, TICKS_PER_S, PAGE_BYTES)
                self._used[thread, stat.start_ticks] = stat.user_s, stat.system_s
        if not self._used:
            return {}
        user_s, system_s = (sum(parts) for parts in zip(*self._used.values(), strict=True))
        return {f"{self._prefix}user_s": user_s, f"{self._prefix}system_s": system_s}


@contextmanager
def compilers_first(pids: Iterable[int]) -> Iterator[None]:
    """Those of the JVMs `pids`, until it is left. Where this process may not raise a priority nothing changes: a
    warm-up takes longer. Threads that come later have the priority of the compiler that starts them."""
    jvms = tuple(pids)
    _renice(jvms, NICE)
    try:
        yield
    finally:
        _renice(jvms, 0)


def compiler_threads(pid: int) -> tuple[int, ...]:
    """Their thread ids; none of a process that is gone."""
    return tuple(_compilers(pid, _threads(pid)))


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in os.scandir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _compilers(pid: int, threads: Iterable[int]) -> Iterator[int]:
    for thread in threads:
        with suppress(OSError):
            if text_of(f"/proc/{pid}/task/{thread}/comm").startswith(_NAMES):
                yield thread


def _renice(pids: Iterable[int], nice: int) -> None:
    for thread in (thread for pid in pids for thread in compiler_threads(pid)):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, nice)

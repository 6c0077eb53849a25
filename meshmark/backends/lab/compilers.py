"""The compiler threads of a JVM, and their priority while a broker warms up.

Three brokers compile for some 30 CPU seconds before they are as fast as they get. Under load compilers share the CPUs
with everything else, and on two cores that takes them longer than half a minute; while they lag behind, a rate may
stand still for many seconds far below what compiled code gives. So they go first until a broker is warm, and then have
the priority that they always have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NICE = -15
_NAMES = ("C1 Compiler", "C2 Compiler")


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
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            if (task / "comm").read_text(encoding="utf-8").startswith(_NAMES):
                found.append(int(task.name))
    return tuple(found)


def _renice(pids: Iterable[int], nice: int) -> None:
    for thread in (thread for pid in pids for thread in compiler_threads(pid)):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, nice)

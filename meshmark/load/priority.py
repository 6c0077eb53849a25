"""The priority of the thread that paces an open loop: due records wait for it, so it goes before brokers and sidecars.

It sleeps nearly all of the time, and takes little from them. Only the calling thread is meant: threads that it starts
afterwards, the client library's, begin with normal priority, as in any client.
"""

from __future__ import annotations

import os
from contextlib import suppress

NICE = -10


def raise_priority() -> str:
    """The best that this process is allowed, in words for the record: real-time, a negative nice value, or normal."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return "SCHED_RR 1"
    with suppress(OSError):
        # Threads inherit a nice value, unless this flag is set.
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        return f"nice {NICE}"
    return "normal"

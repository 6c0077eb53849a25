"""The priority of a load worker, which goes before the brokers and sidecars that it shares a machine with.

Due records wait for the thread that paces an open loop, so it gets real-time priority; it sleeps nearly all of the
time. It also waits for locks that the client library's threads hold. One of those that was pushed aside while it held
one, by a dozen busy threads of brokers, kept the pacer for up to 0.7 s; so they too go first, by a nice value.

Where the kernel schedules sessions as groups (autogroup), a nice value counts only within the session, and each broker
and worker leads one of its own. So the worker's group gets the value as well.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = -10
AUTOGROUP = Path("/proc/self/autogroup")


def raise_process() -> str:
    """Of the calling thread and of all that it, and they, start from now on; in words for the record."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        with suppress(OSError):  # a kernel without autogroups
            AUTOGROUP.write_text(f"{NICE}\n", encoding="ascii")
        return f"nice {NICE}"
    return "normal"


def raise_pacer() -> str | None:
    """Of the calling thread alone; None where that is not allowed. A thread that it starts later is an ordinary one,
    without the nice value: call it when the client has its threads."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        return "SCHED_RR 1"
    return None

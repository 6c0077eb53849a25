"""How long the calling thread has slept: waited for something, rather than worked or waited for a CPU.

Inside a pass of the worker's loop nothing sleeps on purpose: what it slept there, it waited for locks that threads of
the client library hold. A thread that only has to wait for a CPU does not sleep by this clock. Limit: without the
kernel's scheduler statistics nothing is ever slept, and such waits count as the worker's own.
"""

from __future__ import annotations

import os
from time import monotonic_ns, thread_time_ns

_STATISTICS = "/proc/thread-self/schedstat"
_BYTES = 128


class SleepClock:
    """Of the thread that makes it, which alone may ask it. Close it."""

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open(_STATISTICS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def slept_ns(self) -> int:
        """Since some moment; only differences mean something."""
        if self._file is None:
            return 0
        waited_for_cpu = int(os.pread(self._file, _BYTES, 0).split()[1])
        return monotonic_ns() - thread_time_ns() - waited_for_cpu

"""Time as a parameter: real in production, simulated in unit tests."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds. `now` is the machine's monotonic clock (one origin for all processes of a machine);
    `wall` is Unix time, for people."""

    def now(self) -> float: ...

    def wall(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """CLOCK_MONOTONIC and CLOCK_REALTIME of this machine."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

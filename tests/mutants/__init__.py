"""The load generator, broken on purpose in each of the ways in which such tools are known to misreport.

Each name in CAUGHT is a mutant of the simulated worker (`simulated.py`) and of the real one (`real.py`). A self-test
or an accounting check that lets one of them pass is broken itself.
"""

from __future__ import annotations

BY_ARITHMETIC = r"records have a latency above \S+ s; arithmetic says"
BY_ACCOUNTS = r"gave \d+ latencies of \d+ records"
CAUGHT: dict[str, str] = {
    "actual-send clock": BY_ARITHMETIC,
    "clock at send() return": BY_ARITHMETIC,
    "slipping schedule": BY_ARITHMETIC,
    "dropped end-to-end values": BY_ACCOUNTS,
    "sends counted as acknowledged": BY_ACCOUNTS,
    "lost histogram": BY_ACCOUNTS,
}
"""Each mutant, and what is said of it."""

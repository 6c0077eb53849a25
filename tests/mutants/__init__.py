"""The load generator, broken on purpose in each of the ways in which such tools are known to misreport.

Each name in CAUGHT is a mutant of the simulated worker (`simulated.py`) and of the real one (`real.py`), each in
RAW_CAUGHT one of the real worker's raw client, which the simulated system does not have. One is no mutant of a worker
but of the merge over workers (`merge.py`). A self-test or an accounting check that lets one of them pass is broken
itself.
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
RAW_CAUGHT: dict[str, str] = {
    f"{name}, raw client": CAUGHT[name]
    for name in ("actual-send clock", "clock at send() return", "slipping schedule", "sends counted as acknowledged")
}
"""Each mutant, and what is said of it."""

"""When a system is warm: its rate no longer rises.

The JVM compiles while it serves, so a broker's rate climbs for seconds to tens of seconds, by scenario (TLS longest).
A fixed time would measure some data planes warm and others cold. Limit: a rate that rises by less than RISE over a
SPAN counts as flat; slower drift stays in the figures and shows in their spread.
"""

from __future__ import annotations

from collections.abc import Sequence

SPAN = 4
"""Readings that are compared with as many before them; a second each, longer than a garbage collection's dip."""
RISE = 0.05
"""Two means of SPAN readings differ by about this much at a flat rate on a noisy machine of two cores."""


def flat(rates_msg_s: Sequence[float]) -> bool:
    """Is the mean of the last SPAN readings above 0, and less than RISE above that of the SPAN before them?"""
    if len(rates_msg_s) < 2 * SPAN:
        return False
    before, last = sum(rates_msg_s[-2 * SPAN : -SPAN]), sum(rates_msg_s[-SPAN:])
    return 0 < last < before * (1 + RISE)

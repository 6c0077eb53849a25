"""When a system is warm: a rise of its rate can be ruled out, and its JVMs have compiled what they run.

The JVM compiles while it serves, so a broker's rate climbs for seconds to tens of seconds, by scenario (TLS longest).
A fixed time would measure some data planes warm and others cold. A flat rate alone is not enough: where compilers
cannot keep up with a loaded machine, a rate stands still at a third of what it comes to. Limit: a rise slower than
RISE over the longest stretch counts as flat; it stays in the figures and shows in their spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from meshmark.analysis.trend import slope

RISE = 0.05
DOUBT = 0.15
"""Probability of a larger rise that is accepted. On simulated systems whose warm-up has time constants of 2 to 12 s,
4 % were called flat with more than 5 % still to rise; comparing the means of two spans of four seconds, 25 %."""
LEAST, MOST = 8, 20
"""Readings looked at, a second each; the fewest are longer than a garbage collection's dip."""
COMPILING = 0.35
"""Share of the brokers' CPU time: on two cores compilers that lag behind take 0.5 and more, those that have done 0.1
to 0.3, since code is compiled anew now and then."""
COMPILING_SECONDS = 4


def warm(rates_msg_s: Sequence[float], compiling: Sequence[float]) -> bool:
    """Of each second of a warm-up: the rate, and the share of the brokers' CPU time that was compilers' work; nothing
    where that is not known, and then the rate alone tells."""
    latest = compiling[-COMPILING_SECONDS:]
    return flat(rates_msg_s) and (not latest or fmean(latest) <= COMPILING)


def flat(rates_msg_s: Sequence[float]) -> bool:
    """Is there a stretch of latest rates, at equal distances, over which a rise of more than RISE is improbable? Not
    whether a rise is seen (a short noisy series never shows one) but whether it is ruled out, so a noisy rate takes
    longer to be called flat."""
    if min(rates_msg_s[-LEAST:], default=0.0) <= 0:
        return False
    for count in range(LEAST, min(len(rates_msg_s), MOST) + 1, 2):
        line = slope(np.arange(count, dtype=np.float64), np.log(np.maximum(rates_msg_s[-count:], 1e-9)))
        if line.below(RISE / count) >= 1 - DOUBT:
            return True
    return False

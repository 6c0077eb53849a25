"""The only place that turns base units (bytes, seconds, messages) into text for people.

MB = 10^6 and GB = 10^9 bytes. Unknown is printed as a dash, never as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MB = 1_000_000
GB = 1_000_000_000
UNKNOWN = "–"


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, thousands separated."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:,.0f}"
    return f"{rounded:.{digits}g}"


def rate_msg_s(value: float | None) -> str:
    return UNKNOWN if value is None else f"{float(f'{value:.4g}'):,.0f}"


def mb(value_bytes: float | None) -> str:
    return number(None if value_bytes is None else value_bytes / MB)


def percent(ratio: float | None, *, signed: bool = False) -> str:
    if ratio is None:
        return UNKNOWN
    return f"{ratio * 100:+.0f} %" if signed else f"{ratio * 100:.0f} %"


def duration(seconds: float | None) -> str:
    """`95` -> `1 min 35 s`."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def column(values: Sequence[float | None], digits: int = 3) -> list[str]:
    """Values of one table column with the same number of decimals, so that they can be compared at a glance:
    as many as the largest needs for `digits` significant digits."""
    known = [abs(value) for value in values if value]
    if not known:
        return [UNKNOWN if value is None else "0" for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(max(known))))
    # Adding 0.0 turns a negative zero into zero.
    return [UNKNOWN if value is None else f"{round(value, decimals) + 0.0:,.{decimals}f}" for value in values]

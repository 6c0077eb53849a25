"""What a run's hosts were limited to, as recorded: the profile, its scale, and each limit with what a probe found.

`Hardware` is written once for a run, when its scale is known; a `LimitProbe` for each limit in each round.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.profile import Profile
from meshmark.record import Limit
from meshmark.values import Model

TOLERANCE = 0.05
"""A limit holds if its probe found what it should be, within this."""
CPUS_MIN = 0.01
"""The least that a quota can be: 1 ms (min_cfs_quota_period of kernel/sched/core.c in Linux 6.12) in each 0.1 s."""


class Bound(Model):
    """What one resource of this machine allows a profile to be scaled to."""

    resource: Literal["cpu", "disk", "operations", "network"]
    needed: float = Field(description="at scale 1, by all hosts at once: CPUs, bytes or operations a second")
    available: float = Field(description="here, as far as it may be given out")

    @property
    def scale(self) -> float:
        return self.available / self.needed


class Hardware(Model):
    """The profile of a run and the one factor by which all of its limits were multiplied."""

    profile: Profile
    asked: Literal["auto"] | float
    scale: float
    bounds: tuple[Bound, ...] = Field(description="what this machine allows; the least of them is auto")


class LimitProbe(Model):
    """A limit, and what got through when more was tried, in the limit's unit."""

    limit: Limit
    measured: float
    tries: int = Field(description="probes that it took; the last one counts")

    @property
    def error(self) -> float:
        """Share by which too much got through; below zero: too little."""
        return self.measured / self.limit.amount - 1

    @property
    def holds(self) -> bool:
        return abs(self.error) <= TOLERANCE

"""What control groups are told: quotas of CPU and limits of writes, for cgroup v1 and v2 behind one interface.

A `Version` turns an amount into texts for files; `tell` writes them. Which groups there are, and whose, is in
`cgroups.py`.

Limits: v2 was tested on files alone, since its controllers could not be had where this was written; a profile's limits
are probed in every round, so a run tells whether they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from meshmark.hardware import CPUS_MIN

Writes = Literal["bytes", "operations"]
Controller = Literal["cpu", "io", "cpuset"]

PERIOD_US = 100_000
"""Of a quota, as Kubernetes sets it for a container's limit."""
QUOTA_MIN_US = round(CPUS_MIN * PERIOD_US)
WITNESSES: Mapping[Controller, str] = {"cpu": "cpu.max", "io": "io.max", "cpuset": "cpuset.cpus"}
"""Of a controller in v2: a file that groups have if they have it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A text for a file of a group."""

    file: str
    text: str


class Version(Protocol):
    """How one version of control groups is told. None: no limit any more."""

    def quota(self, cpus: float | None) -> Sequence[Setting]:
        """CPUs' time for all processes of the group together."""

    def writes(self, device: str, kind: Writes, per_second: int | None) -> Sequence[Setting]:
        """Bytes or operations that a device (`7:0`) takes from the group."""


class _First:
    """cgroup v1, a hierarchy for each controller."""

    def quota(self, cpus: float | None) -> Sequence[Setting]:
        return (
            Setting("cpu.cfs_period_us", str(PERIOD_US)),
            Setting("cpu.cfs_quota_us", "-1" if cpus is None else str(_quota_us(cpus))),
        )

    def writes(self, device: str, kind: Writes, per_second: int | None) -> Sequence[Setting]:
        name = {"bytes": "bps", "operations": "iops"}[kind]
        return (Setting(f"blkio.throttle.write_{name}_device", f"{device} {per_second or 0}"),)


class _Second:
    """cgroup v2, one hierarchy."""

    def quota(self, cpus: float | None) -> Sequence[Setting]:
        return (Setting("cpu.max", f"{'max' if cpus is None else _quota_us(cpus)} {PERIOD_US}"),)

    def writes(self, device: str, kind: Writes, per_second: int | None) -> Sequence[Setting]:
        name = {"bytes": "wbps", "operations": "wiops"}[kind]
        return (Setting("io.max", f"{device} {name}={per_second or 'max'}"),)


V1: Version = _First()
V2: Version = _Second()


def _quota_us(cpus: float) -> int:
    return max(QUOTA_MIN_US, round(cpus * PERIOD_US))


def tell(group: Path, settings: Sequence[Setting]) -> None:
    """Raises OSError where the kernel does not take one."""
    for each in settings:
        (group / each.file).write_text(each.text, encoding="ascii")


def enable(group: Path, controller: Controller) -> bool:
    """Asks for a controller in a group of v2, from the one that meshmark is in downwards; whether it is there then."""
    for above in (group.parent.parent, group.parent):
        with suppress(OSError):
            (above / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
    return (group / WITNESSES[controller]).is_file()

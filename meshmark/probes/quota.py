"""How a CPU quota holds a component back, by its control group; and where a container's group is seen from another
container of its pod."""

from __future__ import annotations

import os
from pathlib import Path

from meshmark.probes import procfs
from meshmark.record import Counters

ROOT_ALONE = "release_agent"
"""Of version 1: a file that the root of a hierarchy has, and nothing below it."""
NOT_THE_ROOT = "cgroup.events"
"""Of version 2: a file that the root has not."""


class QuotaProbe:
    """How often, and for how long, a component had used up its quota. Reads nothing once the limit is gone."""

    edges_only = False

    def __init__(self, host: str, component: str, group: Path) -> None:
        self._prefix = f"{host}/{component}/"
        self._stat = os.fspath(group / "cpu.stat")

    def read(self) -> Counters:
        try:
            values = procfs.throttling(Path(self._stat).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return {self._prefix + metric: value for metric, value in values.items()}


def group_within(root: Path) -> Path | None:
    """Of a container, by its file system (`/proc/PID/root` of a process in it, which the same user may look into): its
    own control group with a CPU quota. None where it shows none, or that of the whole node."""
    mounted = root / "sys" / "fs" / "cgroup"
    try:
        if (mounted / "cpu.stat").is_file():
            return mounted if (mounted / NOT_THE_ROOT).is_file() else None
        for hierarchy in ("cpu", "cpu,cpuacct"):
            group = mounted / hierarchy
            if (group / "cpu.stat").is_file():
                return None if (group / ROOT_ALONE).exists() else group
    except OSError:  # of another user
        return None
    return None

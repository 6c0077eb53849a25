"""Less of one resource for one host, for a while; the lab's `Limitable`. Disk and network are in `disk` and `link`.

CPU is a quota for the processes of one component: the scheduler's bandwidth control (CFS), as Kubernetes sets it for
a container's CPU limit, with the same period of 0.1 s; or for all brokers, sidecars and load workers together, which
is a machine with fewer CPUs. Processes run at full speed until it is used up and then not at all until the period
ends. With cgroup v1 the processes move to a group in the hierarchy of `cpu` for as long as the limit lasts; with v2
their group gets `cpu.max`.

Limits: only processes that run already are limited, and one process has one quota at a time; a thread that paces load
with real-time priority is not bound by it; v2 was tested on files alone. Needs root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from meshmark.backends.lab.cgroups import make_quota_group, quotas_possible, remove_empty, writes_possible
from meshmark.backends.lab.controls import V1, V2, Writes, enable, tell
from meshmark.backends.lab.disk import require_dirty_bounds, write_limit
from meshmark.backends.lab.ground import Ground
from meshmark.backends.lab.link import Host, LimitedLinkProbe, bandwidth
from meshmark.backends.lab.namespace import outside_uid
from meshmark.backends.lab.process import LabProcess
from meshmark.cluster import Probe
from meshmark.errors import LabError, MissingRequirement
from meshmark.planfile.hardware import Limited
from meshmark.probes.quota import QuotaProbe
from meshmark.record import Counters, Limit

SHARES_V1 = "cpu.shares"
SHARES = 1_024
"""A thread's weight outside all groups."""
FIRST = 9.3
"""Times that, for load workers: as much as the nice value -10 is worth, which counts only inside a group (9,548 to
1,024, kernel/sched/core.c)."""
CPUS = os.cpu_count() or 1
MACHINE = "machine"
DELEGATED = "in a group of its own that has the controllers (`systemd-run --scope -p Delegate=yes meshmark ...`)"
CARRYING = ("kafka", "sidecar", "gateway", "client")
"""Components without which no record goes through."""


@contextmanager
def limiting(limit: Limit, ground: Ground, processes: Sequence[LabProcess]) -> Iterator[Probe]:
    """Holds a limit; yields the probe of what it shows of itself."""
    running = [each for each in processes if each.returncode is None]
    if limit.host == MACHINE:
        with machine_quota(limit, ground, running) as quota:
            yield quota
        return
    host = ground.network.hosts[limit.host]
    if limit.resource == "cpu":
        pids = [each.pid for each in running if (each.host, each.component) == (limit.host, limit.component)]
        if not pids:
            raise MissingRequirement(f"there is no {limit.component} on {limit.host} whose CPU could be limited")
        with cpu_quota(host, limit.component, pids, limit.amount, ground.instance) as quota:
            yield quota
    elif limit.resource == "network":
        with bandwidth(host, limit.amount):
            yield LimitedLinkProbe(host, limit.amount)
    else:
        if limit.host not in ground.disks:
            raise MissingRequirement(
                f"the disk of {limit.host} cannot be limited: it has none of its own",
                hint="Set storage `image` in the plan, and name a broker's host.",
            )
        kind: Writes = "bytes" if limit.resource == "disk" else "operations"
        with write_limit(ground.disks[limit.host], host, kind, limit.amount, ground.instance):
            yield VolumeProbe(limit.host, kind, limit.amount)


@contextmanager
def cpu_quota(host: Host, component: str, pids: Sequence[int], cpus: float, instance: Path) -> Iterator[QuotaProbe]:
    """`cpus` CPUs' time for all of `pids` together; yields the probe of how often they ran into it."""
    try:
        if (parent := make_quota_group(instance)) is not None:
            weight = FIRST if component == "client" else 1.0
            with _moved(parent / f"{host.name}-{component}", pids, cpus, weight) as group:
                yield QuotaProbe(host.name, component, group)
        else:
            with _bounded(_unified(host, component), cpus) as group:
                yield QuotaProbe(host.name, component, group)
    except PermissionError as error:
        raise LabError(f"the kernel refused a CPU quota: {error}") from error


@contextmanager
def machine_quota(limit: Limit, ground: Ground, processes: Sequence[LabProcess]) -> Iterator[QuotaProbe]:
    """CPUs' time for all that carries records, clients included. Meshmark itself, and others, have theirs still."""
    if limit.resource != "cpu":
        raise MissingRequirement(f"of the machine, {limit.resource} cannot be limited", hint="Name a host.")
    pids = [each.pid for each in processes if each.component in CARRYING]
    try:
        if (parent := make_quota_group(ground.instance)) is not None:
            with _moved(parent / MACHINE, pids, limit.amount) as group:
                yield QuotaProbe(MACHINE, "quota", group)
        else:
            first = next(iter(ground.network.hosts.values()))
            with _bounded(_unified(first, "kafka").parent, limit.amount) as group:
                yield QuotaProbe(MACHINE, "quota", group)
    except PermissionError as error:
        raise LabError(f"the kernel refused a CPU quota: {error}") from error


def require_limits() -> None:
    """Raises MissingRequirement where hosts cannot be limited; nothing has been changed then."""
    if outside_uid() != 0:
        raise MissingRequirement(
            "taking resources away from hosts needs root",
            hint="Run as root, or without a profile and without an explanation of the limits.",
        )
    if not quotas_possible():
        raise MissingRequirement(
            "taking CPU away needs the cgroup controller `cpu`, which meshmark may not write here",
            hint=f"Use cgroup v1, or v2 {DELEGATED}; or leave out profile and explanation.",
        )


def require_write_limits() -> None:
    """Raises MissingRequirement where disks cannot be limited; nothing has been changed then."""
    if not writes_possible():
        raise MissingRequirement(
            "limiting disks needs the cgroup controller `blkio` (v1) or `io` (v2), which meshmark may not write here",
            hint=f"Use cgroup v1, or v2 {DELEGATED}; or leave out the profile.",
        )
    require_dirty_bounds()


REQUIRE: Mapping[Limited, Callable[[], None]] = {"cpu": require_limits, "disk": require_write_limits}
"""In this order: what the first says of root holds for the second."""


@contextmanager
def _moved(group: Path, pids: Sequence[int], cpus: float, weight: float = 1.0) -> Iterator[Path]:
    """v1: a group of its own, left again at the end for where they came from: processes that share a group share its
    weight, too. While they are in it, it weighs as much as they did, a thread for each CPU and process."""
    group.mkdir()
    try:
        (group / SHARES_V1).write_text(str(round(SHARES * CPUS * len(pids) * weight)), encoding="ascii")
        _weigh(group.parent)
        tell(group, V1.quota(cpus))
        for pid in pids:
            _move(pid, group)
        yield group
    finally:
        for member in (group / "cgroup.procs").read_text(encoding="ascii").split():
            _move(int(member), group.parent.parent)
        remove_empty(group)
        _weigh(group.parent)


def _weigh(parent: Path) -> None:
    """As much as the groups in it."""
    weights = [int(path.read_text(encoding="ascii")) for path in parent.glob(f"*/{SHARES_V1}")]
    (parent / SHARES_V1).write_text(str(max(SHARES, sum(weights))), encoding="ascii")


def _move(pid: int, group: Path) -> None:
    with suppress(ProcessLookupError):  # it ended; whoever watches over it will say so
        try:
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _move_threads(pid, group)


def _move_threads(pid: int, group: Path) -> None:
    """A process with a thread of real-time priority is refused as a whole where groups need a share of real time of
    their own (RT_GROUP_SCHED). That thread stays outside, where a quota of CFS would not bind it either."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            (group / "tasks").write_text(thread.name, encoding="ascii")
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ESRCH):
                raise


def _unified(host: Host, component: str) -> Path:
    """The component's group in v2, with the controller if it can be had."""
    group = host.group(component)
    if group is None or not enable(group, "cpu"):
        raise MissingRequirement(
            "CPU cannot be limited here: there is no cgroup with the controller `cpu` that meshmark may write",
            hint=f"Run as root, with cgroup v1, or with v2 {DELEGATED}.",
        )
    return group


@contextmanager
def _bounded(group: Path, cpus: float) -> Iterator[Path]:
    """v2: the group that they are in."""
    tell(group, V2.quota(cpus))
    try:
        yield group
    finally:
        with suppress(FileNotFoundError):
            tell(group, V2.quota(None))


class VolumeProbe:
    """What a broker's disk may take, as a provisioned one tells its throughput and its operations."""

    edges_only = False

    def __init__(self, host: str, kind: Writes, per_second: float) -> None:
        self._values = {f"{host}/volume/limit_{'bytes' if kind == 'bytes' else 'ops'}_s": per_second}

    def read(self) -> Counters:
        return dict(self._values)

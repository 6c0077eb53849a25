"""Which CPUs a component's processes may run on, held by the kernel: `cpuset` of cgroup v1 and v2.

`clientCpus` of a plan gives load workers CPUs of their own; the rest of the lab has the others. Every process starts
with that affinity (`launch.py`), which its children inherit; but a process may widen its own affinity, and the CPUs of
its group it may not leave. With v1 there are two groups in the hierarchy of `cpuset`, load workers and the rest; with
v2 each component's own group gets the CPUs.

Limits: where there is no such group that meshmark may write, affinity alone holds; v2 was tested on files alone.
"""

from __future__ import annotations

from pathlib import Path

from meshmark.backends.lab.cgroups import CPUS, MEMORY_NODES, make_cpuset_group
from meshmark.backends.lab.controls import Setting, enable, tell
from meshmark.backends.lab.link import CLIENT, Host
from meshmark.errors import LabError

CLUSTER = "cluster"


def cpusets(owner: Path) -> Path | None:
    """The group of an instance, whose directory `owner` is, below which hosts' processes can be held to CPUs; None
    where v1 does not have it. The groups in it are removed by `cgroups.remove_groups`."""
    group = make_cpuset_group(owner)
    if group is not None:
        _tell(group, [_of_parent(group, name) for name in (MEMORY_NODES, CPUS)])
    return group


def hold(host: Host, component: str) -> Path | None:
    """Before a process starts: makes sure that the component's processes run on `host.cpus` alone. Returns the group
    that a process must enter for it, besides the one that accounts for it; None: there is none."""
    if not host.client_cpus:
        return None
    cpus = Setting(CPUS, ",".join(map(str, host.cpus(component))))
    if host.cpusets is not None:
        group = host.cpusets / (CLIENT if component == CLIENT else CLUSTER)
        if not group.exists():
            group.mkdir()
            _tell(group, [_of_parent(group, MEMORY_NODES), cpus])
        return group
    accounts = host.group(component)
    if accounts is not None and enable(accounts, "cpuset"):
        _tell(accounts, [cpus])
    return None


def _of_parent(group: Path, name: str) -> Setting:
    """A new group of v1 has neither CPUs nor memory, and takes no process without."""
    return Setting(name, (group.parent / name).read_text(encoding="ascii").strip())


def _tell(group: Path, settings: list[Setting]) -> None:
    try:
        tell(group, settings)
    except OSError as error:
        raise LabError(f"the kernel refused a set of CPUs for {group}: {error}") from error

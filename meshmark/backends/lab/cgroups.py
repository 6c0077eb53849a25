"""A control group for each component of a host, by which the kernel adds up what its processes used, ended ones too.

The groups lie below the group that meshmark itself is in, in the unified hierarchy (v2), which counts CPU without any
controller: no limit is set and nothing is scheduled differently. Where that hierarchy is not mounted, not writable, or
this is a user namespace, there are none, and processes are read one by one.

Quotas of CPU and sets of CPUs are another matter: where the controllers `cpu` and `cpuset` belong to hierarchies of
their own (v1), the groups that have them lie there; else (v2) they are the groups above, if the controller can be had
for them (`delegation.py`).

A group outlives the process that made it, so the instance's directory has a link to it, made first.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from meshmark.backends.lab.controls import Controller
from meshmark.backends.lab.delegation import LEAF, come_back, obtainable, takes_processes
from meshmark.errors import LabError
from meshmark.probes import procfs

LINK = "cgroup"
QUOTA_LINK = "cgroup-cpu"
CPUSET_LINK = "cgroup-cpuset"
QUOTA_V1 = "cpu.cfs_quota_us"
CPUS, MEMORY_NODES = "cpuset.cpus", "cpuset.mems"
THROTTLE_V1 = "blkio.throttle.write_bps_device"
EMPTY_TIMEOUT_S = 5.0
POLL_S = 0.01


def make_group(owner: Path) -> Path | None:
    """The group of an instance, whose directory `owner` is; None where there can be none."""
    parent = _own_group()
    if parent is None:
        return None
    return _make(parent, owner, LINK, "cpu.stat")


def make_quota_group(owner: Path) -> Path | None:
    """The instance's group in the hierarchy (v1) of CPU quotas, for groups with a quota below it; None where the
    controller has no hierarchy of its own or it cannot be written. The one that there is, the second time."""
    return _made_once(_own_quota_group(), owner, QUOTA_LINK, QUOTA_V1)


def make_cpuset_group(owner: Path) -> Path | None:
    """As `make_quota_group`, in the hierarchy (v1) of sets of CPUs. What is below it may run on all CPUs yet."""
    return _made_once(_own_cpuset_group(), owner, CPUSET_LINK, CPUS)


def quotas_possible() -> bool:
    """Whether there is a group that may have groups with a quota of CPU below it; of v2, tried."""
    return _own_quota_group() is not None or _unified_has("cpu")


def cpusets_possible() -> bool:
    """Whether processes can be held to CPUs by more than their affinity."""
    return _own_cpuset_group() is not None or _unified_has("cpuset")


def writes_possible() -> bool:
    """Whether there is a group in which what a device takes can be limited."""
    return blkio_root() is not None or _unified_has("io")


def _unified_has(controller: Controller) -> bool:
    unified = _own_group()
    return unified is not None and obtainable(unified, controller)


def leave_leaf() -> None:
    """Undoes what trying for a controller of v2 did to this process's own group; all groups below must be gone."""
    unified = _own_group()
    if unified is not None:
        come_back(unified)


def _made_once(parent: Path | None, owner: Path, name: str, witness: str) -> Path | None:
    link = owner / name
    if link.is_symlink():
        return link.readlink()
    return None if parent is None else _make(parent, owner, name, witness)


def _make(parent: Path, owner: Path, link: str, witness: str) -> Path | None:
    path = parent / f"meshmark-{owner.name}"
    (owner / link).symlink_to(path)
    try:
        path.mkdir()
        (path / witness).read_text(encoding="ascii")
        taken = takes_processes(path)
    except OSError:
        taken = False
    if not taken:
        _remove_linked(owner, link)
        return None
    return path


def remove_group(owner: Path) -> None:
    """Removes all groups that were made for this directory, by whichever process; its processes must have ended. Of
    a directory that is gone, with its links, they are looked for where this process would make them."""
    for link in (LINK, QUOTA_LINK, CPUSET_LINK):
        _remove_linked(owner, link)
    if not owner.exists():
        for parent in filter(None, (_own_group(), _own_quota_group(), _own_cpuset_group())):
            _remove_whole(parent / f"meshmark-{owner.name}")


def _remove_linked(owner: Path, name: str) -> None:
    link = owner / name
    if not link.is_symlink():
        return
    group = link.readlink()
    if group.name == f"meshmark-{owner.name}":  # what a broken link names is not removed
        _remove_whole(group)
    link.unlink()


def _remove_whole(group: Path) -> None:
    """With those below it, if it is there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        remove_groups(group)
        remove_empty(group)


def remove_groups(directory: Path) -> None:
    """Those below a group; their processes must have ended."""
    for child in [entry for entry in directory.iterdir() if entry.is_dir()]:
        remove_empty(child)


def remove_empty(group: Path) -> None:
    """Removes a group without processes. A process that was waited for may be in its group for a moment longer."""
    deadline = time.monotonic() + EMPTY_TIMEOUT_S
    while True:
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise LabError(f"the control group {group} cannot be removed: {error.strerror}") from error
        time.sleep(POLL_S)


def _own_group() -> Path | None:
    """Of this process, or above the leaf that it is in, in the unified hierarchy; None where that cannot be
    written."""
    mount = next((mount for mount in reversed(_mounts()) if mount.file_system == "cgroup2"), None)
    own = next((line.removeprefix("0::") for line in _memberships() if line.startswith("0::")), None)
    return _writable(mount, None if own is None else own.removesuffix(f"/{LEAF}") or "/")


def blkio_root() -> Path | None:
    """The root group of the block controller in cgroup v1, in which the kernel's own write-back is; None without."""
    for mount in _mounts():
        witness = Path(mount.point) / THROTTLE_V1
        if mount.file_system == "cgroup" and mount.root == "/" and os.access(witness, os.W_OK):
            return Path(mount.point)
    return None


def _own_quota_group() -> Path | None:
    return _own_group_of("cpu", QUOTA_V1)


def _own_cpuset_group() -> Path | None:
    return _own_group_of("cpuset", CPUS)


def _own_group_of(controller: str, witness: str) -> Path | None:
    """Of this process, in the hierarchy of a controller, if that is a v1 one."""
    hierarchies = (mount for mount in reversed(_mounts()) if mount.file_system == "cgroup")
    mount = next((mount for mount in hierarchies if (Path(mount.point) / witness).is_file()), None)
    named = (line.split(":", 2) for line in _memberships())
    own = next((path for _, controllers, path in named if controller in controllers.split(",")), None)
    return _writable(mount, own)


def _mounts() -> list[procfs.Mount]:
    try:
        return procfs.mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError):
        return []


def _memberships() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _writable(mount: procfs.Mount | None, own: str | None) -> Path | None:
    if mount is None or own is None:
        return None
    path = Path(mount.point) / Path(own).relative_to(mount.root) if Path(own).is_relative_to(mount.root) else None
    return path if path is not None and os.access(path, os.W_OK) else None

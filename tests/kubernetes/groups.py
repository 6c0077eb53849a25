"""The control groups (v1) of a node: one in each hierarchy, below the group that this process is in.

They outlive whoever made them, so their names have the number of the process that did, before the node's own, and the
next node removes those whose maker is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from os import getpid
from pathlib import Path

from meshmark.backends.lab.cgroups import remove_empty
from meshmark.errors import MissingRequirement
from meshmark.probes import procfs

PREFIX = "meshmark-node-"
NEEDED = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids"}
INHERITED = ("cpuset.cpus", "cpuset.mems")
SHARES = 4_096
"""Weight of a node. What runs beside it on this machine, the control plane and the tests, counts 1,024 for each
thread, and would be on a machine of its own. Much more would let the API server wait for a node under load: at 65,536
a run's samples were up to 3.4 s apart, in place of 1 s."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """`options` are those that its hierarchy is mounted with, as /proc/self/cgroup has them; `point` is where."""

    point: Path
    options: str
    path: Path


@contextmanager
def node_groups(node: str) -> Iterator[list[Group]]:
    """New groups of a node, without processes; they are removed in the end, when all that was in them must have ended.
    Raises MissingRequirement where there are no such hierarchies."""
    found = list(_groups(node))
    if lacking := NEEDED - {name for group in found for name in group.options.split(",")}:
        raise MissingRequirement(f"no hierarchies (v1) of control groups for {', '.join(sorted(lacking))}")
    sweep()
    with ExitStack() as stack:
        for group in found:
            group.path.mkdir()
            stack.callback(_remove, group.path)
            for name in INHERITED if "cpuset" in group.options.split(",") else ():
                (group.path / name).write_bytes((group.path.parent / name).read_bytes())
                (group.path / "cgroup.clone_children").write_text("1", encoding="ascii")
            if "cpu" in group.options.split(","):
                (group.path / "cpu.shares").write_text(str(SHARES), encoding="ascii")
        yield found


def sweep() -> None:
    """Removes what nodes have left whose makers were killed."""
    for group in _groups():
        for path in group.point.glob(f"**/{PREFIX}*"):
            if not Path("/proc", path.name.removeprefix(PREFIX).partition("-")[0]).exists():
                _remove(path)


def _groups(node: str = "") -> Iterator[Group]:
    own = dict(line.split(":", 2)[1:] for line in _lines("/proc/self/cgroup"))
    for mount in procfs.mounts("\n".join(_lines("/proc/self/mountinfo"))):
        if mount.file_system != "cgroup" or mount.root != "/":
            continue
        # A hierarchy is known by its controllers, or its name, in either file.
        options = next((each for each in own if each and _is_at(each, Path(mount.point))), None)
        if options is not None:
            point = Path(mount.point)
            name = f"{PREFIX}{getpid()}-{node}"
            yield Group(point=point, options=options, path=point / own[options].lstrip("/") / name)


def _is_at(options: str, point: Path) -> bool:
    return set(options.removeprefix("name=").split(",")) == set(point.name.split(","))


def _remove(group: Path) -> None:
    """With all below it; nothing happens if it is not there."""
    with suppress(FileNotFoundError):
        for below in [entry for entry in group.iterdir() if entry.is_dir()]:
            _remove(below)
        remove_empty(group)


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()

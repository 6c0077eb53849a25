"""A control group for each component of a host, by which the kernel adds up what its processes used, ended ones too.

The groups lie below the group that meshmark itself is in, in the unified hierarchy (v2), which counts CPU without any
controller: no limit is set and nothing is scheduled differently. Where that hierarchy is not mounted, not writable, or
this is a user namespace, there are none, and processes are read one by one.

A group outlives the process that made it, so the instance's directory has a link to it, made first.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from meshmark.errors import LabError
from meshmark.probes import procfs

LINK = "cgroup"
EMPTY_TIMEOUT_S = 5.0
POLL_S = 0.01


def make_group(owner: Path) -> Path | None:
    """The group of an instance, whose directory `owner` is; None where there can be none."""
    parent = _own_group()
    if parent is None:
        return None
    path = parent / f"meshmark-{owner.name}"
    (owner / LINK).symlink_to(path)
    try:
        path.mkdir()
        (path / "cpu.stat").read_text(encoding="ascii")
    except OSError:
        remove_group(owner)
        return None
    return path


def remove_group(owner: Path) -> None:
    """Removes what `make_group` made for this directory, by whichever process; its processes must have ended."""
    link = owner / LINK
    if not link.is_symlink():
        return
    group = link.readlink()
    if group.name == f"meshmark-{owner.name}":  # what a broken link names is not removed
        with suppress(FileNotFoundError, NotADirectoryError):
            remove_groups(group)
            _remove_empty(group)
    link.unlink()


def remove_groups(directory: Path) -> None:
    """Those below a group; their processes must have ended."""
    for child in [entry for entry in directory.iterdir() if entry.is_dir()]:
        _remove_empty(child)


def _remove_empty(group: Path) -> None:
    """A process that was waited for may be in its group for a moment longer."""
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
    """Of this process, in the unified hierarchy; None where that cannot be written."""
    try:
        mounts = procfs.mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    mount = next((mount for mount in reversed(mounts) if mount.file_system == "cgroup2"), None)
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if mount is None or own is None:
        return None
    path = Path(mount.point) / Path(own).relative_to(mount.root) if Path(own).is_relative_to(mount.root) else None
    return path if path is not None and os.access(path, os.W_OK) else None

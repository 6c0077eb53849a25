"""Whether controllers of cgroup v2 can be had for groups below meshmark's own: by trying, as far as the kernel allows.

A group gives a controller to those below it only while no process is in it itself (no internal processes; the root is
exempt), else the kernel answers EBUSY (Documentation/admin-guide/cgroup-v2.rst). So meshmark goes into a leaf below
its own group when that is in the way, and back when it ends. Where others are in the group too, or it is threaded,
there is nothing to be had.

Limits: tested on files that refuse as the kernel does, since no kernel with controllers in v2 was to be had.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from meshmark.backends.lab.controls import WITNESSES, Controller, Setting, tell

LEAF = "meshmark-itself"
GIVEN = "cgroup.subtree_control"
MEMBERS = "cgroup.procs"


def obtainable(own: Path, controller: Controller) -> bool:
    """Whether a group below `own` has the controller and takes processes: tried with one, which is removed again.
    Meshmark may be in its leaf then."""
    tried = own / f"meshmark-try-{os.getpid()}"
    try:
        tried.mkdir()
    except OSError:
        return False
    try:
        _give(own, controller)
        return takes_processes(tried) and (tried / WITNESSES[controller]).is_file()
    except OSError:
        return False
    finally:
        with suppress(OSError):
            tried.rmdir()


def takes_processes(group: Path) -> bool:
    """Not where a group above is threaded: this one's type is then `domain invalid`. v1 knows no types."""
    kind = group / "cgroup.type"
    return not kind.is_file() or kind.read_text(encoding="ascii").strip() != "domain invalid"


def _give(own: Path, controller: Controller) -> None:
    given = [Setting(GIVEN, f"+{controller}")]
    try:
        tell(own, given)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        (own / LEAF).mkdir(exist_ok=True)
        tell(own / LEAF, [Setting(MEMBERS, str(os.getpid()))])
        try:
            tell(own, given)
        except OSError:
            come_back(own)
            raise


def come_back(own: Path) -> None:
    """Out of the leaf, if meshmark is in it; groups below `own` must be gone. What the kernel refuses stays."""
    leaf = own / LEAF
    if not leaf.is_dir():
        return
    with suppress(OSError):
        for controller in (own / GIVEN).read_text(encoding="ascii").split():
            tell(own, [Setting(GIVEN, f"-{controller}")])
        tell(own, [Setting(MEMBERS, str(os.getpid()))])
        leaf.rmdir()

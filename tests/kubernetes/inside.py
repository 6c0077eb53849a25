"""The first process of a node: gives it namespaces and control groups of its own, then runs containerd and kubelet.

Run as `python -I -S inside.py FILE`; the file has what `Inside` of `node.py` says, as JSON. The standard library only.

It holds the node together: with it, whatever ends it, the kernel kills all that ever started in the node and drops all
mounts. What a node would write all over a machine it writes into directories in memory, which only it sees. Settings
that kubelet would change for the whole machine are covered with files that have the values that it wants. The root of
each hierarchy of control groups (v1) is, for the node, a group of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000  # mount, cgroup, UTS, IPC, PID
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
GROUPS = Path("/sys/fs/cgroup")
IN_MEMORY = ("/run", "/var/lib", "/var/log")
KNOWN_SOCKET = Path("/run/containerd/containerd.sock")
"""Where the kubelet's cAdvisor asks containerd, and nowhere else, whose container a control group is."""
SOCKET_TIMEOUT_S = 60.0
POLL_S = 0.05
LOG_TAIL_BYTES = 4_096
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for path, _, _ in asked["groups"]:
        Path(path, "cgroup.procs").write_text("0", encoding="ascii")  # the writer itself
    _checked("namespaces", libc.unshare(NEW_NAMESPACES))
    child = os.fork()  # the first in its PID namespace
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status) & 0x7F)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    socket.sethostname(asked["name"])
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc")
    _mount("sysfs", "/sys", "sysfs")
    _mount("tmpfs", str(GROUPS), "tmpfs")
    for _, name, options in asked["groups"]:
        (GROUPS / name).mkdir()
        known = f"none,{options}" if options.startswith("name=") else options
        _mount("cgroup", str(GROUPS / name), "cgroup", options=known)
    for path, file in asked["covered"].items():
        _mount(file, path, None, MS_BIND)
    for path in IN_MEMORY:
        _mount("tmpfs", path, "tmpfs")
    for path, directory in asked["bound"].items():
        Path(path).mkdir()
        _mount(directory, path, None, MS_BIND)
    KNOWN_SOCKET.parent.mkdir()
    KNOWN_SOCKET.symlink_to(asked["socket"])
    _run(asked)


def _run(asked: dict[str, Any]) -> None:
    """Ends when either of the two does, with the end of its log."""
    running = {_start(asked, "containerd"): "containerd"}
    _wait_for(asked["socket"])
    running[_start(asked, "kubelet")] = "kubelet"
    while True:
        process, status = os.wait()  # containers' own, whose parents have ended, among them
        if name := running.get(process):
            with _log(asked, name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                sys.stderr.buffer.write(log.read())
            sys.exit(f"{name} ended with status {os.waitstatus_to_exitcode(status)}")


def _start(asked: dict[str, Any], name: str) -> int:
    with _log(asked, name).open("ab") as log:
        return subprocess.Popen(asked[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log).pid


def _log(asked: dict[str, Any], name: str) -> Path:
    return Path(asked["logs"]) / f"{name}.log"


def _wait_for(path: str) -> None:
    deadline = time.monotonic() + SOCKET_TIMEOUT_S
    while True:
        with socket.socket(socket.AF_UNIX) as caller:
            try:
                caller.connect(path)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    sys.exit(f"{path} does not answer after {SOCKET_TIMEOUT_S:g} s: {error}")
        time.sleep(POLL_S)


def _mount(source: str | None, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    parts = [None if part is None else part.encode() for part in (source, target, kind)]
    _checked(f"mount {target}", libc.mount(*parts, flags, options.encode()))


def _checked(what: str, result: int) -> None:
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()

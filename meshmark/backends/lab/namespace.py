"""Network namespaces held by file descriptors, and the user namespace that makes them possible without root.

A network namespace here has no name and no mount: it lives as long as the descriptor that this process holds,
a process inside it, or a socket made inside it. So the kernel removes it, with its interfaces and rules, however
this process ends. Only threads made for one call enter a namespace; the process itself stays where it was.

Limits: no PID namespace (that needs a fresh /proc, which not every sandbox grants) and no mount namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from meshmark.errors import LabError, MissingRequirement

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

T = TypeVar("T")

# os.unshare and os.setns came with Python 3.12.
_libc = ctypes.CDLL(None, use_errno=True)

CHILD_SOCKET_TABLE = Path("/proc/sys/net/ipv4/tcp_child_ehash_entries")
SOCKET_BUCKETS = 4096
"""Of a host's own table of TCP connections, of which it has some hundreds."""


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_namespace(fd: int, kind: int) -> None:
    """Moves the calling thread (for CLONE_NEWUSER: the whole, single-threaded process) into a namespace."""
    if _libc.setns(fd, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _in_thread(function: Callable[[], T]) -> T:
    """Runs `function` in a thread that ends with it, so that whatever it did to its namespaces ends too."""
    outcome: Future[T] = Future()

    def body() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller, in its own thread
            outcome.set_exception(error)

    thread = threading.Thread(target=body, name="in-namespace", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()


@dataclass(frozen=True)
class NetworkNamespace:
    """A network namespace; `fd` keeps it alive and is not inherited by children."""

    fd: int

    def call(self, function: Callable[[], T]) -> T:
        """Runs `function` inside and returns its value; what it raises is raised here. A socket that it returns
        stays inside."""

        def inside() -> T:
            set_namespace(self.fd, CLONE_NEWNET)
            return function()

        return _in_thread(inside)


@contextmanager
def network_namespace() -> Iterator[NetworkNamespace]:
    """A new network namespace, empty but for a loopback interface that is down.

    Its connections are in a table of its own, where the kernel can do that (6.1 and later): the machine's has some
    hundred thousand buckets, and who lists a namespace's connections walks all of them, for milliseconds. The size is
    set in the parent namespace, for which one of a moment stands in, so that nothing of the machine is touched.
    """

    def create() -> int:
        _unshare(CLONE_NEWNET)
        with suppress(OSError):
            CHILD_SOCKET_TABLE.write_text(str(SOCKET_BUCKETS), encoding="ascii")
            _unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    try:
        fd = _in_thread(create)
    except OSError as error:
        raise LabError(
            f"the kernel refused a network namespace: {error.strerror}", hint=_advice(error.errno or 0, "net")
        ) from error
    try:
        yield NetworkNamespace(fd)
    finally:
        os.close(fd)


def _advice(number: int, kind: str) -> str:
    """What to do about a refused namespace."""
    if number == errno.ENOSPC:
        return f"Raise the limit: sysctl -w user.max_{kind}_namespaces=1000, or end what holds so many."
    if number in (errno.EPERM, errno.EACCES):
        return (
            "Run as root, or allow user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 "
            "(Ubuntu), sysctl -w kernel.unprivileged_userns_clone=1 (older Debian). A container needs --privileged."
        )
    if number in (errno.EINVAL, errno.ENOSYS):
        return "This kernel lacks namespaces (CONFIG_USER_NS, CONFIG_NET_NS)."
    return "Run as root."


def enter_user_namespace() -> None:
    """Moves the whole process into a new user namespace in which it is root and owns what it creates.

    Only without root, and before the process has any other thread. Outside, and for files, it stays the caller:
    uid 0 in there is the caller's uid, the only one mapped.
    """
    uid, gid = os.geteuid(), os.getegid()
    if threading.active_count() > 1:
        raise LabError("a user namespace can be entered only before any thread runs; this is a defect of meshmark")
    try:
        _unshare(CLONE_NEWUSER)
        # The kernel maps groups without privilege only where setgroups is given up.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
        # Ubuntu lets an unprivileged process in but denies it every capability there, which shows only now.
        with network_namespace():
            pass
    except (OSError, LabError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        number = error.errno or 0 if isinstance(error, OSError) else errno.EPERM
        raise MissingRequirement(
            f"the lab needs root or a user namespace, and the kernel refused one: {reason}",
            hint=_advice(number, "user"),
        ) from error


def outside_uid() -> int:
    """The uid that this process has outside the user namespace it is in; its own where it is in none."""
    uid = os.geteuid()
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        inside, outside, count = (int(field) for field in line.split())
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid

"""What one meshmark owns on this machine: the right to measure, a working directory, and the duty to leave nothing.

The machine's lock is an abstract unix socket: the kernel frees it with its holder, whatever ends that. It is seen by
all users, but only within one network namespace, so two containers do not see each other's.

An instance is a directory `WORK_DIR/meshmark-UID/ID` (0700) whose file `lock` its owner holds by flock, and a
directory in /dev/shm that links to it. The kernel frees the lock as well, so a directory whose lock is free is stale:
the next start and `meshmark clean` end what processes it left and remove it, with the control groups that it links to
and the file systems that are mounted in it (storage `image`; see `disk`).

The directory in /dev/shm is how an instance is found from a start with another MESHMARK_WORK_DIR, and it holds what
is kept in memory. It goes with a reboot, as all does that the kernel holds of an instance. For logs in memory there is
no mount: a tmpfs of our own would vanish by itself but needs a mount namespace, which the threads and helpers of a run
would all have to share; /dev/shm is there everywhere. Limit: where it cannot be written, an instance is found by a
start with its own working directory alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import select
import shutil
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meshmark.backends.lab.cgroups import remove_group
from meshmark.backends.lab.disk import release_disks
from meshmark.backends.lab.namespace import outside_uid
from meshmark.backends.lab.process import INSTANCE_VARIABLE
from meshmark.errors import Busy, LabError, MissingRequirement

WORK_DIR_VARIABLE = "MESHMARK_WORK_DIR"
DEFAULT_WORK_DIR = Path("/var/tmp")
MEMORY_DIR = Path("/dev/shm")
OWNER_LINK = "instance"  # in a directory in memory: to the working directory, which may be on another path next time
MACHINE_LOCK = "\0meshmark"
KILL_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """The working directory of this process; `reclaimed` says what earlier ones had left and is gone now."""

    id: str
    path: Path
    reclaimed: tuple[str, ...]

    def memory_directory(self) -> Path:
        """A directory in memory; removed with the instance."""
        if not _is_tmpfs(MEMORY_DIR):
            raise MissingRequirement(
                f"storage `ram` needs a tmpfs at {MEMORY_DIR}", hint="Mount one there, or use storage `disk`."
            )
        return _memory_directory(self.path)


@contextmanager
def instance(purpose: str) -> Iterator[Instance]:
    """The machine's lock and a new working directory, for as long as the context lasts. `purpose` (the verb) tells
    whoever finds the machine busy what it is busy with. Raises Busy if another meshmark holds the lock."""
    with machine_lock(), unlocked_instance(purpose) as made:
        yield made


@contextmanager
def unlocked_instance(purpose: str) -> Iterator[Instance]:
    """The same without the machine's lock, for what measures nothing."""
    with _new_directory(purpose) as made:
        try:
            yield made
        finally:
            _remove(made.path)


@contextmanager
def machine_lock() -> Iterator[None]:
    """At most one process of the machine is inside; raises Busy, naming it, for any other."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        try:
            lock.bind(MACHINE_LOCK)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Busy(
                f"another meshmark is using this machine: {lock_holder() or 'it is just ending'}",
                hint="Wait until it ends, or end it: `meshmark down` for a cluster that is kept up, Ctrl-C for a run.",
            ) from None
        lock.listen(1)
        yield


def lock_holder() -> str | None:
    """Who holds the machine's lock, for people; None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)  # a full backlog still tells that there is a holder, though not who
        try:
            caller.connect(MACHINE_LOCK)
        except BlockingIOError:
            return "process unknown"
        except OSError:
            return None
        credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    return f"process {pid} of uid {uid}" + (f" ({command[:200]})" if command else "")


def work_directory() -> Path:
    """`$MESHMARK_WORK_DIR/meshmark-UID` (default /var/tmp), made if absent. Others can neither read nor plant
    anything in it; raises LabError if it is not such a directory."""
    uid = outside_uid()
    base = Path(os.environ.get(WORK_DIR_VARIABLE) or DEFAULT_WORK_DIR).absolute()
    path = base / f"meshmark-{uid}"
    hint = f"Remove it, or set {WORK_DIR_VARIABLE} to a directory of yours with space for the brokers' logs."
    _make_private(path, hint=hint)
    return path


def _make_private(path: Path, *, hint: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise LabError(f"the directory {path} cannot be made: {error.strerror}", hint=hint) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LabError(f"{path} is not a directory that is yours alone (0700)", hint=hint)


def stored_instances() -> list[Path]:
    """Directories of this user's instances, living (their lock is held) and stale."""
    return _instance_directories(work_directory())


def reclaim() -> list[str]:
    """Removes what meshmark processes of this user that no longer live have left, and says what that was.

    Call it before entering a user namespace: from inside one, processes of an earlier one cannot be recognised."""
    root = work_directory()
    with _locked(root):
        removed = [_remove(path) for path in _instance_directories(root) if lock_is_free(path)]
    for memory in MEMORY_DIR.glob(_memory_path("*").name):
        with suppress(FileNotFoundError):  # another one reclaims it at the same time
            if memory.lstat().st_uid == os.geteuid() and (memory / OWNER_LINK).is_symlink():
                removed += _reclaim_from(memory, (memory / OWNER_LINK).readlink())
    return removed


def _reclaim_from(memory: Path, owner: Path) -> list[str]:
    """What an instance has left that is known by its directory in memory; nothing while it lives."""
    if not owner.is_dir():
        _remove(owner)
        return [f"directory in memory {memory}, whose instance is gone"]
    with _locked(owner.parent):
        return [_remove(owner)] if lock_is_free(owner) else []


@contextmanager
def _new_directory(purpose: str) -> Iterator[Instance]:
    root = work_directory()
    reclaimed = reclaim()
    path = root / f"{purpose}-{secrets.token_hex(4)}"  # short: paths of unix sockets end at 107 bytes
    with _locked(root):  # nobody may see the directory before its lock is held
        path.mkdir(mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with suppress(LabError):  # no /dev/shm, or one that cannot be written
            _memory_directory(path)
        yield Instance(id=path.name, path=path, reclaimed=tuple(reclaimed))
    finally:
        os.close(lock)


def _memory_directory(owner: Path) -> Path:
    """That of an instance, made if absent."""
    path = _memory_path(owner.name)
    _make_private(path, hint="Remove it, or use storage `disk`.")
    with suppress(FileExistsError):
        (path / OWNER_LINK).symlink_to(owner)
    return path


def _remove(path: Path) -> str:
    """Ends the processes of an instance and removes its directories; says what was there."""
    killed = _kill_processes_of(path.name)
    remove_group(path)
    release_disks(path)
    try:
        # The lock goes last: a removal that is cut short leaves a directory that the next one recognises.
        entries = path.iterdir() if path.exists() else ()  # somebody may have removed it by hand
        for entry in (entry for entry in entries if entry.name != "lock"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        # Last what the two are found by; a directory of the instance's that was removed by hand is none.
        for directory in (path, _memory_path(path.name)):
            if directory.exists():
                shutil.rmtree(directory)
    except OSError as error:
        raise LabError(f"{path} cannot be removed: {error}", hint="Remove it by hand.") from error
    return f"stale instance {path}" + (f" and {killed} of its processes" if killed else "")


def _kill_processes_of(instance_id: str) -> int:
    """Kills this user's processes that carry the instance's name in their environment; how many there were."""
    mark = f"{INSTANCE_VARIABLE}={instance_id}".encode()
    killed = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # The descriptor is taken before the check, so that what is killed is what was checked.
        with suppress(OSError):
            descriptor = os.pidfd_open(int(entry.name))
            try:
                ours = entry.stat().st_uid == os.geteuid() and mark in (entry / "environ").read_bytes().split(b"\0")
                if ours:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    killed.append(os.dup(descriptor))
            finally:
                os.close(descriptor)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    for descriptor in killed:  # a process that still runs could still write
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(descriptor)
    return len(killed)


def _instance_directories(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())


def lock_is_free(path: Path) -> bool:
    """Without a lock file the owner died between two system calls, or its removal was cut short."""
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _memory_path(instance_id: str) -> Path:
    return MEMORY_DIR / f"meshmark-{outside_uid()}-{instance_id}"


def _is_tmpfs(path: Path) -> bool:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split()[1:3] == [str(path), "tmpfs"] for line in mounts)

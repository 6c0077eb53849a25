"""Reads the counters of the host that this process is on, and of its machine: implementations of `cluster.Probe`.

Each probe holds its files open and reads them again from the start: a kept file of /proc costs one system call a
reading, stays bound to its process (a later process of the same id is never mistaken for it) and, opened inside a
namespace, to that namespace. It also keeps the namespace alive: close the probes (they are context managers) before
expecting it to vanish. Reading never raises: what cannot be read now is absent.

Keys: HOST/COMPONENT (processes), HOST/net, HOST/volume, machine/{cpu,core:N,memory,disk,psi} and machine/meshmark,
which is the process that reads.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from meshmark.probes import procfs
from meshmark.record import Counters

MACHINE = "machine"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MOUNTS = Path("/proc/self/mountinfo")

CHUNK_BYTES = 65_536
_NUMBERED_LOG = re.compile(r"\d{20}\.log")
_PARTITION = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)-(?P<partition>\d+)")


class HostProbe:
    """What closing means for a probe: everything it holds, on any way out."""

    edges_only = False

    def __init__(self) -> None:
        self._held = ExitStack()

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _hold(self, descriptor: int) -> int:
        self._held.callback(os.close, descriptor)
        return descriptor

    def _open(self, path: str) -> int | None:
        """None where this kernel, or this user, does not have the file."""
        try:
            return self._hold(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None


class ProcessProbe(HostProbe):
    """CPU, memory and storage bytes of one component of a host, all its processes summed.

    A process that ended keeps its last counters in the sum, so that no counter goes backwards; between the last
    reading and its end at most one sampling interval of it is lost. CPU is the group's where there is one, which
    loses nothing; the group also tells for how long a thread of it could not go on for want of CPU or I/O.
    """

    def __init__(self, host: str, component: str, group: Path | None = None) -> None:
        super().__init__()
        self._prefix = f"{host}/{component}/"
        self._processes: list[_Process] = []
        self._group = group
        self._group_cpu: int | None = None
        self._stalls: dict[str, int | None] = {}

    def add(self, pid: int) -> None:
        """Books a process; one that is gone already counts nothing. The first one has made the group."""
        if self._group and self._group_cpu is None:
            self._group_cpu = self._open(str(self._group / "cpu.stat"))
            self._stalls = {kind: self._open(str(self._group / f"{kind}.pressure")) for kind in ("cpu", "io")}
        self._processes.append(_Process(self._open(f"/proc/{pid}/stat"), self._open(f"/proc/{pid}/io")))

    def read(self) -> Counters:
        total: Counters = {}
        for process in tuple(self._processes):
            process.update()
            for metric, value in process.values.items():
                total[self._prefix + metric] = total.get(self._prefix + metric, 0.0) + value
        for kind, descriptor in self._stalls.items():
            if (stalled := _values(descriptor, procfs.pressure).get("some")) is not None:
                total[f"{self._prefix}{kind}_stalled_s"] = stalled
        return total | keyed(self._prefix, _values(self._group_cpu, procfs.group_cpu))


class _Process:
    """One process: its last values, counters kept beyond its end."""

    def __init__(self, stat: int | None, io: int | None) -> None:
        self._stat = stat
        self._io = io
        self.values: procfs.Values = {}

    def update(self) -> None:
        if self._stat is None:
            return
        try:
            stat = procfs.process_stat(_text(self._stat), TICKS_PER_S, PAGE_BYTES)
        except (OSError, ValueError):  # ESRCH: it ended and was waited for
            self.values.update({gauge: 0.0 for gauge in ("memory_rss_bytes", "threads") if gauge in self.values})
            self._stat = None
            return
        ended = stat.state in "ZX"
        self.values.update(
            cpu_user_s=stat.user_s,
            cpu_system_s=stat.system_s,
            memory_rss_bytes=float(stat.rss_bytes),
            threads=0.0 if ended else float(stat.threads),
        )
        self.values.update(_values(self._io, procfs.process_io))


class NetProbe(HostProbe):
    """A host's interface, its kernel's TCP segments, and how many sockets it has.

    `call` runs a function inside the host's network namespace, in this process. The interface may be made later;
    until then its keys are absent.
    """

    def __init__(self, host: str, interface: str, call: Callable[[Callable[[], int | None]], int | None]) -> None:
        super().__init__()
        self._prefix = f"{host}/net/"
        self._interface = interface
        # Not /proc/net: that is the namespace of this process' main thread.
        self._dev = call(lambda: self._open("/proc/thread-self/net/dev"))
        self._snmp = call(lambda: self._open("/proc/thread-self/net/snmp"))
        self._sockets = call(lambda: self._open("/proc/thread-self/net/sockstat"))
        self._sockets6 = call(lambda: self._open("/proc/thread-self/net/sockstat6"))

    def read(self) -> Counters:
        values = _values(self._dev, lambda text: procfs.interfaces(text).get(self._interface, {}))
        values.update(_values(self._snmp, procfs.tcp))
        for family in (self._sockets, self._sockets6):
            for metric, count in _values(family, procfs.tcp_sockets).items():
                values[metric] = values.get(metric, 0.0) + count
        return keyed(self._prefix, values)


class MachineProbe(HostProbe):
    """CPU, memory and pressure of the whole machine, the device under the brokers' logs, and this process itself."""

    def __init__(self, log_dir: Path, mounts: Path = MOUNTS) -> None:
        super().__init__()
        self._log_dir = log_dir
        self._itself = self._held.enter_context(ProcessProbe(MACHINE, "meshmark"))
        self._itself.add(os.getpid())
        self._stat = self._open("/proc/stat")
        self._loadavg = self._open("/proc/loadavg")
        self._meminfo = self._open("/proc/meminfo")
        self._vmstat = self._open("/proc/vmstat")
        self._pressure = {kind: self._open(f"/proc/pressure/{kind}") for kind in ("cpu", "io", "memory")}
        self.storage = storage_under(log_dir, mounts)
        self._diskstats = self._open("/proc/diskstats") if self.storage.device else None

    def read(self) -> Counters:
        counters = self._cpu()
        counters.update(keyed(f"{MACHINE}/cpu/", _values(self._loadavg, procfs.load_average)))
        counters.update(keyed(f"{MACHINE}/memory/", _values(self._meminfo, procfs.memory)))
        counters.update(keyed(f"{MACHINE}/memory/", _values(self._vmstat, procfs.paging)))
        counters.update(keyed(f"{MACHINE}/disk/", self._disk()))
        for kind, descriptor in self._pressure.items():
            waited = _values(descriptor, procfs.pressure)
            wanted = ("some", "full") if kind == "io" else ("some",)
            values = {f"{kind}_{who}_s": waited[who] for who in wanted if who in waited}
            counters.update(keyed(f"{MACHINE}/psi/", values))
        return {**counters, **self._itself.read()}

    def _cpu(self) -> Counters:
        """All CPUs together, and each; one read of one file."""
        try:
            text = _text(self._stat) if self._stat is not None else ""
            cpu, elapsed_s = procfs.machine_cpu(text, TICKS_PER_S), time.monotonic()
            cores = procfs.cores(text, TICKS_PER_S)
        except (OSError, ValueError):
            return {}
        counters = keyed(f"{MACHINE}/cpu/", {**cpu, "elapsed_s": elapsed_s})
        for number, used in cores.items():
            counters.update(keyed(f"{MACHINE}/core:{number}/", used))
        return counters

    def _disk(self) -> procfs.Values:
        device = self.storage.device
        values = _values(self._diskstats, lambda text: procfs.device(text, *device)) if device else {}
        return values | _room(self._log_dir)


class DiskProbe(HostProbe):
    """The device of a broker's own file system. Operations that a throttle holds back are not yet in flight there:
    `busy_s` of a limited disk is low."""

    def __init__(self, host: str, mount: Path) -> None:
        super().__init__()
        self._prefix = f"{host}/volume/"
        self._mount = mount
        self._device = storage_under(mount).device
        self._diskstats = self._open("/proc/diskstats") if self._device else None

    def read(self) -> Counters:
        device = self._device
        values = _values(self._diskstats, lambda text: procfs.device(text, *device)) if device else {}
        return keyed(self._prefix, values | _room(self._mount))


class KafkaLogProbe(HostProbe):
    """Bytes accepted to a broker's log: the growth of its segment files, internal topics left out.

    Growth is added up and never taken back: segments that retention or a deleted topic removes stay counted, which
    keeps the counters monotonic. `leader_log_bytes` is the growth of partitions while `leaders` names this host.
    What a segment gains between a reading and its removal is not seen.
    """

    def __init__(
        self, host: str, log_dirs: Iterable[Path], leaders: Callable[[], Mapping[tuple[str, int], str]]
    ) -> None:
        super().__init__()
        self._host = host
        self._log_dirs = tuple(log_dirs)
        self._leaders = leaders
        self._sizes: dict[str, int] = {}
        self._log_bytes = 0
        self._leader_log_bytes = 0

    def read(self) -> Counters:
        leaders = self._leaders()
        sizes: dict[str, int] = {}
        for log_dir in self._log_dirs:
            try:
                partitions = [(entry.path, partition_of(entry.name)) for entry in os.scandir(log_dir)]
            except OSError:  # the broker has not made it yet, or is gone: nothing can be said now
                return {}
            for path, partition in partitions:
                if partition is None:
                    continue
                found = _segments(path)
                growth = sum(max(0, size - self._sizes.get(file, 0)) for file, size in found.items())
                sizes.update(found)
                self._log_bytes += growth
                if leaders.get(partition) == self._host:
                    self._leader_log_bytes += growth
        self._sizes = sizes
        return {
            f"{self._host}/kafka/log_bytes": float(self._log_bytes),
            f"{self._host}/kafka/leader_log_bytes": float(self._leader_log_bytes),
        }


def partition_of(directory: str) -> tuple[str, int] | None:
    """Topic and partition of a directory of the log; None for internal topics (`__...`), partitions being deleted
    (`TOPIC-0.UUID-delete`) or moved, and whatever else lies there."""
    match = _PARTITION.fullmatch(directory)
    if match is None or match["topic"].startswith("__"):
        return None
    return match["topic"], int(match["partition"])


def _segments(partition: str) -> dict[str, int]:
    """Path -> bytes of a partition's segments; those that vanish meanwhile are left out."""
    found: dict[str, int] = {}
    try:
        for entry in os.scandir(partition):
            if _NUMBERED_LOG.fullmatch(entry.name):
                found[entry.path] = entry.stat().st_size
    except OSError:
        pass
    return found


class Storage(NamedTuple):
    """What a directory lies on. `device` is None where the kernel counts no block device for it; `text` says so."""

    file_system: str
    device: tuple[int, int] | None
    text: str


def storage_under(directory: Path, mounts: Path = MOUNTS) -> Storage:
    """The file system of a directory and the block device that /proc/diskstats has for it. `mounts`: the mountinfo of
    a process that has it mounted."""
    try:
        number = directory.stat().st_dev
        mounted = procfs.mounts(mounts.read_text(encoding="utf-8", errors="surrogateescape"))
        counted = Path("/proc/diskstats").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return Storage("unknown", None, f"unknown file system ({error}): no device counters")
    device = (os.major(number), os.minor(number))
    mount = next((mount for mount in reversed(mounted) if (mount.major, mount.minor) == device), None)
    file_system = mount.file_system if mount else "unknown"
    for candidate in (device, _source_device(mount)):  # btrfs gives directories a number of its own
        if candidate and procfs.device(counted, *candidate):
            return Storage(file_system, candidate, f"{file_system} on {mount.source if mount else candidate}")
    return Storage(file_system, None, f"{file_system}: no block device of its own, so no device counters")


def _source_device(mount: procfs.Mount | None) -> tuple[int, int] | None:
    if mount is None or not mount.source.startswith("/dev/"):
        return None
    try:
        number = Path(mount.source).stat().st_rdev
    except OSError:
        return None
    return os.major(number), os.minor(number)


def _room(directory: Path) -> procfs.Values:
    """Of the file system that it is on; free is what it gives to others than root."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return {}
    return {
        "size_bytes": float(found.f_blocks * found.f_frsize),
        "used_bytes": float((found.f_blocks - found.f_bfree) * found.f_frsize),
        "free_bytes": float(found.f_bavail * found.f_frsize),
    }


def keyed(prefix: str, values: procfs.Values) -> Counters:
    return {prefix + metric: value for metric, value in values.items()}


def _values(descriptor: int | None, parse: Callable[[str], procfs.Values]) -> procfs.Values:
    """What can be read now; nothing from a file that is not there, vanished or is not what it should be."""
    if descriptor is None:
        return {}
    try:
        return parse(_text(descriptor))
    except (OSError, ValueError):
        return {}


def text_of(path: str) -> str:
    """Of a file of /proc that is read once. Raises OSError: what it was of may have ended."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _text(descriptor)
    finally:
        os.close(descriptor)


def _text(descriptor: int) -> str:
    """A kept file of /proc from its start: reading at 0 makes the kernel print it anew."""
    parts: list[bytes] = []
    offset = 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, offset):
        parts.append(chunk)
        offset += len(chunk)
    return b"".join(parts).decode("utf-8", errors="replace")

"""Text of Linux' /proc files -> values in base units, named as in `metrics.METRICS`.

Pure: no file is opened here. A text that is not what the kernel prints raises ValueError; a value that this kernel
does not print is absent from the result, never 0. Formats: the kernel's Documentation/filesystems/proc.rst,
admin-guide/iostats.rst and accounting/psi.rst.
"""

from __future__ import annotations

from typing import NamedTuple

SECTOR_BYTES = 512
"""The unit of /proc/diskstats, whatever the device's own sector size."""

KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of the kernel's include/linux/sched.h, among a process' flags."""

Values = dict[str, float]

_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_STAT_FIELDS = {
    "ctxt": "context_switches",
    "intr": "interrupts",
    "processes": "forks",
    "procs_running": "runnable_tasks",
    "procs_blocked": "blocked_tasks",
}
_NET_FIELDS = {
    0: "rx_bytes",
    1: "rx_packets",
    2: "rx_errors",
    3: "rx_drops",
    8: "tx_bytes",
    9: "tx_packets",
    10: "tx_errors",
    11: "tx_drops",
}
_LOAD_FIELDS = ("load_1m", "load_5m", "load_15m")
_SOCKET_FIELDS = {"inuse": "tcp_sockets", "tw": "tcp_time_wait_sockets"}
_TCP_FIELDS = {
    "InSegs": "tcp_in_segments",
    "OutSegs": "tcp_out_segments",
    "RetransSegs": "tcp_retransmits",
    "InErrs": "tcp_in_errors",
    "OutRsts": "tcp_out_resets",
    "EstabResets": "tcp_reset_connections",
    "CurrEstab": "tcp_established",
}
_MEMORY_FIELDS = {
    "MemTotal": "total_bytes",
    "MemFree": "unused_bytes",
    "MemAvailable": "available_bytes",
    "Buffers": "buffers_bytes",
    "Cached": "cached_bytes",
    "Dirty": "dirty_bytes",
    "Writeback": "writeback_bytes",
    "AnonPages": "anonymous_bytes",
    "Slab": "slab_bytes",
    "SwapTotal": "swap_total_bytes",
    "SwapFree": "swap_free_bytes",
}
_PAGING_FIELDS = {
    "pgfault": "page_faults",
    "pgmajfault": "major_page_faults",
    "pswpin": "swapped_in_pages",
    "pswpout": "swapped_out_pages",
}


class ProcessStat(NamedTuple):
    """/proc/PID/stat as far as it is used. `start_ticks` tells a process from a later one of the same id;
    `children_*` are the times of descendants that ended and were waited for."""

    pid: int
    name: str
    state: str
    parent: int
    kernel: bool
    user_s: float
    system_s: float
    children_user_s: float
    children_system_s: float
    threads: int
    start_ticks: int
    rss_bytes: int


def machine_cpu(text: str, ticks_per_s: int) -> Values:
    """/proc/stat -> user_s, system_s, idle_s, iowait_s, irq_s, softirq_s, steal_s, and what _STAT_FIELDS names.

    `user` holds guest time already, so guest is not added; niced time counts as user time.
    """
    rows = {row[0]: row[1:] for row in _rows(text)}
    if "cpu" not in rows:
        raise ValueError("no line 'cpu' in the text of /proc/stat")
    ticks = dict(zip(_CPU_FIELDS, _integers(rows["cpu"], "/proc/stat"), strict=False))
    ticks["user"] = ticks.get("user", 0) + ticks.pop("nice", 0)
    values = {f"{name}_s": count / ticks_per_s for name, count in ticks.items()}
    for field, metric in _STAT_FIELDS.items():
        if rows.get(field):
            values[metric] = float(_integer(rows[field], "/proc/stat"))
    return values


def cores(text: str, ticks_per_s: int) -> dict[str, Values]:
    """/proc/stat -> number of each CPU -> used_s (all but idle, waiting for I/O and stolen), softirq_s."""
    found: dict[str, Values] = {}
    for name, *fields in _rows(text):
        if name.startswith("cpu") and name != "cpu":
            ticks = dict(zip(_CPU_FIELDS, _integers(fields, "/proc/stat"), strict=False))
            used = sum(count for kind, count in ticks.items() if kind not in ("idle", "iowait", "steal"))
            found[name.removeprefix("cpu")] = {
                "used_s": used / ticks_per_s,
                "softirq_s": ticks.get("softirq", 0) / ticks_per_s,
            }
    return found


def load_average(text: str) -> Values:
    """/proc/loadavg -> load_1m, load_5m, load_15m."""
    try:
        return dict(zip(_LOAD_FIELDS, map(float, text.split()[: len(_LOAD_FIELDS)]), strict=True))
    except ValueError as error:
        raise ValueError("the text of /proc/loadavg is cut or is something else") from error


def process_stat(text: str, ticks_per_s: int, page_bytes: int) -> ProcessStat:
    """/proc/PID/stat. The name may hold spaces and parentheses: it ends at the last ')'."""
    head, closed, rest = text.rpartition(")")
    number, opened, name = head.partition("(")
    fields = rest.split()
    if not closed or not opened or len(fields) < 22:
        raise ValueError("the text of /proc/PID/stat is cut or is something else")
    # Field n of proc.rst (from 1) is fields[n - 3]: pid and name are gone.
    parent, flags, user, system, children_user, children_system, threads, start, rss = _integers(
        [fields[n - 3] for n in (4, 9, 14, 15, 16, 17, 20, 22, 24)], "/proc/PID/stat"
    )
    return ProcessStat(
        pid=_integer([number.strip()], "/proc/PID/stat"),
        name=name,
        state=fields[0],
        parent=parent,
        kernel=bool(flags & KERNEL_THREAD),
        user_s=user / ticks_per_s,
        system_s=system / ticks_per_s,
        children_user_s=children_user / ticks_per_s,
        children_system_s=children_system / ticks_per_s,
        threads=threads,
        start_ticks=start,
        rss_bytes=max(0, rss) * page_bytes,
    )


def group_cpu(text: str) -> Values:
    """cpu.stat of a control group (v2) -> cpu_user_s, cpu_system_s: of all processes that ever were in it."""
    fields = {"user_usec": "cpu_user_s", "system_usec": "cpu_system_s"}
    values = {fields[row[0]]: _integer(row[1:2], "cpu.stat") / 1e6 for row in _rows(text) if row[0] in fields}
    if len(values) != len(fields):
        raise ValueError("the text of cpu.stat is cut or is something else")
    return values


def throttling(text: str) -> Values:
    """cpu.stat of a control group with a quota (v1 or v2) -> cpu_periods, cpu_throttled_periods, cpu_throttled_s (of
    all CPUs' run queues, summed)."""
    names = {
        "nr_periods": ("cpu_periods", 1.0),
        "nr_throttled": ("cpu_throttled_periods", 1.0),
        "throttled_time": ("cpu_throttled_s", 1e-9),
        "throttled_usec": ("cpu_throttled_s", 1e-6),
    }
    values: Values = {}
    for row in _rows(text):
        if row[0] in names:
            metric, scale = names[row[0]]
            values[metric] = _integer(row[1:2], "cpu.stat") * scale
    return values


def process_io(text: str) -> Values:
    """/proc/PID/io -> read_bytes, write_bytes: what the process made storage deliver and what it dirtied."""
    values: Values = {}
    for row in _rows(text):
        key = row[0].rstrip(":")
        if key in ("read_bytes", "write_bytes"):
            values[key] = float(_integer(row[1:2], "/proc/PID/io"))
    return values


def memory(text: str) -> Values:
    """/proc/meminfo -> what _MEMORY_FIELDS names, in bytes."""
    values: Values = {}
    for row in _rows(text):
        metric = _MEMORY_FIELDS.get(row[0].rstrip(":"))
        if metric is not None:
            values[metric] = float(_integer(row[1:2], "/proc/meminfo") * 1024)
    return values


def paging(text: str) -> Values:
    """/proc/vmstat -> page_faults, major_page_faults, swapped_in_pages, swapped_out_pages."""
    return {
        _PAGING_FIELDS[row[0]]: float(_integer(row[1:2], "/proc/vmstat"))
        for row in _rows(text)
        if row[0] in _PAGING_FIELDS
    }


def device(text: str, major: int, minor: int) -> Values:
    """/proc/diskstats -> read_ops, read_bytes, write_ops, write_bytes, busy_s of one device, the seconds that its
    operations took (read_wait_s, write_wait_s) and how many are in flight (operations); empty if it has none."""
    for row in _rows(text):
        if row[:2] != [str(major), str(minor)]:
            continue
        if len(row) < 14:
            raise ValueError(f"the line of device {major}:{minor} in /proc/diskstats is cut")
        read_ops, read_sectors, read_ms, write_ops, write_sectors, write_ms, in_flight, busy_ms = _integers(
            [row[n] for n in (3, 5, 6, 7, 9, 10, 11, 12)], "/proc/diskstats"
        )
        return {
            "read_ops": float(read_ops),
            "read_bytes": float(read_sectors * SECTOR_BYTES),
            "write_ops": float(write_ops),
            "write_bytes": float(write_sectors * SECTOR_BYTES),
            "busy_s": busy_ms / 1000,
            "read_wait_s": read_ms / 1000,
            "write_wait_s": write_ms / 1000,
            "operations": float(in_flight),
        }
    return {}


def pressure(text: str) -> Values:
    """/proc/pressure/* -> `some` and `full`: seconds that some task, or all tasks, stalled."""
    values: Values = {}
    for row in _rows(text):
        for field in row[1:]:
            if field.startswith("total="):
                values[row[0]] = _integer([field.removeprefix("total=")], "/proc/pressure") / 1e6
    return values


def interfaces(text: str) -> dict[str, Values]:
    """/proc/net/dev -> interface name -> bytes, packets, errors and drops of each direction."""
    found: dict[str, Values] = {}
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        if not colon:
            continue  # the two lines of headings
        fields = rest.split()
        if len(fields) < 16:
            raise ValueError(f"the line of {name.strip()} in /proc/net/dev is cut")
        found[name.strip()] = {
            metric: float(count)
            for metric, count in zip(
                _NET_FIELDS.values(), _integers([fields[n] for n in _NET_FIELDS], "/proc/net/dev"), strict=True
            )
        }
    return found


def tcp(text: str) -> Values:
    """/proc/net/snmp -> what _TCP_FIELDS names, of the network namespace."""
    rows = [row[1:] for row in _rows(text) if row[0] == "Tcp:"]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        raise ValueError("no pair of lines 'Tcp:' in the text of /proc/net/snmp")
    named = dict(zip(rows[0], rows[1], strict=True))
    return {
        metric: float(_integer([named[field]], "/proc/net/snmp"))
        for field, metric in _TCP_FIELDS.items()
        if field in named
    }


def tcp_sockets(text: str) -> Values:
    """/proc/net/sockstat -> tcp_sockets (IPv4's), tcp_time_wait_sockets (all) of the network namespace;
    /proc/net/sockstat6 -> tcp_sockets (IPv6's, which are a JVM's)."""
    row = next((row[1:] for row in _rows(text) if row[0] in ("TCP:", "TCP6:")), None)
    if row is None:
        raise ValueError("no line 'TCP:' or 'TCP6:' in the text of /proc/net/sockstat")
    named = dict(zip(row[::2], row[1::2], strict=False))
    return {
        metric: float(_integer([named[field]], "/proc/net/sockstat"))
        for field, metric in _SOCKET_FIELDS.items()
        if field in named
    }


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo."""

    major: int
    minor: int
    root: str
    point: str
    file_system: str
    source: str


def mounts(text: str) -> list[Mount]:
    """/proc/self/mountinfo, later mounts last: of several at one point the last one counts."""
    found: list[Mount] = []
    for row in _rows(text):
        try:
            separator = row.index("-", 6)
            major, minor = _integers(row[2].split(":"), "/proc/self/mountinfo")
            file_system, source = row[separator + 1 : separator + 3]
        except ValueError as error:
            raise ValueError("a line of /proc/self/mountinfo is cut") from error
        found.append(Mount(major, minor, _unescape(row[3]), _unescape(row[4]), file_system, _unescape(source)))
    return found


def _unescape(field: str) -> str:
    """The kernel writes space, tab, newline and backslash in paths as octal escapes."""
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(escape, character)
    return field


def _rows(text: str) -> list[list[str]]:
    return [fields for fields in (line.split() for line in text.splitlines()) if fields]


def _integer(fields: list[str], source: str) -> int:
    """The first field, which may be missing."""
    if not fields:
        raise ValueError(f"a line of {source} is cut")
    return _integers(fields[:1], source)[0]


def _integers(fields: list[str], source: str) -> list[int]:
    try:
        return [int(field) for field in fields]
    except ValueError as error:
        raise ValueError(f"not a number in {source}: {' '.join(fields)[:60]!r}") from error

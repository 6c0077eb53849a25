"""What limited a trial, as far as utilisation tells: which resource of which host.

A resource that was used nearly all the time is named, with the share as evidence; if none was, the answer is
'unknown', which is a valid one: locks, round trips and queue sizes limit too and use nothing. Threads of a broker that
are busy may only be waiting for its disk or for a CPU, so they are named where no resource is at its limit, and not on
a host that waits for either; likewise the machine's CPU, where it is busy with other work. Utilisation is a hint, no
proof of cause. On a machine that brokers, sidecars and clients share, 'machine CPU' means the ceiling of that machine,
clients included.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from meshmark.analysis.ledger import Ledger, broker_hosts, client_hosts, cpu_of, ledger
from meshmark.analysis.model import Evidence
from meshmark.plan import Scenario
from meshmark.record import Limit, Trial

UNKNOWN = "unknown"
LOAD_GENERATOR = "load generator"

CPU_LIMIT = 0.90
"""Of all CPUs: the rest goes to wake-ups and to threads waiting for each other."""
STEAL_LIMIT = 0.10
DISK_LIMIT = 0.90
IO_STALL_LIMIT = 0.30
"""Of the time nothing ran because all that could waited for I/O."""
MEMORY_STALL_LIMIT = 0.10
"""Of the time some task waited for memory to be reclaimed."""
THREADS_LIMIT = 0.90
"""Of a sidecar's worker threads, which are all it can use; of a broker's request handlers or network threads."""
QUOTA_LIMIT = 0.50
"""Of the periods of a CPU quota. Bursts meet a quota that is large enough in some of them."""
LINK_LIMIT = 0.85
"""Of a link's bandwidth. It is used up by frames; counted are super-packets, which lack their headers: 0.95 is all."""
FLAT_SHARE = 0.10
"""Of what a limited disk may take in the window, or did where its operations are limited. By more, the log grew in
memory, or the device caught up with it: what the disk took is then not what the log did."""
WAITING = 0.50
"""Of the time a thread of a broker waited for a CPU, or for I/O: its busy threads then say nothing of themselves."""

MACHINE = "machine"
NETWORK_THREADS = 3  # Kafka's defaults of num.network.threads and queued.max.requests
QUEUED_REQUESTS = 500


def evidence(trial: Trial, scenario: Scenario, cpus: int) -> tuple[Evidence, ...]:
    """The share of every resource that was measured in the window, those that limit first."""
    book = ledger(trial, scenario, cpus)
    found = [
        _machine_cpu(book),
        _share("steal", book.share(book.steal_s), STEAL_LIMIT, "of all CPUs' time went to other machines of the host"),
        *_stalls(trial, book.elapsed_s),
        *_reserved(scenario.cluster.client_cpus, book),
        *_components(trial, scenario, book),
        *(item for host in broker_hosts(scenario) for item in _broker(trial, scenario, host, book.elapsed_s)),
        *(item for host in _hosts(scenario) for item in _given(trial, host, book.elapsed_s)),
    ]
    measured = [item for item in found if item is not None]
    return tuple(sorted(measured, key=lambda item: (not _limits(item), -item.share)))


def limiting(evidences: Iterable[Evidence]) -> tuple[str, ...]:
    """The resources at their limit; those that may be busy for another reason where there are no others; `unknown`."""
    found = [item for item in evidences if _limits(item)]
    causes = [item for item in found if not item.may_wait] or found
    return tuple(item.resource for item in causes) or (UNKNOWN,)


def average(repeats: Sequence[Sequence[Evidence]]) -> tuple[Evidence, ...]:
    """Of each resource the mean over the repeats that measured it."""
    by_resource: dict[str, list[Evidence]] = {}
    for item in (item for repeat in repeats for item in repeat):
        by_resource.setdefault(item.resource, []).append(item)
    means = [
        items[0].model_copy(update={"share": fmean(item.share for item in items)}) for items in by_resource.values()
    ]
    return tuple(sorted(means, key=lambda item: (not _limits(item), -item.share)))


def mostly(repeats: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What more than half of the repeats name; `unknown` if they do not agree on anything; nothing for no repeats."""
    if not repeats:
        return ()
    counts = Counter(name for names in repeats for name in names)
    return tuple(name for name, count in counts.items() if count > len(repeats) / 2) or (UNKNOWN,)


def _limits(item: Evidence) -> bool:
    return item.limit is not None and item.share >= item.limit


def _share(
    resource: str, share: float | None, limit: float | None, text: str, *, host: str = MACHINE, may_wait: bool = False
) -> Evidence | None:
    if share is None:
        return None
    return Evidence(resource=resource, host=host, share=share, limit=limit, text=text, may_wait=may_wait)


def _machine_cpu(book: Ledger) -> Evidence | None:
    """Other work on the machine fills what a limit elsewhere leaves idle: a machine that is busy only with it is no
    evidence beside that limit."""
    own_s = None if book.busy_s is None or book.others is None else book.busy_s - book.others.total_s
    own = book.share(own_s)
    text = f"of all {book.cpus} CPUs' time was busy"
    return _share(
        "machine CPU", book.share(book.busy_s), CPU_LIMIT, text, may_wait=own is not None and own < CPU_LIMIT
    )


def _reserved(client_cpus: int, book: Ledger) -> list[Evidence | None]:
    """Where load workers have CPUs of their own: how much each side used of what it has."""
    if not client_cpus:
        return []
    system = [each for each in (book.brokers, book.compilers, book.sidecars, book.gateways) if each is not None]
    sides = (
        ("cluster CPU", system, book.cpus - client_cpus, "of the {} CPUs' time that the cluster has"),
        (LOAD_GENERATOR, [book.clients] if book.clients else [], client_cpus, "of the {} CPUs' time that it has"),
    )
    return [
        _share(name, sum(each.total_s for each in used) / (book.elapsed_s * cpus), CPU_LIMIT, text.format(cpus))
        for name, used, cpus, text in sides
        if used
    ]


def _hosts(scenario: Scenario) -> tuple[str, ...]:
    return (*broker_hosts(scenario), *client_hosts(scenario))


def _part(trial: Trial, key: str, whole: float) -> float | None:
    """Growth of a counter as a part of something."""
    grown = trial.delta(key)
    return None if grown is None or whole <= 0 else grown / whole


def _stalls(trial: Trial, elapsed_s: float) -> list[Evidence | None]:
    def of_time(key: str) -> float | None:
        return _part(trial, key, elapsed_s)

    return [
        _share("disk", of_time("machine/disk/busy_s"), DISK_LIMIT, "of the time the device had operations in flight"),
        _share("I/O stall", of_time("machine/psi/io_full_s"), IO_STALL_LIMIT, "of the time all tasks waited for I/O"),
        _share("memory", of_time("machine/psi/memory_some_s"), MEMORY_STALL_LIMIT, "of the time a task had no memory"),
        _share("I/O wait", of_time("machine/psi/io_some_s"), None, "of the time a task waited for I/O"),
        _share("CPU queue", of_time("machine/psi/cpu_some_s"), None, "of the time a task waited for a CPU"),
    ]


def _components(trial: Trial, scenario: Scenario, book: Ledger) -> list[Evidence | None]:
    """Per host. Only a sidecar has a number of threads that bounds it below the machine."""
    found: list[Evidence | None] = []
    threads = scenario.cluster.sidecar_concurrency
    for host in _hosts(scenario):
        for kind in ("kafka", "sidecar", "client"):
            cpu = cpu_of(trial, f"{host}/{kind}")
            if cpu is None:
                continue
            if kind == "sidecar" and threads < book.cpus:
                share = cpu.total_s / (book.elapsed_s * threads)
                text = f"of the {threads} worker threads that it has"
                found.append(_share(f"{host}/{kind} threads", share, THREADS_LIMIT, text, host=host))
            else:
                share_of_all = book.share(cpu.total_s)
                text = f"of all {book.cpus} CPUs' time"
                found.append(_share(f"{host}/{kind} CPU", share_of_all, None, text, host=host))
    return found


def _broker(trial: Trial, scenario: Scenario, host: str, elapsed_s: float) -> list[Evidence | None]:
    """What a broker says of its threads and queues, and for what it waited."""
    config = scenario.cluster.broker_config
    threads = int(config.get("num.network.threads", NETWORK_THREADS))
    room = int(config.get("queued.max.requests", QUEUED_REQUESTS))
    waits = {kind: _part(trial, f"{host}/kafka/{kind}_stalled_s", elapsed_s) for kind in ("cpu", "io")}
    limit = None if any((share or 0) >= WAITING for share in waits.values()) else THREADS_LIMIT
    handlers = _busy(_part(trial, f"{host}/kafka/request_handler_idle_s", elapsed_s))
    network = _busy(_part(trial, f"{host}/kafka/network_thread_idle_s", elapsed_s * threads))
    requests, answers = (_mean(trial, f"{host}/kafka/{kind}_queue_size") for kind in ("request", "response"))
    busy = "of the time of the {} were busy, waiting for disk or CPU inside"
    return [
        _share(f"{host} request handlers", handlers, limit, busy.format("request handlers"), host=host, may_wait=True),
        _share(f"{host} network threads", network, limit, busy.format("network threads"), host=host, may_wait=True),
        _share(f"{host} request queue", requests and requests / room, None, f"of its room for {room}", host=host),
        _share(f"{host} answers waiting", answers and answers / room, None, f"of {room} requests", host=host),
        _share(f"{host}/kafka CPU wait", waits["cpu"], None, "of the time a thread waited for a CPU", host=host),
        _share(f"{host}/kafka I/O wait", waits["io"], None, "of the time a thread waited for I/O", host=host),
    ]


def of_limit(limit: Limit) -> str:
    """The resource's name where a host has no more of it than that."""
    if limit.resource == "cpu":
        return f"{limit.host}/{limit.component} CPU quota"
    return f"{limit.host} {'operations of the disk' if limit.resource == 'operations' else limit.resource}"


def _given(trial: Trial, host: str, elapsed_s: float) -> list[Evidence | None]:
    """What a host has of its own, and how much of that was used: a CPU quota, a link, a disk."""
    found: list[Evidence | None] = []
    for kind in ("kafka", "sidecar", "client"):
        periods = trial.delta(f"{host}/{kind}/cpu_periods") or 0.0
        share = _part(trial, f"{host}/{kind}/cpu_throttled_periods", periods)
        text = "of the periods in which it ran it had used up its CPU quota"
        found.append(_share(f"{host}/{kind} CPU quota", share, QUOTA_LIMIT, text, host=host))
    link = trial.counters_end.get(f"{host}/net/link_bytes_s", 0.0)
    ways = [_part(trial, f"{host}/net/{way}_bytes", elapsed_s * link) for way in ("rx", "tx")]
    fuller = max((share for share in ways if share is not None), default=None)
    found.append(_share(f"{host} network", fuller, LINK_LIMIT, "of its link's bandwidth, the fuller way", host=host))
    disk = trial.counters_end.get(f"{host}/volume/limit_bytes_s", 0.0)
    if disk:
        share = _part(trial, f"{host}/volume/write_bytes", elapsed_s * disk)
        limit = DISK_LIMIT if _dirty_flat(trial, host, elapsed_s * disk) else None
        found.append(_share(f"{host} disk", share, limit, "of the bytes that its disk may take", host=host))
    else:
        share = _part(trial, f"{host}/volume/busy_s", elapsed_s)
        text = "of the time its disk had operations in flight"
        found.append(_share(f"{host} disk", share, DISK_LIMIT, text, host=host))
    writes = trial.counters_end.get(f"{host}/volume/limit_ops_s", 0.0)
    share = _part(trial, f"{host}/volume/write_ops", elapsed_s * writes)
    limit = DISK_LIMIT if _dirty_flat(trial, host, trial.delta(f"{host}/volume/write_bytes") or 0.0) else None
    text = "of the writes that its disk may take"
    found.append(_share(f"{host} operations of the disk", share, limit, text, host=host))
    return found


def _dirty_flat(trial: Trial, host: str, most_bytes: float) -> bool:
    """Whether the host's dirty bytes stood still, within a share of what its device took at most: what its log takes
    and its device does not waits in memory. What the device takes on top is the file system's own (its journal, pages
    that are written twice), unless the machine's dirty bytes fell by it. Not where either was not read."""
    logged, written = trial.delta(f"{host}/kafka/log_bytes"), trial.delta(f"{host}/volume/write_bytes")
    if logged is None or written is None:
        return False
    room = FLAT_SHARE * most_bytes
    return logged - written <= room and (written - logged <= room or _given_back(trial) <= room)


def _given_back(trial: Trial) -> float:
    """Bytes by which memory holds less that is to be written than before; all there are, where it was not read."""
    grown = [trial.delta(f"machine/memory/{metric}") for metric in ("dirty_bytes", "writeback_bytes")]
    return -sum(each for each in grown if each is not None) if None not in grown else math.inf


def _busy(idle: float | None) -> float | None:
    """Readings of the broker's clock and of ours are some milliseconds apart."""
    return None if idle is None else min(1.0, max(0.0, 1 - idle))


def _mean(trial: Trial, key: str) -> float | None:
    """Of a gauge at both edges of the window."""
    edges = [counters[key] for counters in (trial.counters_start, trial.counters_end) if key in counters]
    return fmean(edges) if edges else None

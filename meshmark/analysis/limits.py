"""What limited a trial, as far as utilisation tells.

A resource that was used nearly all the time is named, with the share as evidence; if none was, the answer is
'unknown', which is a valid one: locks, round trips and queue sizes limit too and use nothing. Utilisation is a hint,
no proof of cause. On a machine that brokers, sidecars and clients share, 'machine CPU' means the ceiling of that
machine, clients included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from meshmark.analysis.ledger import Ledger, broker_hosts, client_hosts, cpu_of, ledger
from meshmark.analysis.model import Evidence
from meshmark.plan import Scenario
from meshmark.record import Trial

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
"""Of a sidecar's worker threads, which are all it can use."""


def evidence(trial: Trial, scenario: Scenario, cpus: int) -> tuple[Evidence, ...]:
    """The share of every resource that was measured in the window, those that limit first."""
    book = ledger(trial, scenario, cpus)
    found = [
        _share("machine CPU", book.share(book.busy_s), CPU_LIMIT, f"of all {cpus} CPUs' time was busy"),
        _share("steal", book.share(book.steal_s), STEAL_LIMIT, "of all CPUs' time went to other machines of the host"),
        *_stalls(trial, book.elapsed_s),
        *_components(trial, scenario, book),
    ]
    measured = [item for item in found if item is not None]
    return tuple(sorted(measured, key=lambda item: (not _limits(item), -item.share)))


def limiting(evidences: Iterable[Evidence]) -> tuple[str, ...]:
    """The resources at their limit, or `unknown`."""
    return tuple(item.resource for item in evidences if _limits(item)) or (UNKNOWN,)


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


def _share(resource: str, share: float | None, limit: float | None, text: str) -> Evidence | None:
    return None if share is None else Evidence(resource=resource, share=share, limit=limit, text=text)


def _stalls(trial: Trial, elapsed_s: float) -> list[Evidence | None]:
    def of_time(key: str) -> float | None:
        grown = trial.delta(key)
        return None if grown is None else grown / elapsed_s

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
    for host in (*broker_hosts(scenario), *client_hosts(scenario)):
        for kind in ("kafka", "sidecar", "client"):
            cpu = cpu_of(trial, f"{host}/{kind}")
            if cpu is None:
                continue
            if kind == "sidecar" and threads < book.cpus:
                share = cpu.total_s / (book.elapsed_s * threads)
                text = f"of the {threads} worker threads that it has"
                found.append(_share(f"{host}/{kind} threads", share, THREADS_LIMIT, text))
            else:
                share_of_all = book.share(cpu.total_s)
                found.append(_share(f"{host}/{kind} CPU", share_of_all, None, f"of all {book.cpus} CPUs' time"))
    return found

"""Whether this machine has room for the clients of a load, asked before anything is made on the cluster.

Each connection of librdkafka is a client with threads of its own: two for itself, one for each broker that it knows,
and of a reader one for its group's coordinator. The raw client has no threads for its connections; they are
open files, and a worker allows itself as many as the hard limit says.

Limits: a lower bound, of threads and of a file for each connection, as far as the kernel shows what it allows. Memory
and CPU may be too few for less.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from meshmark.errors import MissingRequirement
from meshmark.load.alone import LoadRequest
from meshmark.worker_protocol import WorkerSpec

THREADS = {"producer": 3, "consumer": 4}
"""Of a connection, with one broker (counted, librdkafka 2.16)."""
MAPPINGS = 2
"""Of a thread: its stack, and the page that guards it."""


def check(request: LoadRequest, kernel: Path = Path("/proc/sys")) -> None:
    """Raises MissingRequirement, which names the kernel's setting."""
    specs = request.specs()
    threads = {spec.name: _threads(spec) for spec in specs}
    together, most = sum(threads.values()), max(threads.values())
    bounds = [(name, bound, together) for name, bound in _bounds(kernel)]
    bounds.append(("vm.max_map_count of one process", _number(kernel / "vm/max_map_count"), MAPPINGS * most))
    files = max(spec.connections for spec in specs)
    bounds.append(
        ("open files of one process (ulimit -Hn)", _bound(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), files)
    )
    known = [(name, bound, needed) for name, bound, needed in bounds if bound is not None]
    short = [f"{needed:,} of {name}, which is {bound:,}" for name, bound, needed in known if needed > bound]
    if short:
        of = {role: sum(spec.connections for spec in specs if spec.role == role) for role in THREADS}
        raise MissingRequirement(
            f"{of['producer']:,} producers and {of['consumer']:,} consumers need at least {'; '.join(short)}",
            hint="Raise what is too low, or ask for fewer topics, or clients of each: a load runs on one machine.",
        )


def _threads(spec: WorkerSpec) -> int:
    return 0 if spec.client == "raw" else THREADS[spec.role] * spec.connections


def _bounds(kernel: Path) -> Iterator[tuple[str, int | None]]:
    for name in ("threads-max", "pid_max"):
        yield f"kernel.{name}", _number(kernel / "kernel" / name)
    if os.geteuid():
        yield "this user's limit of processes (ulimit -u)", _bound(resource.getrlimit(resource.RLIMIT_NPROC)[0])


def _bound(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _number(path: Path) -> int | None:
    """None where the kernel does not show it, as in a sandbox."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None

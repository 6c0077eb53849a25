"""The environment benchmark: what disks and network give before Kafka is there, as the source document measures it.

Every data plane of the plan is probed for bulk TCP, so that what mTLS costs without Kafka has its own line.
Probes are ours (`load/probe_disk`, `load/probe_network`), run on the hosts themselves; no broker runs meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal, NamedTuple

from meshmark.analysis.environment import probed_in
from meshmark.cluster import Backend, Process, Testbed
from meshmark.data_plane import NetworkPath
from meshmark.errors import ComponentFailed
from meshmark.experiment.progress import Progress
from meshmark.plan import EnvironmentSpec, Plan
from meshmark.planfile.hardware import limits_operations
from meshmark.profile import SMALL_WRITE_BYTES, SMALL_WRITERS
from meshmark.record import DiskProbe, NetworkProbe
from meshmark.store import RunWriter

WRITE_BYTES = 65_536
"""Kafka appends a batch with one write; under this load a batch is some tens of KB (a trial's batch fill tells)."""
DISK_BYTES_MAX = 2_000_000_000


class Writes(NamedTuple):
    """How the disk is written to."""

    mode: Literal["buffered", "synced", "direct"]
    write_bytes: int = WRITE_BYTES
    writers: int | None = None
    """None: one for each broker."""


LOGS = (Writes("buffered"), Writes("synced"))
PAGES = Writes("direct", SMALL_WRITE_BYTES, SMALL_WRITERS)
"""Only where a profile limits operations, which are of such writes."""
PORT = 5201
ANSWER_TIMEOUT_S = 60.0


def measure(
    plan: Plan, backend: Backend, writer: RunWriter, progress: Progress
) -> tuple[DiskProbe | NetworkProbe, ...]:
    """Probes each distinct network path of the plan (and always the direct one) and the brokers' disk, repeated."""
    found: list[DiskProbe | NetworkProbe] = []

    def keep(probe: DiskProbe | NetworkProbe) -> None:
        writer.probe(probe)
        found.append(probe)

    spec = plan.environment
    kinds = (*LOGS, PAGES) if limits_operations(plan) else LOGS
    for repeat in range(1, spec.repeats + 1):
        for path, scenario in probed_in(plan).items():
            on_disk = path == "direct" and spec.disk_seconds
            if not on_disk and not spec.network_seconds:
                continue
            with backend.testbed(scenario) as testbed:
                if on_disk:
                    progress.phase(f"environment {repeat}/{spec.repeats}: disk")
                    for writes in kinds:
                        keep(_disk(testbed, spec, writes, repeat))
                if spec.network_seconds:
                    progress.phase(f"environment {repeat}/{spec.repeats}: network, {path}")
                    for flows in (1, spec.flows):
                        keep(_network(testbed, spec, path, flows, repeat))
    return tuple(found)


def _disk(testbed: Testbed, spec: EnvironmentSpec, writes: Writes, repeat: int) -> DiskProbe:
    writers = writes.writers or len(testbed.broker_hosts)
    command = ["python", "-m", "meshmark.load.probe_disk", "--directory", str(testbed.log_dir), "--mode", writes.mode]
    command += ["--writers", str(writers), "--write-bytes", str(writes.write_bytes)]
    command += ["--seconds", str(spec.disk_seconds), "--bytes-max", str(DISK_BYTES_MAX)]
    with testbed.spawn(testbed.broker_hosts[0], command, name=f"disk-{writes.mode}-{repeat}") as process:
        result = _answer(process)
    return DiskProbe(
        tool="meshmark",
        mode=writes.mode,
        write_bytes=writes.write_bytes,
        rate_bytes_s=result["bytes"] / result["seconds"],
        seconds=result["seconds"],
        repeat=repeat,
    )


def _network(testbed: Testbed, spec: EnvironmentSpec, path: NetworkPath, flows: int, repeat: int) -> NetworkProbe:
    module = ["python", "-m", "meshmark.load.probe_network"]
    shape = ["--flows", str(flows), "--seconds", str(spec.network_seconds)]
    broker, client = testbed.broker_hosts[0], testbed.client_hosts[0]
    name = f"network-{flows}-{repeat}"
    with ExitStack() as stack:
        receiver = stack.enter_context(
            testbed.spawn(broker, [*module, "receive", "--port", str(PORT), *shape], name=f"{name}-receive")
        )
        _answer(receiver)
        stack.enter_context(
            testbed.spawn(
                client, [*module, "send", "--to", f"{testbed.address(broker)}:{PORT}", *shape], name=f"{name}-send"
            )
        )
        result = _answer(receiver)
    return NetworkProbe(
        tool="meshmark",
        path=path,
        flows=flows,
        rate_bytes_s=result["bytes"] / result["seconds"],
        seconds=result["seconds"],
        repeat=repeat,
    )


def _answer(process: Process) -> Mapping[str, float]:
    line = process.read_line(ANSWER_TIMEOUT_S)
    if line is None:
        raise ComponentFailed(
            f"the probe {process.name} on {process.host} did not answer within {ANSWER_TIMEOUT_S:.0f} s",
            component=process.name,
            hint="look at its log in the run directory; `meshmark doctor` checks the machine",
        )
    answer: dict[str, float] = json.loads(line)
    if "error" in answer:
        raise ComponentFailed(
            f"the probe {process.name} on {process.host} failed: {answer['error']}",
            component=process.name,
            hint="check free space under the work directory; `meshmark doctor` checks the machine",
        )
    return answer

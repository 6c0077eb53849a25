"""Inside a pod: answers what a run asks about its containers, one JSON object a line, over its standard streams.

    python -m meshmark.backends.kubernetes.agent HOST [--data DIRECTORY [--log NAME] [--metadata NAME] [--beside]]
                                                 [--sidecar] [--machine] [--processes]

Containers of the pod share network and, where meshmark makes the pod, process IDs, so one agent sees all of them,
exactly when it is asked: the kubelet's own figures are up to ten seconds and more old. An operator's pod has one agent
in the process IDs of the broker's container, which sees its files through the broker's process (`--beside`), and one
in those of the sidecar's, which counts processes alone. Processes are told apart by name (java, envoy, pilot-agent,
linkerd2-proxy), or booked. Every question has an `id` and is answered with one line that has the same; with an `error`
where it could not be. It ends with its standard input.

Keys are those of the lab: HOST/kafka, HOST/sidecar, HOST/client, HOST/meshmark (the agent itself), HOST/net, and of
the node machine/{cpu,core:N,memory,disk,psi}. One agent is asked for the ztunnels of nodes, too: NODE/ztunnel/HOP,
the bytes of that hop that this node's carried. What a probe of the kubelet uses (a shell, now and then) is booked to
nobody.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meshmark.backends.kubernetes import handshakes
from meshmark.cluster import Probe
from meshmark.kafka.api_versions import TIMEOUT_S, Wrap, ask, plain_client
from meshmark.kafka.properties import BROKER_PORT
from meshmark.kafka.shown import shown
from meshmark.probes import envoy, istio_tcp, linkerd, procfs, quota
from meshmark.probes.host import (
    MACHINE,
    MOUNTS,
    PAGE_BYTES,
    TICKS_PER_S,
    KafkaLogProbe,
    MachineProbe,
    NetProbe,
    ProcessProbe,
    partition_of,
    storage_under,
    text_of,
)
from meshmark.record import Counters

INTERFACE = "eth0"
"""Of every pod, whatever the network plugin."""
NAMES = {"java": "kafka", "envoy": "sidecar", "pilot-agent": "sidecar", "linkerd2-proxy": "sidecar"}
"""Of processes, as the kernel has them -> component."""
LOOPBACK = "127.0.0.1"
ENVOY_PORT = 15_000
"""Istio's Envoy has its admin interface on the pod's loopback."""
PAGE_TIMEOUT_S = 2.0
QUORUM_STATE = "__cluster_metadata-0/quorum-state"
TCP = "/proc/sys/net/ipv4"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A broker's volume, and in it the directories of partitions and of the metadata log; `mounts` says what is
    mounted there."""

    volume: Path
    log: str
    metadata: str
    mounts: Path = MOUNTS

    def through(self, pid: int) -> Disk:
        """As that process, in a container of its own, has it."""
        root, mounts = Path(f"/proc/{pid}/root"), Path(f"/proc/{pid}/mountinfo")
        return replace(self, volume=root / self.volume.relative_to("/"), mounts=mounts)


class Agent:
    """Of one pod. `answer` gives what a question asks for, as JSON has it."""

    def __init__(
        self,
        host: str,
        *,
        disk: Disk | None = None,
        sidecar: str = "",
        machine: bool = False,
        processes: bool = False,
        held: ExitStack,
    ) -> None:
        self._host, self._disk, self._sidecar, self._held = host, disk, sidecar, held
        self._known: dict[int, str] = {}
        self._processes: dict[str, ProcessProbe] = {}
        self._pids: dict[str, list[int]] = {}
        self._listening: set[tuple[str, int]] = set()
        self._leads: Mapping[tuple[str, int], str] = {}
        self._others: list[Probe] = []
        if not processes:
            self._others.append(held.enter_context(NetProbe(host, INTERFACE, lambda read: read())))
        self._log = None
        self._quota: quota.QuotaProbe | None = None
        if disk is not None:
            self._log = held.enter_context(KafkaLogProbe(host, [disk.volume / disk.log], lambda: self._leads))
        storage = (disk.volume, disk.mounts) if disk else (Path("/tmp"), MOUNTS)
        self._machine = held.enter_context(MachineProbe(*storage)) if machine else None
        self._book(os.getpid(), "meshmark")

    def answer(self, question: Mapping[str, Any]) -> Any:
        match question["ask"]:
            case "clock":
                return {"monotonic_s": time.monotonic(), "boot_id": Path(BOOT_ID).read_text(encoding="ascii").strip()}
            case "read":
                return self._read()
            case "book":
                return self._book(int(question["pid"]), question["component"])
            case "signal":
                return self._signal(question)
            case "lead":
                self._leads = dict.fromkeys(map(tuple, question["partitions"]), self._host)
                return None
            case "partitions":
                return self._partitions()
            case "quorum":
                return self._quorum()
            case "facts":
                return self._facts()
            case "kafka":
                wrap = _wrap(question.get("authority"))
                return ask(question["address"], question["port"], wrap, server_name=question.get("server_name"))
            case "reach":
                return _reached(question["address"], question["port"])
            case "listen":
                return self._listen(question["address"], question["port"])
            case "way":
                return _way(question["address"], question["port"], question["count"], question["timeout_s"])
            case "shown":
                return shown(question["address"], question["port"])
            case "page":
                return _page(question["address"], question["port"], question["path"])
            case "ztunnels":
                return _carried(question["addresses"], question["namespace"])
            case other:
                raise ValueError(f"there is no question {other!r}")

    def _read(self) -> Counters:
        """CPU first and side by side, so that the ledger has one moment."""
        self._look()
        values = self._machine.read() if self._machine else {}
        values = {key: value for key, value in values.items() if not key.startswith(f"{MACHINE}/meshmark/")}
        for process in self._processes.values():
            values |= process.read()
        for probe in self._others:
            values |= probe.read()
        if self._log is not None:
            values |= self._log.read()
        if self._quota is not None:
            values |= self._quota.read()
        if self._sidecar:
            with suppress(OSError, http.client.HTTPException, ValueError):
                found = SIDECARS[self._sidecar]()
                values |= {f"{self._host}/sidecar/{name}": value for name, value in found.items()}
        return values

    def _look(self) -> None:
        """Books processes that have come since. One that has become another program is booked as that."""
        for name in (entry.name for entry in os.scandir("/proc")):
            if not name.isdigit() or int(name) in self._known:
                continue
            with suppress(OSError, ValueError):
                found = procfs.process_stat(text_of(f"/proc/{name}/stat"), TICKS_PER_S, PAGE_BYTES)
                if component := NAMES.get(found.name):
                    self._book(int(name), component)

    def _book(self, pid: int, component: str) -> None:
        if component == "kafka" and self._quota is None and (group := quota.group_within(Path(f"/proc/{pid}/root"))):
            self._quota = quota.QuotaProbe(self._host, component, group)
        if component not in self._processes:
            self._processes[component] = self._held.enter_context(ProcessProbe(self._host, component))
        self._processes[component].add(pid)
        self._known[pid] = component
        self._pids.setdefault(component, []).append(pid)

    def _listen(self, address: str, port: int) -> None:
        """Once, and as long as it lives."""
        if (address, port) not in self._listening:
            self._held.enter_context(handshakes.listening(address, port))
            self._listening.add((address, port))

    def _signal(self, question: Mapping[str, Any]) -> int:
        """To one process, or all of a component; to how many it went."""
        self._look()
        pids = [int(question["pid"])] if "pid" in question else self._pids.get(question["component"], [])
        reached = 0
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, int(question["number"]))
                reached += 1
        return reached

    def _partitions(self) -> list[str]:
        """Directories of partitions in the broker's log, those that are being deleted too."""
        assert self._disk is not None, "asked of brokers alone"
        return [
            entry.name
            for entry in os.scandir(self._disk.volume / self._disk.log)
            if partition_of(entry.name) or entry.name.endswith("-delete")
        ]

    def _quorum(self) -> dict[str, int]:
        """What the broker has written down of the controllers' last election; a leader of -1: not known yet."""
        assert self._disk is not None, "asked of brokers alone"
        state = json.loads((self._disk.volume / self._disk.metadata / QUORUM_STATE).read_text(encoding="utf-8"))
        return {"epoch": int(state["leaderEpoch"]), "leader": int(state["leaderId"])}

    def _facts(self) -> dict[str, Any]:
        import confluent_kafka

        return {
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "cpu_model": _field("/proc/cpuinfo", "model name") or platform.machine(),
            "memory_bytes": int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) * 1024,
            "cgroup": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").is_file() else "v1",
            "pressure_stall_information": Path("/proc/pressure/cpu").is_file(),
            "file_system": storage_under(self._disk.volume, self._disk.mounts).text if self._disk else "",
        }


def _wrap(authority: str | None) -> Wrap:
    """In the clear, or as a TLS client: one that verifies by this file, or, where it is empty, one that takes any
    server and has no certificate."""
    if authority is None:
        return plain_client
    context = ssl.create_default_context(cafile=authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not authority:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return lambda raw, server_name: context.wrap_socket(raw, server_hostname=server_name)


def _reached(address: str, port: int) -> bool:
    """Whether anything accepts a connection there."""
    try:
        with socket.create_connection((address, port), TIMEOUT_S):
            return True
    except OSError:
        return False


def _way(address: str, port: int, count: int, timeout_s: float) -> dict[str, Any]:
    """How long handshakes take, and by what the pod's TCP goes: the most that a socket takes to receive and to send is
    the last of three numbers."""
    return {
        **handshakes.handshakes(address, port, count, timeout_s)._asdict(),
        "congestion_control": Path(TCP, "tcp_congestion_control").read_text(encoding="ascii").strip(),
        "tcp_memory_bytes": [
            int(Path(TCP, name).read_text(encoding="ascii").split()[-1]) for name in ("tcp_rmem", "tcp_wmem")
        ],
    }


def _of_envoy() -> Mapping[str, float]:
    return envoy.statistics(_page(LOOPBACK, ENVOY_PORT, envoy.STATS_PATH), time.time())


def _of_linkerd() -> Mapping[str, float]:
    return linkerd.statistics(_page(LOOPBACK, linkerd.METRICS_PORT, linkerd.METRICS_PATH), BROKER_PORT, time.time())


SIDECARS = {"istio": _of_envoy, "linkerd": _of_linkerd}
"""Mesh -> what its sidecar counts."""


def _carried(addresses: Mapping[str, str], namespace: str) -> Counters:
    """By ztunnels, all at once, by the name of their nodes. One that does not answer is absent."""

    def read(place: tuple[str, str]) -> Counters:
        node, address = place
        try:
            page = _page(address, istio_tcp.METRICS_PORT, istio_tcp.METRICS_PATH)
            carried = istio_tcp.carried(istio_tcp.flows(page, namespace))
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        return {f"{node}/ztunnel/{name}": value for name, value in carried.items()}

    with ThreadPoolExecutor(len(addresses), thread_name_prefix="ztunnels") as threads:
        return {key: value for found in threads.map(read, addresses.items()) for key, value in found.items()}


def _page(address: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=PAGE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"{address}:{port} answered {response.status} to {path}")
    return text


def _field(path: str, name: str) -> str | None:
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _disk(given: argparse.Namespace) -> Disk | None:
    """Raises LookupError where the broker, through which it is to be seen, does not run, and OSError where it has not
    that volume, or runs as somebody else."""
    if given.data is None:
        return None
    disk = Disk(volume=given.data, log=given.log, metadata=given.metadata)
    if not given.beside:
        return disk
    problem: Exception = LookupError("no broker's process is to be seen from here")
    for pid in _brokers():
        found = disk.through(pid)
        try:
            found.volume.stat()
        except OSError as error:
            problem = error
        else:
            return found
    raise problem


def _brokers() -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            found = procfs.process_stat(text_of(f"{process}/stat"), TICKS_PER_S, PAGE_BYTES)
            if NAMES.get(found.name) == "kafka":
                yield int(process.name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--data", type=Path, help="the broker's volume")
    parser.add_argument("--log", default="log", help="directory of partitions, in the volume")
    parser.add_argument("--metadata", default="metadata", help="directory of the metadata log, in the volume")
    parser.add_argument("--beside", action="store_true", help="the volume is the broker's container's alone")
    parser.add_argument("--sidecar", choices=list(SIDECARS), default="")
    parser.add_argument("--machine", action="store_true")
    parser.add_argument("--processes", action="store_true", help="nothing but processes is counted")
    given = parser.parse_args()
    try:
        disk = _disk(given)
    except (LookupError, OSError) as error:
        sys.exit(f"the broker's volume is not to be seen: {error}")
    with ExitStack() as held:
        agent = Agent(
            given.host,
            disk=disk,
            sidecar=given.sidecar,
            machine=given.machine,
            processes=given.processes,
            held=held,
        )
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer: dict[str, Any] = {"answer": agent.answer(question)}
            except (OSError, ValueError, http.client.HTTPException) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps({"id": question["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()

"""The lab as a Backend: holds the machine's lock and the instance for its life, finds and prepares the parts.

with lab("run") as backend:
    backend.prepare(plan)
    with backend.cluster(scenario) as cluster: ...
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from meshmark.backends.lab import cluster
from meshmark.backends.lab.cgroups import cpusets_possible, leave_leaf, make_group
from meshmark.backends.lab.cluster import LabCluster, LabTestbed
from meshmark.backends.lab.disk import require_images
from meshmark.backends.lab.ground import Parts
from meshmark.backends.lab.instance import MEMORY_DIR, Instance, instance
from meshmark.backends.lab.limits import REQUIRE
from meshmark.backends.lab.namespace import enter_user_namespace, outside_uid
from meshmark.backends.lab.perf import require_perf
from meshmark.backends.lab.training import train
from meshmark.backends.lab.wan import require_links
from meshmark.cluster import KeepLogs, discard_logs
from meshmark.data_plane import DataPlane, require
from meshmark.errors import ComponentFailed, MissingRequirement, NoSpace, UsageError
from meshmark.kafka import distribution, storage
from meshmark.kafka.companion import companion
from meshmark.kafka.launch import Runtime
from meshmark.kafka.properties import Node, broker_properties, reserved_keys
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.planfile import limits_needed
from meshmark.planfile.hardware import log_bytes
from meshmark.probes.host import storage_under
from meshmark.record import HostFacts, Versions
from meshmark.topology import Topology

SPARE_FILES = 500
RDKAFKA_FILES = 4
LOG_BUDGET_BYTES = 30_000_000_000
"""Of a cluster without a plan (`up`); a plan says its own."""


@contextmanager
def lab(
    purpose: str,
    *,
    kafka: str = distribution.KAFKA,
    offline: bool = False,
    progress: distribution.Progress | None = None,
) -> Iterator[LabBackend]:
    """The machine is this backend's until the context is left; raises Busy if another meshmark has it.

    Without root it moves the process into a user namespace, so there may be no other thread yet. `kafka`
    names a lock (`distribution.read_lock`); `progress` is told of downloads.
    """
    with ExitStack() as stack:
        stack.callback(leave_leaf)  # when the instance's groups are gone
        owned = stack.enter_context(instance(purpose))
        if os.geteuid() != 0:
            enter_user_namespace()
        groups = make_group(owned.path) if outside_uid() == 0 else None
        yield LabBackend(owned, groups=groups, kafka=kafka, offline=offline, progress=progress)


class LabBackend:
    """Implements `meshmark.cluster.Backend` within an instance that its maker holds."""

    name = "lab"

    def __init__(
        self,
        owned: Instance,
        *,
        groups: Path | None = None,
        kafka: str = distribution.KAFKA,
        offline: bool = False,
        progress: distribution.Progress | None = None,
    ) -> None:
        self.instance = owned
        self._groups = groups
        self._kafka = kafka
        self._offline = offline
        self._progress = progress
        self._log_budget_bytes = LOG_BUDGET_BYTES
        self._archives: dict[str, Path | None] = {}
        self._seed: int = Plan.model_fields["seed"].default
        self._laid: Counter[str] = Counter()
        self._cpusets = False

    def facts(self) -> HostFacts:
        return HostFacts(
            hostname=platform.node(),
            kernel=platform.release(),
            cpu_model=_first(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
            cpus=os.cpu_count() or 1,  # as /proc/stat counts them, whatever this process may run on
            cpus_allowed=len(os.sched_getaffinity(0)),
            memory_bytes=_memory_bytes("MemTotal"),
            cgroup="v2" if Path("/sys/fs/cgroup/cgroup.controllers").is_file() else "v1",
            file_system=storage_under(self.instance.path).text,
            privileges="root" if outside_uid() == 0 else "user namespace",
            features={
                "pressure_stall_information": Path("/proc/pressure/cpu").is_file(),
                "cpu_by_cgroup": self._groups is not None,
                "cpusets": self._cpusets,
                "startup_archive": bool(self._archives) and None not in self._archives.values(),
            },
        )

    def versions(self) -> Versions:
        return distribution.versions(self._kafka)

    def prepare(self, plan: Plan) -> None:
        require((scenario.data_plane for scenario in plan.scenarios), self.name)
        if operators := {s.name: s.cluster.operator for s in plan.scenarios if s.cluster.operator}:
            raise UsageError(
                "the lab has no operators: " + ", ".join(f"{name} has {each}" for name, each in operators.items()),
                hint="Take --backend kubernetes, or leave cluster.operator out of the plan.",
            )
        reserved = {s.name: keys for s in plan.scenarios if (keys := reserved_keys(s.cluster.broker_config))}
        if reserved:
            raise UsageError(
                "; ".join(f"scenario {name}: brokerConfig sets {', '.join(keys)}" for name, keys in reserved.items()),
                hint="The lab decides these itself (identities, addresses, directories, encryption); remove them.",
            )
        if any(scenario.cluster.storage == "image" for scenario in plan.scenarios):
            require_images()
        for scenario in plan.scenarios:
            _check_open_files(scenario)
            _check_cpus(scenario)
        for limited in limits_needed(plan):
            REQUIRE[limited]()
        if any(scenario.cluster.client_cpus for scenario in plan.scenarios):
            self._cpusets = outside_uid() == 0 and cpusets_possible()
        if plan.cpu_samples_hz:
            require_perf()
        if any(scenario.cluster.topology.links for scenario in plan.scenarios):
            require_links()
        self._check_room(plan)
        self._log_budget_bytes, self._seed = plan.log_budget_bytes, plan.seed
        distribution.envoy_version()  # runs it once, so that one that cannot run is known now
        for scenario in plan.scenarios:
            self._prepare_cluster(scenario)

    def testbed(self, scenario: Scenario) -> AbstractContextManager[LabTestbed]:
        return cluster.testbed(self._laying(scenario), scenario)

    def cluster(self, scenario: Scenario, keep_logs: KeepLogs = discard_logs) -> AbstractContextManager[LabCluster]:
        return cluster.cluster(self._laying(scenario), scenario, keep_logs)

    @cached_property
    def _runtime(self) -> Runtime:
        jars = distribution.fetch(self._kafka, offline=self._offline, progress=self._progress)
        java = distribution.java()
        return Runtime(java=java, jars=(*jars, companion(java, offline=self._offline, progress=self._progress)))

    def _parts(self, scenario: Scenario) -> Parts:
        return Parts(
            instance=self.instance,
            groups=self._groups,
            runtime=self._runtime,
            envoy=distribution.envoy(),
            archive=self._archives.get(_archive_key(scenario.cluster)),
            log_budget_bytes=self._log_budget_bytes,
        )

    def _laying(self, scenario: Scenario) -> Parts:
        """Each time other losses, the same ones in each run of a plan."""
        self._laid[scenario.name] += 1
        chance = f"{self._seed}/{scenario.name}/{self._laid[scenario.name]}"
        return dataclasses.replace(self._parts(scenario), chance=chance)

    def _prepare_cluster(self, scenario: Scenario) -> None:
        """Lets Kafka judge the settings, and trains the archive for these JVM options once."""
        spec = scenario.cluster
        node = Node(node_id=1, address="127.0.0.1")
        here = spec.model_copy(update={"topology": Topology()})
        plain = scenario.model_copy(update={"data_plane": DataPlane.PLAIN, "cluster": here})
        settings = broker_properties(
            plain, [node], node, directory=self.instance.path, log_budget_bytes=self._log_budget_bytes
        )
        storage.template(self._runtime, spec, settings)
        key = _archive_key(spec)
        if key not in self._archives:
            try:
                self._archives[key] = train(self._parts(scenario), spec)
            except ComponentFailed:
                # A slower start, for every broker alike; `startup_archive` in the host's facts tells.
                self._archives[key] = None

    def _check_room(self, plan: Plan) -> None:
        disk = max(log_bytes(plan, scenario) for scenario in plan.scenarios)
        memory = any(scenario.cluster.storage == "ram" for scenario in plan.scenarios)
        places = {self.instance.path: disk} | ({MEMORY_DIR: plan.log_budget_bytes} if memory else {})
        for place, needed in places.items():
            free = shutil.disk_usage(place).free
            if free < needed:
                raise NoSpace(
                    f"{place} has {free / 1e9:.1f} GB free; the plan's logs may take {needed / 1e9:.1f} GB",
                    hint="Free some, set MESHMARK_WORK_DIR to another disk, or lower logBudgetBytes in the plan.",
                )
        needed = max(_resident_bytes(scenario.cluster) for scenario in plan.scenarios)
        available = _memory_bytes("MemAvailable")
        if needed > available:
            raise MissingRequirement(
                f"the plan's brokers and sidecars need {needed / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB "
                "are available",
                hint="Lower heapBytes or the number of brokers in the plan, or end what else uses memory.",
            )


def _check_open_files(scenario: Scenario) -> None:
    """Of the process that needs most of them: the load worker, or the client's sidecar, which has two sockets for each
    connection. librdkafka has a few files for each connection besides (4 are allowed for)."""
    work, brokers = scenario.workload, scenario.cluster.brokers
    connections = work.workers * brokers
    needed = SPARE_FILES + max(2 * connections, (RDKAFKA_FILES if work.client == "librdkafka" else 1) * connections)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and needed > most:
        raise MissingRequirement(
            f"scenario {scenario.name}: {work.workers:,} producers with {brokers} brokers need up to {needed:,} open "
            f"files in one process; {most:,} are allowed",
            hint="Raise the hard limit (`ulimit -Hn`, as root), or lower workers in the plan.",
        )


def _check_cpus(scenario: Scenario) -> None:
    reserved, here = scenario.cluster.client_cpus, len(os.sched_getaffinity(0))
    if reserved and here < (os.cpu_count() or 1):
        raise MissingRequirement(
            f"scenario {scenario.name}: clientCpus is asked for, and only {here} of {os.cpu_count()} CPUs are allowed",
            hint="Start it without that restriction (taskset), or set clientCpus to 0: shares are of all CPUs.",
        )
    if reserved >= here:
        raise MissingRequirement(
            f"scenario {scenario.name}: clientCpus reserves {reserved} CPUs for load workers; there are {here}",
            hint=f"At least one is the cluster's: at most {here - 1} here; 0 lets all share all.",
        )


def _archive_key(spec: ClusterSpec) -> str:
    return " ".join([str(spec.heap_bytes), *spec.jvm_options])


def _resident_bytes(spec: ClusterSpec) -> int:
    """Heap, and what a JVM needs beside it (measured: some 250 MB of code, metadata, threads and buffers)."""
    return spec.brokers * (spec.heap_bytes + 250_000_000)


def _memory_bytes(field: str) -> int:
    return int(_first(rf"{field}:\s+(\d+) kB", "/proc/meminfo") or 0) * 1024


def _first(pattern: str, path: str) -> str | None:
    match = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"))
    return match.group(1).strip() if match else None

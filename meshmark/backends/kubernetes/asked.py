"""What is asked of a cluster beside the plan, with defaults; and what of a plan no cluster can be told. Pure.

A broker's size is that of the 2019 document, 4 CPUs, 12 GiB and a heap of 10 GiB, and not the plan's, which is that of
a host on one small machine; a plan that says another heap than the lab's default means it, and is heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from meshmark.backends.kubernetes import stretched
from meshmark.data_plane import require
from meshmark.errors import UsageError
from meshmark.kafka.properties import reserved_keys
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.planfile import find_profile

MIB, GIB = 2**20, 2**30
CPUS = 4
MEMORY_BYTES = 12 * GIB
HEAP_BYTES = 10 * GIB
HEAP_BYTES_MIN = 256 * MIB
"""As of a plan's `heapBytes`."""
SHARED_CPU = "10m"
"""What a broker or a sidecar reserves of a node that it may share. A reservation is a weight as well: that of a load
pod, a whole CPU, has to be far above all of theirs together, or trials are invalid for its lateness."""
LOGS_SHARE = 0.8
"""Of a volume, what the plan's log budget may fill."""
REPOSITORY = "docker.io/apache/kafka"
"""The Apache project's own image; its tags are Kafka's versions."""


DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DNS_NAME = rf"{DNS_LABEL}(\.{DNS_LABEL})*"
LABEL = r"[0-9A-Za-z]([\w.-]{0,61}[0-9A-Za-z])?"
"""Of a label, its value, or its key without a prefix."""
SHARED_NAMESPACES = r"default|kube-.*|istio-system"
"""The objects hold for a whole namespace (who is injected, who must encrypt), so it is nobody else's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where the scenario goes, and how large a broker is there. An empty storage class is the cluster's default. With
    `share_nodes`, for clusters too small for it, brokers need no node each and reserve SHARED_CPU; limits stay."""

    namespace: str
    image: str
    kafka_version: str
    cpus: int
    memory_bytes: int
    heap_bytes: int
    volume_bytes: int
    storage_class: str = ""
    share_nodes: bool = False
    monitors: Mapping[str, str] | None = None
    """Labels of monitors and alert rules, beside ours. None: there are no monitors."""
    cluster: str = ""
    """Which one of the plan's topology it is; empty where there is none."""


def target(
    plan: Plan,
    scenario: Scenario,
    *,
    kafka_version: str,
    namespace: str | None = None,
    image: str | None = None,
    cpus: int | None = None,
    memory_bytes: int | None = None,
    heap_bytes: int | None = None,
    volume_bytes: int | None = None,
    storage_class: str = "",
    share_nodes: bool = False,
    monitors: Mapping[str, str] | None = None,
) -> Target:
    """With a default for all that is None. Raises UsageError with everything that cannot be meant."""
    asked = Target(
        namespace=default_namespace(scenario) if namespace is None else namespace,
        image=f"{REPOSITORY}:{kafka_version}" if image is None else image,
        kafka_version=kafka_version,
        cpus=CPUS if cpus is None else cpus,
        memory_bytes=MEMORY_BYTES if memory_bytes is None else memory_bytes,
        heap_bytes=_heap_bytes(scenario.cluster) if heap_bytes is None else heap_bytes,
        volume_bytes=_volume_bytes(plan, scenario) if volume_bytes is None else volume_bytes,
        storage_class=storage_class,
        share_nodes=share_nodes,
        monitors=monitors,
    )
    if wrong := [*_wrong(asked), *_too_small(asked, plan, scenario)]:
        raise UsageError("; ".join(wrong), hint="`meshmark export --help` shows what it takes")
    return asked


def default_namespace(scenario: Scenario) -> str:
    return f"meshmark-{scenario.name}"


def refuse_namespace(name: str) -> None:
    """Raises UsageError where it is no name of a namespace, or can never be ours."""
    if wrong := list(_wrong_namespace(name)):
        raise UsageError("; ".join(wrong), hint="-n takes the name of a namespace of its own")


def targets(scenario: Scenario, target: Target) -> tuple[Target, ...]:
    """One for each cluster of its topology, in their order; itself where there is none."""
    names = [cluster.name for cluster in scenario.cluster.topology.clusters] or [""]
    return tuple(replace(target, cluster=name) for name in names)


def _heap_bytes(spec: ClusterSpec) -> int:
    lab = ClusterSpec.model_fields["heap_bytes"].default
    return HEAP_BYTES if spec.heap_bytes == lab else spec.heap_bytes


def _volume_bytes(plan: Plan, scenario: Scenario) -> int:
    """A broker's part of the log budget in whole GiB, with room beside it."""
    return -int(-_logs_bytes(plan, scenario) // GIB) * GIB


def _logs_bytes(plan: Plan, scenario: Scenario) -> float:
    """The smallest volume that a broker's part of the log budget does not fill beyond LOGS_SHARE."""
    return plan.log_budget_bytes / scenario.cluster.brokers / LOGS_SHARE


def _wrong_namespace(name: str) -> Iterator[str]:
    if not re.fullmatch(DNS_LABEL, name):
        yield f"{name!r} is no name of a namespace"
    if re.fullmatch(SHARED_NAMESPACES, name):
        yield f"the namespace {name} is not ours alone; the objects need one of their own"


def _wrong(asked: Target) -> Iterator[str]:
    yield from _wrong_namespace(asked.namespace)
    if not re.fullmatch(r"[\w.:/@-]+", asked.image):
        yield f"{asked.image!r} is no name of an image"
    if not re.fullmatch(LABEL, asked.kafka_version):
        yield f"{asked.kafka_version!r} is no version that a label can hold"
    if asked.storage_class and not re.fullmatch(DNS_NAME, asked.storage_class):
        yield f"{asked.storage_class!r} is no name of a storage class"
    for key, value in (asked.monitors or {}).items():
        if not re.fullmatch(rf"({DNS_NAME}/)?{LABEL}", key) or not re.fullmatch(rf"({LABEL})?", value):
            yield f"{key}={value} is no label of Kubernetes"
    if asked.cpus < 1:
        yield "a broker needs 1 CPU at least"
    if asked.memory_bytes <= asked.heap_bytes:
        yield (
            f"the memory of a broker ({quantity(asked.memory_bytes)}) must be above its heap "
            f"({quantity(asked.heap_bytes)}): the JVM needs more than that"
        )
    if asked.heap_bytes < HEAP_BYTES_MIN:
        yield f"a heap of {quantity(asked.heap_bytes)} is too small for a broker: {quantity(HEAP_BYTES_MIN)} at least"


def _too_small(asked: Target, plan: Plan, scenario: Scenario) -> Iterator[str]:
    if asked.volume_bytes < _logs_bytes(plan, scenario):
        yield (
            f"a volume of {quantity(asked.volume_bytes)} is too small: {scenario.cluster.brokers} brokers share "
            f"logBudgetBytes {plan.log_budget_bytes:,}, which may fill {LOGS_SHARE * 100:g} % of their volumes; "
            f"each must have {quantity(_volume_bytes(plan, scenario))}"
        )


def refuse_inexpressible(plan: Plan, scenario: Scenario, *, kafka: bool = True) -> None:
    """Raises UsageError with everything in the plan that the lab can do and these objects, with Kafka or without,
    cannot."""
    require([scenario.data_plane], "kubernetes")
    if wrong := list(_inexpressible(plan, scenario, kafka=kafka)):
        raise UsageError(
            f"the scenario {scenario.name} cannot be put into Kubernetes: {'; '.join(wrong)}",
            hint="Take a scenario without, or leave these settings out of the plan (docs/how-to/kubernetes.md).",
        )


def _inexpressible(plan: Plan, scenario: Scenario, *, kafka: bool) -> Iterator[str]:
    spec = scenario.cluster
    if plan.profile and find_profile(plan.profile).figures():
        yield f"the profile {plan.profile} limits hosts of the lab; nodes of a cluster are what they are"
    if spec.disk_write_bytes_s is not None:
        yield "diskWriteBytesS limits a disk of the lab; volumes of a cluster are as fast as they are"
    if spec.topology:
        yield from stretched.inexpressible(scenario, kafka=kafka)
    if spec.storage != "disk":
        yield f"storage is {spec.storage}; volumes are disks"
    if keys := reserved_keys(spec.broker_config):
        yield f"brokerConfig sets {', '.join(keys)}, which are decided here"
    if odd := [option for option in spec.jvm_options if re.search(r"[\s$]", option)]:
        yield f"jvmOptions with blanks or dollar signs do not pass Kafka's scripts: {', '.join(odd)}"
    for name in (plan.name, scenario.name, *(cluster.name for cluster in spec.topology.clusters)):
        if name.endswith("-"):
            yield f"the name {name} ends with a dash, and labels must not"


def quantity(size_bytes: int) -> str:
    """As Kubernetes writes it, in the largest unit that is exact."""
    for unit, size in (("Gi", GIB), ("Mi", MIB), ("Ki", 2**10)):
        if size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return str(size_bytes)

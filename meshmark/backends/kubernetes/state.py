"""What there is of a scenario in a cluster, and how each broker is. Read once; what it means is computed from that."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshmark.backends.kubernetes import operated, ownership
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import EVENT, POD, STATEFUL_SET, kind_of, name_of
from meshmark.backends.kubernetes.manifest import CLUSTER, DATA_PLANE, PLAN, SCENARIO, WORKLOAD, Body, host
from meshmark.backends.kubernetes.pods import ZONE
from meshmark.kafka.properties import BROKER_PORT

CONTAINER = "kafka"
EVENTS_EACH = 4
"""Of one object, the latest warnings that are told: of an image that cannot be pulled a kubelet says why in one event,
and in two others that it is so."""
EVENTS_OF_POD = 6
"""Of a pod that something happened to, the latest of all its events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """One pod. `problem` is empty where there is none; node and zone are where it is not placed, or has no zone."""

    name: str
    phase: str
    ready: bool
    restarts: int
    node: str
    zone: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """`brokers` has those that are wanted and not there as well, in the phase Missing."""

    namespace: str
    plan: str
    scenario: str
    data_plane: str
    wanted: int
    settled: bool
    """Has the StatefulSet's controller seen what was applied last, and are all its pods of that? Of an operator: does
    it call its resource ready?"""
    objects: tuple[str, ...]
    brokers: tuple[Broker, ...]
    others: tuple[Broker, ...] = ()
    """Of a run: load pods, and one outside the mesh."""
    bootstrap_servers: str
    """From inside the cluster."""
    operator: str = ""
    """What the operator that makes the brokers says, as long as it is not content."""
    replication: str = ""
    """Who encrypts what brokers send each other, where an operator decides that."""
    cluster: str = ""
    """Which one of the plan's topology it is."""

    @property
    def ready(self) -> bool:
        return 0 < self.wanted == sum(broker.ready for broker in self.brokers) and self.settled

    def lines(self) -> tuple[str, ...]:
        """The operator's word, and one a broker, with its problem."""
        said = (f"operator: {self.operator}",) if self.operator else ()
        return said + tuple(
            f"{broker.name}: {'ready' if broker.ready else broker.problem or broker.phase}"
            for broker in (*self.brokers, *self.others)
        )


def read(api: Api, namespace: Body) -> State:
    """Of a namespace that is ours."""
    name = namespace["metadata"]["name"]
    labels = ownership.labels_of(namespace)
    objects = ownership.ours(api, name)
    workloads = [body for body in objects if kind_of(body) == STATEFUL_SET]
    workload = next((body for body in workloads if body["metadata"]["name"] == WORKLOAD), None)
    made = operated.read(objects)
    pods = ownership.pods(api, name)
    wanted = workload["spec"]["replicas"] if workload else 0
    return State(
        namespace=name,
        plan=labels.get(PLAN, ""),
        scenario=labels.get(SCENARIO, ""),
        data_plane=labels.get(DATA_PLANE, ""),
        wanted=made.wanted if made else wanted,
        settled=(made.ready if made else workload is not None) and all(map(_settled, workloads)),
        objects=tuple(name_of(body) for body in objects),
        brokers=tuple(_brokers(workload, [pod for pod in pods if not _others(pod, workloads)])),
        others=tuple(_broker(pod) for pod in pods if _others(pod, workloads)),
        bootstrap_servers=made.bootstrap if made else f"{host(name)}:{BROKER_PORT}",
        operator=made.said if made else "",
        replication=made.replication if made else "",
        cluster=labels.get(CLUSTER, ""),
    )


def warnings(api: Api, namespace: str) -> tuple[str, ...]:
    """What the cluster says of the StatefulSets or the operator's resource, pods and volumes: the latest of each,
    oldest first."""
    about = re.compile(r"(data-)?(broker|client|stranger)(-\d+)?|(data-\d+-)?kafka(-.*)?")
    found: dict[tuple[str, str], dict[str, None]] = {}
    for event in events(api, namespace):
        of = event.get("involvedObject") or {}
        if event.get("type") == "Warning" and about.fullmatch(of.get("name", "")):
            said = found.setdefault((of.get("kind", ""), of["name"]), {})
            line = _line(event)
            said.pop(line, None)
            said[line] = None
    return tuple(line for said in found.values() for line in list(said)[-EVENTS_EACH:])


def events(api: Api, namespace: str) -> list[Body]:
    """All that the cluster still has, oldest first."""
    return sorted(api.find(EVENT, namespace), key=_time)


def events_of(api: Api, namespace: str, pods: Collection[str]) -> tuple[str, ...]:
    """The latest of these pods, warnings or not: whose removal was asked for has none."""
    told: dict[str, list[str]] = {name: [] for name in pods}
    for event in events(api, namespace):
        of = event.get("involvedObject") or {}
        if of.get("kind") == POD.name and of.get("name") in told:
            told[of["name"]].append(_line(event))
    return tuple(line for lines in told.values() for line in lines[-EVENTS_OF_POD:])


def history(api: Api, namespace: str) -> str:
    """All events as `kubectl events` tells them, one a line."""
    return "".join(f"{_time(event)} {event.get('type', '')} {_line(event)}\n" for event in events(api, namespace))


def _line(event: Body) -> str:
    of = event.get("involvedObject") or {}
    message = " ".join(str(event.get("message", "")).split())
    return f"{str(of.get('kind', '')).lower()}/{of.get('name', '')}: {event.get('reason', '')}: {message}"


def _brokers(workload: Body | None, pods: Iterable[Body]) -> Iterator[Broker]:
    there = {pod["metadata"]["name"]: _broker(pod) for pod in pods}
    first, count = 1, 0
    if workload is not None:
        first, count = workload["spec"].get("ordinals", {}).get("start", 0), workload["spec"]["replicas"]
    names = [f"{WORKLOAD}-{number}" for number in range(first, first + count)]
    for name in [*names, *sorted(there.keys() - set(names))]:
        yield there.get(name) or Broker(
            name=name, phase="Missing", ready=False, restarts=0, node="", zone="", problem=""
        )


def problem_of(pod: Body) -> str:
    """Why it is not ready; empty where it is."""
    found = _broker(pod)
    return "" if found.ready else found.problem or f"is {found.phase}"


def _others(pod: Body, workloads: Iterable[Body]) -> bool:
    """Is it of a workload beside the brokers'?"""
    of = pod["metadata"]["name"].rpartition("-")[0]
    return of != WORKLOAD and any(body["metadata"]["name"] == of for body in workloads)


def _broker(pod: Body) -> Broker:
    metadata, status = pod["metadata"], pod.get("status") or {}
    containers = _containers(status)
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    ready = conditions.get("Ready", {}).get("status") == "True" and not metadata.get("deletionTimestamp")
    return Broker(
        name=metadata["name"],
        phase=status.get("phase", "Unknown"),
        ready=ready,
        restarts=sum(each.get("restartCount", 0) for each in containers),
        node=pod["spec"].get("nodeName", ""),
        zone=ownership.labels_of(pod).get(ZONE, ""),
        problem="" if ready else "; ".join(_problems(metadata, status, conditions, containers)),
    )


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _problems(
    metadata: Mapping[str, Any],
    status: Mapping[str, Any],
    conditions: Mapping[str, Mapping[str, Any]],
    containers: Iterable[Mapping[str, Any]],
) -> Iterator[str]:
    if metadata.get("deletionTimestamp"):
        yield "is being removed"
    if status.get("reason"):  # as Evicted
        yield f"{status['reason']}: {status.get('message', '')}"
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") == "False":
        yield f"not placed on a node: {placed.get('reason', '')}: {placed.get('message', '')}"
    for container in containers:
        state, before = container.get("state") or {}, container.get("lastState") or {}
        if waiting := state.get("waiting"):
            yield f"{container['name']} waits: {waiting.get('reason', '')}: {waiting.get('message', '')}".rstrip(": ")
        elif "running" in state and not container.get("ready"):
            yield f"{container['name']} runs, and is not ready"
        ended = state.get("terminated") or before.get("terminated") or {}
        if ended.get("exitCode"):
            yield f"{container['name']} ended with {ended['exitCode']} ({ended.get('reason', 'no reason')})"


def _settled(workload: Body) -> bool:
    status = workload.get("status") or {}
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
        and status.get("readyReplicas", 0) == workload["spec"]["replicas"]
        and status.get("updatedReplicas", 0) == workload["spec"]["replicas"]
    )


def _time(event: Body) -> str:
    """Of all texts that an event may have its time in; RFC 3339 sorts as text, to the second."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )

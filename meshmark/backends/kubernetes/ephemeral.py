"""A run's agents in pods that somebody else makes: ephemeral containers, beside the broker and beside its sidecar.

Such a pod shares no process IDs between its containers, but an ephemeral one takes those of the container that it
targets: there it sees that one's processes, can stop them, and sees its files through them, if both are the same user.
It goes with the pod, or when the container that it targets ends, and is not started again.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from meshmark.backends.kubernetes import state
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.captured import ISTIO
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.measured import MONITOR, idle
from meshmark.backends.kubernetes.pods import BASH
from meshmark.errors import ClusterUnreachable, ComponentFailed

BESIDE_SIDECAR = f"{MONITOR}-sidecar"
TARGETS = {MONITOR: state.CONTAINER, BESIDE_SIDECAR: ISTIO}
"""Ephemeral container -> the one beside which it is."""
TIMEOUT_S = 120.0
"""For their image to come to the node."""
POLL_S = 0.5
WHO = (BASH, "-c", "echo $UID ${GROUPS[0]}")


class _User(NamedTuple):
    user: int
    group: int


def join(api: Api, namespace: str, names: Sequence[str], image: str, timeout_s: float = TIMEOUT_S) -> None:
    """Returns when one runs beside each broker of these pods, and beside its sidecar if it has one. Raises
    ComponentFailed, with what the cluster says, where they do not run in time."""
    pods = _pods(api, namespace)
    for name in names:
        if (pod := pods.get(name)) is None:
            raise ComponentFailed(f"{name} is gone: its operator replaced it meanwhile", component=name)
        beside = [(own, target) for own, target in TARGETS.items() if target in _containers(pod)]
        made = [_container(own, target, image, _user(api, namespace, pod, target)) for own, target in beside]
        api.attach(name, namespace, made)
    _wait(api, namespace, names, timeout_s)


def _wait(api: Api, namespace: str, names: Sequence[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    lacking = dict.fromkeys(names, "no word of them")
    while lacking and time.monotonic() < deadline:
        try:
            there = _pods(api, namespace)
        except ClusterUnreachable as error:
            lacking = dict.fromkeys(lacking, error.message)
        else:
            lacking = {name: why for name in names if (why := _lacks(there.get(name)))}
        if lacking:
            time.sleep(POLL_S)
    if lacking:
        raise ComponentFailed(
            f"the agents' containers do not run after {timeout_s:g} s: "
            + "; ".join(f"{name}: {why}" for name, why in lacking.items()),
            component=next(iter(lacking)),
            log_tail=state.events_of(api, namespace, lacking),
            hint="Their image is that of --client-image; nodes of brokers need it too.",
        )


def _lacks(pod: Body | None) -> str:
    """Why not all of its run; empty where they do."""
    if pod is None:
        return "is gone"
    told = (pod.get("status") or {}).get("ephemeralContainerStatuses") or []
    found = {each["name"]: each.get("state") or {} for each in told}
    wanted = [own for own, target in TARGETS.items() if target in _containers(pod)]
    return "; ".join(f"{name} {_said(found.get(name, {}))}" for name in wanted if "running" not in found.get(name, {}))


def _said(state_: Mapping[str, Body]) -> str:
    for word, verb in (("waiting", "waits"), ("terminated", "ended")):
        if word in state_:
            parts = [str(state_[word][key]) for key in ("reason", "message") if state_[word].get(key)]
            return ": ".join((verb, *parts))
    return "has not begun"


def _pods(api: Api, namespace: str) -> dict[str, Body]:
    return {pod["metadata"]["name"]: pod for pod in api.find(POD, namespace)}


def _containers(pod: Body) -> dict[str, Body]:
    """A sidecar may be one of the init containers."""
    return {each["name"]: each for key in ("initContainers", "containers") for each in pod["spec"].get(key) or ()}


def _user(api: Api, namespace: str, pod: Body, container: str) -> _User:
    """Who its processes are: as the pod says, or as they say themselves. Raises ComponentFailed."""
    told = {**(pod["spec"].get("securityContext") or {}), **(_containers(pod)[container].get("securityContext") or {})}
    if {"runAsUser", "runAsGroup"} <= told.keys():
        return _User(int(told["runAsUser"]), int(told["runAsGroup"]))
    said = io.BytesIO()
    name = pod["metadata"]["name"]
    api.execute(name, namespace, container, WHO, said, io.BytesIO())
    found = re.fullmatch(rb"(\d+) (\d+)\n", said.getvalue())
    if found is None:
        raise ComponentFailed(
            f"the container {container} of {name} does not say as which user it runs: {said.getvalue()[:200]!r}",
            component=name,
        )
    return _User(int(found[1]), int(found[2]))


def _container(name: str, target: str, image: str, user: _User) -> Body:
    """As the monitor beside meshmark's own brokers, but for whom it runs as."""
    made = idle(name, image)
    who = {"runAsUser": user.user, "runAsGroup": user.group, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        **made,
        "targetContainerName": target,
        "securityContext": {**made["securityContext"], **who},
    }

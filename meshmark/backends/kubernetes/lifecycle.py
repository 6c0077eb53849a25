"""A scenario in a cluster from `up` to `down`: waits on conditions, with a bound and the last state in the message.

An API server that goes away for a moment is waited for; one that stays away ends the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeVar

from meshmark.backends.kubernetes import change, ownership, rights, state
from meshmark.backends.kubernetes.api import Api, Forbidden
from meshmark.backends.kubernetes.captured import amiss, gateway_amiss
from meshmark.backends.kubernetes.change import Tell, Wanted
from meshmark.backends.kubernetes.kinds import (
    CLAIM,
    GATEWAY,
    NAMESPACE,
    OPERATED,
    POD,
    SERVICE,
    STATEFUL_SET,
    Kind,
    kind_of,
    name_of,
)
from meshmark.backends.kubernetes.manifest import CLUSTER, MANAGED, OWNER, WORKLOAD, Body
from meshmark.backends.kubernetes.meshes import service_amiss
from meshmark.backends.kubernetes.operated import goes_with_it, what_keeps
from meshmark.backends.kubernetes.ownership import ANY, Labels
from meshmark.backends.kubernetes.state import CONTAINER, State
from meshmark.clock import Clock
from meshmark.errors import ClusterUnreachable, ComponentFailed, Inconclusive, NotOurs, UsageError

POLL_S = 1.0
PATIENCE_S = 30.0
"""How long an API server that answered before may be away."""
REDIRECTED_S = 10.0
"""How long a pod that is ready may be without the annotation of Istio's CNI plugin."""
GRACE_S = 1
"""Of brokers that go with their data."""
ENDED_S = 30.0
"""By then they have ended, unless their node does not answer."""
STAYS = (
    "All of it stays as it is: `meshmark status` shows it, the same `meshmark up` goes on waiting, and "
    "`meshmark down` removes it."
)

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A cluster, and what is to be in it."""

    api: Api
    wanted: Wanted

    @property
    def cluster(self) -> str:
        """Its name in the plan's topology; empty where there is none."""
        return ownership.labels_of(self.wanted.namespace_body).get(CLUSTER, "")


def up(api: Api, wanted: Wanted, *, tell: Tell, clock: Clock, timeout_s: float, force: bool = False) -> State:
    """Applies the scenario and returns when all brokers are ready, with the proxies of their data plane and no others.
    Raises what `change.apply` does, and ComponentFailed with each broker's state and the cluster's own warnings when
    they are not ready in time, or not in the mesh. All that was applied stays then, to be looked at."""
    change.apply(api, wanted, tell=tell, force=force)
    [found] = ready([Site(api=api, wanted=wanted)], tell=tell, clock=clock, timeout_s=timeout_s)
    return found


def ready(
    sites: Sequence[Site],
    *,
    tell: Tell,
    clock: Clock,
    timeout_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[State, ...]:
    """Of what was applied: waits until all brokers of all clusters are ready. `meanwhile` is called at every look, and
    what it raises ends the wait."""
    heard: list[str] = []

    def look() -> tuple[State, ...] | None:
        meanwhile()
        now = tuple(map(_seen, sites))
        lines = [line for each in now for line in each.lines()]
        for line in lines:
            if line not in heard:
                tell(line)
        heard[:] = lines
        return now if all(each.ready for each in now) else None

    try:
        found = wait(look, clock, timeout_s)
    except ClusterUnreachable as error:
        seen = "; ".join(heard) or "nothing yet"
        raise ClusterUnreachable(f"{error.message}; last seen of the brokers: {seen}", hint=error.hint) from None
    if found is not None:
        for site in sites:
            _require_path(site, clock, timeout_s)
        return found
    namespace = sites[0].wanted.namespace
    raise ComponentFailed(
        f"the brokers in the namespace {namespace} are not ready after {timeout_s:g} s",
        component=WORKLOAD,
        log_tail=(*heard, *(text for site in sites for text in state.warnings(site.api, namespace))),
        hint=STAYS,
    )


def _require_path(site: Site, clock: Clock, timeout_s: float) -> None:
    wanted = site.wanted
    data_plane = wanted.scenario.data_plane
    wrong: list[str] = []

    def right() -> bool | None:
        found = [(pod, amiss(data_plane, pod)) for pod in ownership.pods(site.api, wanted.namespace)]
        found += _declared(site)
        wrong[:] = [f"{body['metadata']['name']} {why}" for body, why in found if why]
        return None if wrong else True

    if wait(right, clock, min(REDIRECTED_S, timeout_s)) is None:
        raise ComponentFailed(
            f"the pods in the namespace {wanted.namespace} are ready, and not as {data_plane} has them",
            component=WORKLOAD,
            log_tail=tuple(wrong),
            hint=f"`meshmark doctor --backend kubernetes` tells which meshes there are. {STAYS}",
        )


def _declared(site: Site) -> Iterator[tuple[Body, str]]:
    """Of what the mesh goes by, beside pods, as it is there now: others may have changed it."""
    of: dict[Kind, Callable[[Body], str]] = {
        SERVICE: partial(service_amiss, site.wanted.scenario.data_plane),
        GATEWAY: gateway_amiss,
    }
    for made in site.wanted.manifests:
        if look := of.get(kind_of(made.body)):
            live = site.api.get(kind_of(made.body), made.body["metadata"]["name"], site.wanted.namespace)
            yield made.body, "is gone" if live is None else look(live)


def status(api: Api, namespace: str, asked: Labels = ANY) -> State | None:
    """None where the namespace is not there. Raises NotOurs, as the others do, where it is not ours, or its labels say
    another plan or scenario than `asked`."""
    rights.require(api, "status", namespace)
    found = ownership.namespace(api, namespace, asked)
    return None if found is None else state.read(api, found)


def down(api: Api, namespace: str, asked: Labels = ANY, *, tell: Tell, clock: Clock, timeout_s: float) -> bool:
    """Removes what is ours and returns when it is gone; False where there was nothing.

    A namespace that `up` made goes with all that is in it, unless somebody else's objects are seen there: then ours
    alone go, and NotOurs says whose stay. One that `up` did not make stays, for another scenario. Brokers are ended
    first, and at once. Raises ComponentFailed when something is still there in the end, and Inconclusive when that
    cannot be seen."""
    rights.require(api, "down", namespace)
    found = ownership.namespace(api, namespace, asked)
    if found is None:
        return False
    ending = ownership.is_ending(found)
    operated = not ending and _end_operated(api, namespace, tell=tell, clock=clock, timeout_s=timeout_s)
    if not ending and not ownership.is_made_by_up(found):
        was_up = _remove_ours(api, found, tell=tell, clock=clock, timeout_s=timeout_s) or operated
        tell(f"namespace/{namespace} stays: `up` did not make it")
        return was_up
    if not ending and (others := ownership.of_others(api, namespace)):
        _remove_ours(api, found, tell=tell, clock=clock, timeout_s=timeout_s)
        raise NotOurs(
            f"what is ours in the namespace {namespace} is removed; the namespace stays, with objects that are not: "
            + ", ".join(others),
            hint="Once they may go too: `kubectl delete namespace`, or remove them and `meshmark down` again.",
        )
    begun = clock.now()
    if not ending:  # a second request for it would be refused
        _end_brokers(api, namespace)
        # A namespace that holds pods is looked at again by its controller after half of the grace that they came with.
        wait(lambda: None if api.find(POD, namespace, {MANAGED: OWNER}) else True, clock, min(ENDED_S, timeout_s))
        api.remove_namespace(namespace, found["metadata"]["uid"])
    tell(f"namespace/{namespace} is being removed, with all that is in it")
    last = [found]

    def gone() -> bool | None:
        try:
            now = api.get(NAMESPACE, namespace)
        except Forbidden:
            raise Inconclusive(
                f"the namespace {namespace} is being removed, and its end cannot be seen: this user's rights "
                "ended before",
                hint=f"Whoever runs the cluster sees it: `kubectl get namespace {namespace}`.",
            ) from None
        if now is None or now["metadata"]["uid"] != found["metadata"]["uid"]:
            return True
        last[:] = [now]
        return None

    if wait(gone, clock, timeout_s - (clock.now() - begun)) is None:
        raise ComponentFailed(
            f"the namespace {namespace} is still there after {timeout_s:g} s: {ownership.what_keeps(last[0])}",
            component="namespace",
            hint="The cluster goes on removing it; `meshmark down` waits on.",
        )
    return True


def execute(
    api: Api,
    namespace: str,
    broker: str,
    command: Sequence[str],
    stdout: BinaryIO,
    stderr: BinaryIO,
    asked: Labels = ANY,
) -> int:
    """Runs a command beside the broker, in its container; its exit code. Raises UsageError where there is none."""
    rights.require(api, "exec", namespace)
    if ownership.namespace(api, namespace, asked) is None:
        raise UsageError(f"no cluster is up in the namespace {namespace}", hint="`meshmark up` starts one.")
    pods = [pod["metadata"]["name"] for pod in ownership.pods(api, namespace)]
    if broker not in pods:
        raise UsageError(f"there is no host {broker}", hint=f"Hosts are: {', '.join(sorted(pods)) or 'none yet'}.")
    return api.execute(broker, namespace, CONTAINER, command, stdout, stderr)


def _seen(site: Site) -> State:
    found = ownership.namespace(site.api, site.wanted.namespace)
    if found is None:
        raise NotOurs(f"the namespace {site.wanted.namespace} was removed by somebody else while its brokers started")
    return state.read(site.api, found)


def _end_brokers(api: Api, namespace: str) -> None:
    """The StatefulSets first, or they would make their pods anew; their volumes go with them.

    Brokers that are told to end all at once lose their quorum, so none is granted the controlled shutdown that it asks
    for, and each waits for it through the whole grace of its pod. What that would save, leaders that move in time and
    a log that need not be recovered, is removed with them."""
    for kind, grace_s in ((STATEFUL_SET, None), (POD, GRACE_S)):
        for body in api.find(kind, namespace, {MANAGED: OWNER}):
            api.delete(kind, body["metadata"]["name"], namespace, grace_s=grace_s)


def _remove_ours(api: Api, around: Body, *, tell: Tell, clock: Clock, timeout_s: float) -> bool:
    """The namespace stays, and is free for another scenario. False where there was nothing."""
    namespace = around["metadata"]["name"]
    objects = ownership.ours(api, namespace)
    _end_brokers(api, namespace)
    for body in objects:
        api.delete(kind_of(body), body["metadata"]["name"], namespace)
        tell(f"{name_of(body)} is removed")
    _wait_until_gone(api, namespace, (POD, CLAIM), ownership.is_ours, clock, timeout_s)
    api.apply(ownership.emptied(around))
    return bool(objects)


def _end_operated(api: Api, namespace: str, *, tell: Tell, clock: Clock, timeout_s: float) -> bool:
    """An operator undoes what it did while its resource ends, also outside the namespace, and may hold the resource
    until it has: so that ends first. False where there is none."""
    found = [body for kind in OPERATED for body in api.find(kind, namespace, {MANAGED: OWNER})]
    for body in found:
        api.delete(kind_of(body), body["metadata"]["name"], namespace)
        tell(f"{name_of(body)} is removed")
    if found:
        _wait_until_gone(api, namespace, OPERATED, ownership.is_ours, clock, timeout_s)
        _wait_until_gone(api, namespace, (POD, CLAIM), goes_with_it, clock, timeout_s)
    return bool(found)


def _wait_until_gone(
    api: Api, namespace: str, kinds: Sequence[Kind], counts: Callable[[Body], bool], clock: Clock, timeout_s: float
) -> None:
    left: list[str] = []

    def gone() -> bool | None:
        found = [body for kind in kinds for body in api.find(kind, namespace) if counts(body)]
        left[:] = [name_of(body) + what_keeps(body) for body in found]
        return None if left else True

    if wait(gone, clock, timeout_s) is None:
        raise ComponentFailed(
            f"in the namespace {namespace} these are still there after {timeout_s:g} s: {', '.join(left)}",
            component=WORKLOAD,
            hint="The cluster goes on removing them; `meshmark down` waits on.",
        )


def wait(look: Callable[[], Found | None], clock: Clock, timeout_s: float) -> Found | None:
    """What `look` gives as soon as it gives anything; None when the time is over. Raises ClusterUnreachable where the
    API server stays away."""
    answered = start = clock.now()
    while True:
        try:
            found = look()
            answered = clock.now()
        except ClusterUnreachable:
            if clock.now() - answered > PATIENCE_S:
                raise
            found = None
        if found is not None:
            return found
        if clock.now() - start >= timeout_s:
            return None
        clock.sleep(POLL_S)

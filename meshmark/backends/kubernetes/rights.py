"""What a user has to be allowed for each verb, asked of the server before anything is changed, and as ClusterRoles.

Secrets are read, changed and removed by name alone: the right to list them would be one to read them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import CLAIM, EVENT, LISTED, NAMESPACE, POD, SECRET, SERVICE, Kind
from meshmark.backends.kubernetes.manifest import TLS_SECRET, Body
from meshmark.data_plane import DataPlane
from meshmark.errors import NoRights

Verb = Literal["up", "diff", "status", "exec", "down", "run"]
VERBS: tuple[Verb, ...] = ("up", "diff", "status", "exec", "down", "run")
OF_NAMESPACES = "meshmark-namespaces"
OF_OBJECTS = "meshmark-objects"
OF_NODES = "meshmark-nodes"
OF_PROMETHEUS = "meshmark-prometheus"
OF_RESTARTS = "meshmark-restarts"
OF_ZTUNNEL = "meshmark-ztunnel"
ISTIO_SYSTEM = "istio-system"
"""Where Istio is installed, unless somebody says otherwise; ztunnel is looked for there alone."""
OF_OPERATORS = "meshmark-operators"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Right:
    """To do `verb` to objects of a resource (`pods/exec` is one), or to the named one alone."""

    group: str = ""
    resource: str
    name: str = ""
    verb: str
    namespaced: bool = True
    everywhere: bool = False
    """In all namespaces, and not in one."""
    within: str = ""
    """In that namespace, whatever the scenario's is."""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = " in all namespaces" if self.everywhere else f" in the namespace {self.within}" if self.within else ""
        return f"{self.verb} {resource}{'/' + self.name if self.name else ''}{where}"

    def attributes(self, namespace: str) -> dict[str, str]:
        """As a SelfSubjectAccessReview has them, for that namespace."""
        resource, _, subresource = self.resource.partition("/")
        found = {"group": self.group, "resource": resource, "subresource": subresource, "verb": self.verb}
        if self.everywhere or not (self.namespaced or self.resource == NAMESPACE.plural):
            return {**found, "namespace": "", "name": self.name}
        if self.namespaced:
            return {**found, "namespace": self.within or namespace, "name": self.name}
        # What is done to a namespace that is there is asked for within it, so that a Role there can grant it.
        return {**found, "name": namespace, "namespace": "" if self.verb == "create" else namespace}


READ_NAMESPACE, MAKE_NAMESPACE = (
    Right(resource=NAMESPACE.plural, verb=verb, namespaced=False) for verb in ("get", "create")
)


KUBELET = tuple(Right(resource=f"nodes/{what}", verb="get", namespaced=False) for what in ("metrics", "stats"))
"""Of `run --kubelet`. The kubelet asks for them itself, too."""
FIND_PROMETHEUS = (Right(resource=SERVICE.plural, verb="list", everywhere=True),)
"""Of `run --prometheus find`."""
EVICT = (Right(resource="pods/eviction", verb="create"),)
"""Of `operate restart`."""
JOIN = (Right(resource="pods/ephemeralcontainers", verb="patch"),)
"""Of `run` on an operator's brokers."""
ZTUNNEL = (Right(resource=POD.plural, verb="list", within=ISTIO_SYSTEM),)
"""Of `run` with a data plane of ambient mode: which ztunnel serves which node."""


def of(plane: DataPlane) -> tuple[Right, ...]:
    """Beside those of `run`."""
    return ZTUNNEL if plane.mesh == "ambient" else ()


def needed(verb: Verb) -> tuple[Right, ...]:
    """For one verb."""
    return tuple(sorted(set(_needed(verb))))


def lacking(api: Api, verb: Verb, namespace: str, more: Sequence[Right] = ()) -> list[Right]:
    """What this user has not of the rights for the verb in that namespace, and of `more`. To make the namespace is
    not needed where it is there."""
    found = [right for right in (*needed(verb), *more) if not api.may(right.attributes(namespace))]
    if MAKE_NAMESPACE in found and READ_NAMESPACE not in found and api.get(NAMESPACE, namespace) is not None:
        found.remove(MAKE_NAMESPACE)
    return found


def require(api: Api, verb: Verb, namespace: str, more: Sequence[Right] = ()) -> None:
    """Raises NoRights with all that are lacking."""
    if missing := lacking(api, verb, namespace, more):
        raise NoRights(
            f"the user of the context {api.context} lacks {len(missing)} "
            f"{'right' if len(missing) == 1 else 'rights'} that {verb} needs in the namespace {namespace}: "
            + ", ".join(map(str, missing)),
            hint="Nothing was changed. Whoever runs the cluster can grant them: docs/how-to/kubernetes.md has the "
            "ClusterRoles.",
        )


def cluster_roles() -> tuple[Body, ...]:
    """All that the verbs need: of namespaces, and of what is in them; and what options of `run`, ambient mode, and
    `operate restart` need beside that."""
    every = sorted({right for verb in VERBS for right in needed(verb)})
    return (
        _role(OF_NAMESPACES, [right for right in every if not right.namespaced]),
        _role(OF_OBJECTS, [right for right in every if right.namespaced]),
        _role(OF_NODES, list(KUBELET)),
        _role(OF_PROMETHEUS, list(FIND_PROMETHEUS)),
        _role(OF_RESTARTS, list(EVICT)),
        _role(OF_ZTUNNEL, list(ZTUNNEL)),
        _role(OF_OPERATORS, list(JOIN)),
    )


def _needed(verb: Verb) -> Iterator[Right]:
    if verb == "run":  # all of these in turn
        for part in ("up", "exec", "down"):
            yield from _needed(part)
        yield Right(resource="pods/log", verb="get")
        return
    yield from _of(NAMESPACE, "get")
    if verb in ("up", "diff"):
        yield from _of(NAMESPACE, "create", "patch")
        for kind in LISTED:
            yield from _of(kind, "get", "create", "patch")
    if verb != "exec":
        for kind in LISTED:
            yield from _of(kind, "list")
        yield from _of(SECRET, "get", name=TLS_SECRET)
    if verb in ("up", "down"):
        for kind in LISTED:
            yield from _of(kind, "delete")
        yield from _of(SECRET, "delete", name=TLS_SECRET)
    if verb == "up":
        yield from _of(SECRET, "create")
        yield from _of(SECRET, "patch", name=TLS_SECRET)
    if verb in ("up", "status"):
        yield from _of(EVENT, "list")
    if verb != "diff":
        yield from _of(POD, "list")
    if verb == "exec":
        yield Right(resource="pods/exec", verb="create")
        yield Right(resource="pods/exec", verb="get")
    if verb == "down":
        yield from _of(NAMESPACE, "patch", "delete")
        yield from _of(POD, "delete")
        yield from _of(CLAIM, "list")


def _of(kind: Kind, *verbs: str, name: str = "") -> Iterator[Right]:
    for verb in verbs:
        yield Right(group=kind.group, resource=kind.plural, name=name, verb=verb, namespaced=kind.namespaced)


def _role(name: str, rights: list[Right]) -> Body:
    """Resources with the same verbs share a rule."""
    verbs: dict[tuple[str, str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.name, right.resource), []).append(right.verb)
    rules: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (group, only, resource), allowed in verbs.items():
        rules.setdefault((group, only, tuple(allowed)), []).append(resource)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [_rule(group, only, resources, allowed) for (group, only, allowed), resources in rules.items()],
    }


def _rule(group: str, only: str, resources: list[str], verbs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}
    return {**found, "resourceNames": [only]} if only else found

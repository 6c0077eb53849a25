"""What is ours in a cluster: a namespace that meshmark made, or was given, and in it what has our labels.

The label `app.kubernetes.io/managed-by: meshmark` tells. Someone who prepares a namespace for meshmark, so that it
needs no right to make one, gives it that label. It stays when the scenario ends: only a namespace that `up` made
itself, and annotated, is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from meshmark.backends.kubernetes import operated
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import CLAIM, LISTED, NAMESPACE, POD, SECRET, Kind, kind_of, name_of
from meshmark.backends.kubernetes.manifest import (
    CLUSTER,
    CREATED,
    MANAGED,
    OWNER,
    PLAN,
    SCENARIO,
    TLS_SECRET,
    Body,
    Manifest,
)
from meshmark.backends.kubernetes.meshes import WAYPOINT
from meshmark.errors import NotOurs, ObjectRefused

Labels = Mapping[str, str]
ANY: Labels = MappingProxyType({})
"""Of a namespace, whatever it holds."""
AUTOMATIC = {
    ("ServiceAccount", "default"),
    ("ServiceAccount", "builder"),
    ("ServiceAccount", "deployer"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "istio-ca-crl"),
}
"""What clusters and Istio put into every namespace: nobody's."""
POLICIES = ("security.istio.io", "networking.istio.io")
"""API groups of what a mesh is told about all pods of a namespace."""
OF_GATEWAY = ("gateway.networking.k8s.io/gateway-name", WAYPOINT)
"""Label of all that Istio makes for our waypoint; it goes with that."""


def labels_of(body: Body) -> dict[str, str]:
    return dict(body["metadata"].get("labels") or {})


def is_ours(body: Body) -> bool:
    return labels_of(body).get(MANAGED) == OWNER


def is_of_ours(body: Body) -> bool:
    """Is it ours, or made by an operator for what is?"""
    return is_ours(body) or operated.by_operator(body)


def namespace(api: Api, name: str, asked: Labels = ANY) -> Body | None:
    """The namespace where it is ours, and None where there is none. Raises NotOurs, also where its labels say another
    plan, scenario or cluster of a topology than these."""
    found = api.get(NAMESPACE, name)
    if found is None:
        return None
    if not is_ours(found):
        raise NotOurs(
            f"the namespace {name} is there and not ours: it has no label {MANAGED}={OWNER}",
            hint="Give another one with -n. If it was made for meshmark alone, label it: "
            f"`kubectl label namespace {name} {MANAGED}={OWNER}`.",
        )
    held = labels_of(found)
    if any(label in held and label in asked and held[label] != asked[label] for label in (PLAN, SCENARIO, CLUSTER)):
        part = f"the part {held[CLUSTER]} of " if CLUSTER in held else ""
        raise NotOurs(
            f"the namespace {name} holds {part}the scenario {held.get(SCENARIO)} of the plan {held.get(PLAN)}",
            hint=f"`meshmark down` with -n {name}, and neither -f nor --only, ends what it holds; for another one "
            "give another -n.",
        )
    return found


def is_made_by_up(found: Body) -> bool:
    return CREATED in (found["metadata"].get("annotations") or {})


def made_by_up(namespace: Body) -> Body:
    """It, with the annotation that says so."""
    metadata = namespace["metadata"]
    return {**namespace, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), CREATED: "up"}}}


def emptied(found: Body) -> Body:
    """What is applied to a namespace that stays: what it is told for the sake of its scenario goes."""
    body = {
        "apiVersion": NAMESPACE.api_version,
        "kind": NAMESPACE.name,
        "metadata": {"name": found["metadata"]["name"], "labels": {MANAGED: OWNER}},
    }
    return made_by_up(body) if is_made_by_up(found) else body


def is_ending(body: Body) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))


def refuse_others(api: Api, made: Iterable[Manifest], found: Body | None) -> dict[str, Body]:
    """Of a scenario's objects those that are there, by name; `found` is the namespace.

    Raises NotOurs where any of them, or a policy beside them, is somebody else's, and ObjectRefused where the
    namespace is being removed."""
    bodies = [manifest.body for manifest in made]
    [wanted] = [body for body in bodies if kind_of(body) == NAMESPACE]
    if found is None:
        return {}
    if is_ending(found):
        raise ObjectRefused(
            f"the namespace {wanted['metadata']['name']} is still being removed: {what_keeps(found)}",
            hint="`meshmark down` waits for its end.",
        )
    there = {name_of(wanted): found}
    for body in bodies:
        if body is not wanted:
            live = api.get(kind_of(body), body["metadata"]["name"], body["metadata"]["namespace"])
            if live is not None:
                there[name_of(body)] = live
    if others := [name for name, body in there.items() if not is_ours(body)]:
        raise NotOurs(
            f"in the namespace {wanted['metadata']['name']} there are objects of the same names that are not ours: "
            + ", ".join(others),
            hint="Nothing was changed. Remove them, or give another namespace with -n.",
        )
    name = wanted["metadata"]["name"]
    kinds = [kind for kind in dict.fromkeys(map(kind_of, bodies)) if kind.group in POLICIES]
    if policies := [name_of(body) for kind in kinds for body in api.find(kind, name) if not is_ours(body)]:
        raise NotOurs(
            f"in the namespace {name} policies of others hold for the same pods: {', '.join(policies)}",
            hint="Nothing was changed. They may say otherwise than the data plane who encrypts; remove them, or give "
            "another namespace with -n.",
        )
    return there


def ours(api: Api, namespace: str) -> list[Body]:
    """All objects that meshmark applied there, the namespace itself apart."""
    found = [body for kind in LISTED for body in api.find(kind, namespace, {MANAGED: OWNER})]
    secret = api.get(SECRET, TLS_SECRET, namespace)
    return [*found, secret] if secret is not None and is_ours(secret) else found


def pods(api: Api, namespace: str) -> list[Body]:
    """Of what is ours, an operator's included."""
    return [pod for pod in api.find(POD, namespace) if is_of_ours(pod)]


def of_others(api: Api, namespace: str) -> list[str]:
    """Names of objects there that are neither ours, nor made by an operator for ours, nor automatic, of the kinds that
    meshmark may list, and the Secret that has the name of ours."""
    kinds: tuple[Kind, ...] = (*LISTED, POD, CLAIM)
    found = [f"{kind.name.lower()}/{name}" for kind in kinds for name in _of_others(api, kind, namespace)]
    secret = api.get(SECRET, TLS_SECRET, namespace)
    return [*found, name_of(secret)] if secret is not None and not is_ours(secret) else found


def _of_others(api: Api, kind: Kind, namespace: str) -> Iterator[str]:
    for body in api.find(kind, namespace):
        name = body["metadata"]["name"]
        automatic = (kind.name, name) in AUTOMATIC or OF_GATEWAY in labels_of(body).items()
        if not (is_ours(body) or operated.goes_with_it(body) or automatic):
            yield name


def what_keeps(found: Body) -> str:
    """Why a namespace that is being removed is still there, by its own conditions."""
    status: dict[str, Any] = found.get("status") or {}
    said = [each["message"] for each in status.get("conditions") or [] if each.get("status") == "True"]
    return "; ".join(said) or "it does not say why"

"""A fake of a Kubernetes API server: strict where meshmark could be wrong, and nothing beyond.

What passes here is not thereby proven on a cluster. It has server-side apply with owners of fields, dry runs, rights,
namespaces that take a while to go, and brokers that start, wait or fail as a test says. It refuses what a real one
refuses (no field manager, an unknown kind, a namespace that is not there), and any request that it does not know.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, urlsplit

from meshmark.backends.kubernetes.installed import BRINGS
from meshmark.backends.kubernetes.kinds import APPLIED, CLAIM, EVENT, LISTED, OPERATED, POD, Kind
from tests.unit.kubernetes import fake_operator

Body = dict[str, Any]
Keys = tuple[str, ...]
TOKEN = "good"
KINDS = {(kind.api_version, kind.plural): kind for kind in (*APPLIED, POD, CLAIM, EVENT)}
CUSTOM = {kind for kind in LISTED if kind.group in BRINGS}


class Refused(Exception):
    """An answer that is no success; without a reason it is not JSON, as a proxy's. `says` is the code in its text."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "Refused",
        causes: list[Body] | None = None,
        says: int | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.content_type = content_type
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code if says is None else says,
            "details": {"causes": causes or []},
        }


@dataclass
class Object:
    body: Body
    owners: dict[Keys, dict[str, Any]] = field(default_factory=dict)
    """Path of a leaf -> manager -> the value that it applied."""


@dataclass
class FakeApi:
    """`used` collects (verb, resource, name) of all requests but those for rights; `denied` of them are forbidden.
    `away` counts requests that get no answer. `brokers` says what becomes of them: ready, unplaced, quota."""

    brokers: str = "ready"
    operator: fake_operator.Operator = "works"
    absent: tuple[str, ...] = ()
    """API groups that the cluster does not have."""
    captures: bool = True
    """Do injectors and Istio's CNI plugin do what pods and their namespace ask for?"""
    more: tuple[str, ...] = ()
    """Groups that it has beside, with their versions, in none of which anything is asked for."""
    version: str = "v1.37.0-fake"
    address: str = "127.0.0.1"
    """Of all its pods."""
    away: int = 0
    expired: int = 0
    """So many second pages of lists are gone before they are asked for."""
    lasts: int = 1
    """So many reads of a namespace that is being removed still find it; negative: all."""
    budget: int = 0
    """So many evictions are refused, as disruption budgets do."""
    breaks: bool = False
    """Do commands end with their connection and nothing else?"""
    unpulled: str = ""
    """An image that no node gets, of ephemeral containers."""
    unknown_command: str = ""
    """What the container's runtime says instead of beginning a command."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    refusals: dict[str, Refused] = field(default_factory=dict)
    """Kind, in small letters, and name -> what becomes of applying it."""
    objects: dict[tuple[Kind, str, str], Object] = field(default_factory=dict)
    ending: dict[tuple[Kind, str, str], int] = field(default_factory=dict)
    """Pods whose StatefulSet is gone -> how often they are listed yet."""
    used: set[tuple[str, str, str]] = field(default_factory=set)
    writes: list[str] = field(default_factory=list)
    """Of objects that were changed, in order."""
    commands: list[list[str]] = field(default_factory=list)
    open: list[socket.socket] = field(default_factory=list)
    """Of commands that have begun."""
    runs: bool = False
    """Are commands run, on this machine? Else their own text is all that they write."""
    elsewhere: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Pod -> words before each command in it, as one that gives it another clock."""
    count: int = 0
    left: int | None = None
    """Reads of a namespace that is being removed, until it is gone; None: they have not begun."""

    # What a test puts there or looks at.

    def put(self, kind: Kind, name: str, namespace: str = "", **more: Any) -> Body:
        metadata: Body = {"name": name, "labels": more.pop("labels", {}), "annotations": more.pop("annotations", {})}
        metadata |= {"namespace": namespace} if kind.namespaced else {}
        body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **more}
        self.objects[kind, namespace if kind.namespaced else "", name] = Object(self._stamped(body))
        return body

    def edit(self, name: str, path: Keys, value: Any, manager: str) -> None:
        """As somebody else does with another tool, by force."""
        [found] = [each for (kind, _, own), each in self.objects.items() if f"{kind.name.lower()}/{own}" == name]
        _set(found.body, path, value)
        found.owners[path] = {manager: value}
        found.body["metadata"]["resourceVersion"] = self._number()

    def names(self) -> list[str]:
        return sorted(f"{kind.name.lower()}/{name}" for kind, _, name in self.objects)

    def body(self, name: str) -> Body:
        [found] = [each.body for (kind, _, own), each in self.objects.items() if f"{kind.name.lower()}/{own}" == name]
        return found

    def go_away(self) -> None:
        """Every connection breaks, and none is made until `away` is 0 again."""
        self.away = 10**6
        for each in self.open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def evict(self, name: str, namespace: str) -> None:
        """As a node under pressure does: a pod that failed, and of it an event."""
        self.body(f"pod/{name}")["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        self._event(namespace, "Pod", name, "Evicted", "The node was low on resource: memory.")

    # What the server does.

    def answer(self, method: str, url: str, headers: Message, text: bytes) -> Body:
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Unauthorized", reason="Unauthorized")
        parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
        words = parts.path.strip("/").split("/")
        if words[-1] == "selfsubjectaccessreviews" and method == "POST":
            return self._review(json.loads(text))
        if words == ["version"]:
            return {"gitVersion": self.version}
        if words == ["apis"]:
            return self._groups()
        if words[-1] == "eviction" and method == "POST":
            return self._evict(words[3], words[5], json.loads(text))
        if words[-1] == "ephemeralcontainers" and method == "PATCH":
            assert headers["Content-Type"] == "application/strategic-merge-patch+json"
            return self._attach(words[3], words[5], json.loads(text))
        kind, namespace, name = _place(words)
        if kind.group in self.absent:
            raise Refused(404, "404 page not found", reason="")
        if method == "GET" and not name:
            self._allow("list", kind, namespace)
            return self._list(kind, namespace, query)
        if method == "GET":
            self._allow("get", kind, namespace, name)
            return self._get(kind, namespace, name)
        if method == "PATCH":
            return self._apply(kind, namespace, name, query, headers, json.loads(text))
        if method == "DELETE":
            self._allow("delete", kind, namespace, name)
            [grace] = query.get("gracePeriodSeconds", [""])
            return self._delete(kind, namespace, name, json.loads(text or "{}"), grace)
        raise AssertionError(f"the fake does not know {method} {url}")

    def _groups(self) -> Body:
        there = {*(kind.api_version for kind in APPLIED if kind.group and kind.group not in self.absent), *self.more}
        names = sorted({each.partition("/")[0] for each in there})
        versions = {name: [each for each in sorted(there) if each.startswith(f"{name}/")] for name in names}
        groups = [{"name": name, "versions": [{"groupVersion": v} for v in of]} for name, of in versions.items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def log(self, namespace: str, pod: str) -> str:
        self._allowed("get", "pods/log", namespace, pod)
        return f"what {pod} wrote\n"

    def allow_exec(self, namespace: str, pod: str) -> None:
        for verb in ("create", "get"):  # of a web socket the server asks for both
            self._allowed(verb, "pods/exec", namespace, pod)
        self._get(POD, namespace, pod)
        if refused := self.refusals.get(f"pod/{pod}"):
            raise refused

    def _evict(self, namespace: str, pod: str, eviction: Body) -> Body:
        self._allowed("create", "pods/eviction", namespace, pod)
        assert (eviction["kind"], eviction["metadata"]["name"]) == ("Eviction", pod)
        if self.budget:
            self.budget -= 1
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Refused(429, message, reason="TooManyRequests")
        return self._delete(POD, namespace, pod, eviction["deleteOptions"], grace="0")

    def _attach(self, namespace: str, pod: str, patch: Body) -> Body:
        """By name: one that is there already stays as it is."""
        self._allowed("patch", "pods/ephemeralcontainers", namespace, pod)
        body = self._get(POD, namespace, pod)
        there = body["spec"].setdefault("ephemeralContainers", [])
        for each in patch["spec"]["ephemeralContainers"]:
            others = {one["name"] for key in ("containers", "initContainers") for one in body["spec"].get(key, ())}
            assert each["targetContainerName"] in others
            assert each.keys().isdisjoint({"resources", "ports", "livenessProbe", "readinessProbe", "startupProbe"})
            there.append(each)
            state = {"waiting": {"reason": "ErrImagePull"}} if self.unpulled == each["image"] else {"running": {}}
            said = {"name": each["name"], "state": state}
            body["status"].setdefault("ephemeralContainerStatuses", []).append(said)
        return body

    def _allow(self, verb: str, kind: Kind, namespace: str, name: str = "") -> None:
        self._allowed(verb, kind.plural, namespace, name)

    def _allowed(self, verb: str, resource: str, namespace: str, name: str = "") -> None:
        self.used.add((verb, resource, name))
        if (verb, resource) in self.denied:
            raise Refused(
                403,
                f'{resource} "{name}" is forbidden: User "u" cannot {verb} resource "{resource}" in the namespace '
                f'"{namespace}"',
                reason="Forbidden",
            )

    def _review(self, review: Body) -> Body:
        asked = review["spec"]["resourceAttributes"]
        resource = "/".join(word for word in (asked["resource"], asked["subresource"]) if word)
        return {**review, "status": {"allowed": (asked["verb"], resource) not in self.denied}}

    def _get(self, kind: Kind, namespace: str, name: str) -> Body:
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise Refused(404, f'{kind.plural} "{name}" not found', reason="NotFound")
        if not kind.namespaced and "deletionTimestamp" in found.body["metadata"]:
            left = self.lasts if self.left is None else self.left
            if left == 0:
                for key in [key for key in self.objects if name in (key[1], key[2])]:
                    del self.objects[key]
            self.left = left - 1 if left > 0 else None
        return found.body

    def _list(self, kind: Kind, namespace: str, query: Mapping[str, list[str]]) -> Body:
        if set(query) - {"labelSelector", "limit", "continue"}:
            raise AssertionError(f"the fake does not know {query}")
        if kind == POD:
            if "continue" not in query:
                self._end(namespace)
            self._start(namespace)
            fake_operator.operate(self, namespace)
        wanted = dict(pair.split("=") for text in query.get("labelSelector", []) for pair in text.split(","))
        found = [
            each.body
            for (of, where, _), each in self.objects.items()
            if of == kind and (where == namespace or not namespace)
        ]
        chosen = [body for body in found if wanted.items() <= (body["metadata"].get("labels") or {}).items()]
        start = int(query.get("continue", ["0"])[0])
        if start and self.expired:
            self.expired -= 1
            raise Refused(410, "The provided continue parameter is too old", reason="Expired")
        end = start + min(2, int(query["limit"][0]))  # small pages, so that there are several
        more = {"continue": str(end)} if end < len(chosen) else {}
        said = set() if kind in CUSTOM else {"apiVersion", "kind"}  # said by the list alone, but for custom resources
        items = [{key: value for key, value in body.items() if key not in said} for body in chosen[start:end]]
        return {"kind": f"{kind.name}List", "metadata": {"resourceVersion": "1", **more}, "items": items}

    def _apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        query: Mapping[str, list[str]],
        headers: Message,
        body: Body,
    ) -> Body:
        assert headers["Content-Type"] == "application/apply-patch+yaml"
        [manager] = query["fieldManager"]
        assert (body["apiVersion"], body["kind"], body["metadata"]["name"]) == (kind.api_version, kind.name, name)
        self._allow("patch", kind, namespace, name)
        there = self.objects.get((kind, namespace, name))
        if there is None:
            self._allow("create", kind, namespace, name)
            self._room(kind, namespace)
        if refused := self.refusals.get(f"{kind.name.lower()}/{name}"):
            raise refused
        made = (
            Object(json.loads(json.dumps(there.body)), {path: dict(by) for path, by in there.owners.items()})
            if (there)
            else Object({"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}})
        )
        _merge(made, body, manager, force=query.get("force", ["false"])[0] == "true")
        if there is None or made.body != there.body or made.owners != there.owners:
            made.body = self._stamped(made.body)
            if there and there.body.get("spec", {}).get("volumeClaimTemplates") != made.body.get("spec", {}).get(
                "volumeClaimTemplates"
            ):
                raise Refused(422, 'spec.volumeClaimTemplates: Invalid value: [{"name":"data"}]: field is immutable')
            if query.get("dryRun") != ["All"]:
                self.writes.append(f"{kind.name.lower()}/{name}")
                self.objects[kind, namespace, name] = made
        return made.body

    def _room(self, kind: Kind, namespace: str) -> None:
        if not kind.namespaced:
            return
        around = next((each.body for (of, _, name), each in self.objects.items() if name == namespace), None)
        if around is None:
            raise Refused(404, f'namespaces "{namespace}" not found', reason="NotFound")
        if "deletionTimestamp" in around["metadata"]:
            raise Refused(403, f"unable to create new content in namespace {namespace} because it is being terminated")

    def _delete(self, kind: Kind, namespace: str, name: str, options: Body, grace: str) -> Body:
        """Pods of a StatefulSet that goes are listed twice more, unless a request shortens their grace."""
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise Refused(404, f'{kind.plural} "{name}" not found', reason="NotFound")
        wanted, uid = options.get("preconditions", {}).get("uid"), found.body["metadata"]["uid"]
        if wanted not in (None, uid):
            said = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            raise Refused(409, f'Operation cannot be fulfilled on {kind.plural} "{name}": {said}', reason="Conflict")
        if "deletionTimestamp" in found.body["metadata"] and not kind.namespaced:
            raise Refused(409, "the system is ensuring all content is removed from this namespace", reason="Conflict")
        self.writes.append(f"removed {kind.name.lower()}/{name}" + (f" within {grace} s" if grace else ""))
        if not kind.namespaced or (kind == POD and not grace):
            found.body["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z"
            found.body["status"] = {"conditions": [{"status": "True", "message": "a pod is still there"}]}
        elif kind in OPERATED and not fake_operator.end(self, namespace, found.body):
            pass
        else:
            for key in [key for key in self.objects if key[1] == namespace]:
                of = key[2].removeprefix("data-").rpartition("-")[0] if key[0] in (POD, CLAIM) else ""
                if (key[0], key[2]) == (kind, name) or (key[0], kind.name, name) == (CLAIM, "StatefulSet", of):
                    del self.objects[key]
                elif (kind.name, name) == ("StatefulSet", of):
                    self.ending[key] = 2
        return {"kind": "Status", "status": "Success"}

    def _end(self, namespace: str) -> None:
        for key in [key for key in self.ending if key[1] == namespace]:
            self.ending[key] -= 1
            if self.ending[key] < 0:
                del self.ending[key]
                self.objects.pop(key, None)

    def _start(self, namespace: str) -> None:
        """The controller, the scheduler and the kubelet, once the pods are asked for."""
        sets = [e.body for (k, ns, _), e in self.objects.items() if k.name == "StatefulSet" and ns == namespace]
        for workload in sets:
            self._start_all(namespace, workload)

    def _start_all(self, namespace: str, workload: Body) -> None:
        of = workload["metadata"]["name"]
        if self.brokers == "quota":
            self._event(namespace, "StatefulSet", of, "FailedCreate", "exceeded quota: small")
            return
        spec = workload["spec"]
        if "template" not in spec:  # a test's own
            return
        for number in range(spec["ordinals"]["start"], spec["ordinals"]["start"] + spec["replicas"]):
            name = f"{of}-{number}"
            labels, inside = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
            more = fake_operator.captured(self, namespace, spec["template"]["metadata"])
            more["spec"] |= {**inside, "nodeName": "n1"}
            there = self.objects.get((POD, namespace, name))
            if there and there.body["status"]["phase"] == "Running" and there.body["spec"] == more["spec"]:
                continue
            if self.brokers == "ready":
                zone = {"topology.kubernetes.io/zone": "a"}
                containers = [each["name"] for each in inside["containers"]]
                same = {"imageID": "sha256:1", "containerID": "fake://1", "state": {"running": {}}, "ready": True}
                said = [{"name": each, **same} for each in containers]
                status: Body = {
                    "phase": "Running",
                    "podIP": self.address,
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": said,
                }
                self.put(POD, name, namespace, labels={**labels, **zone}, status=status, **more)
            else:
                message = "0/1 nodes are available: 1 Insufficient memory."
                scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
                status = {"phase": "Pending", "conditions": [scheduled]}
                self.put(POD, name, namespace, labels=labels, spec=inside, status=status)
                self._event(namespace, "Pod", name, "FailedScheduling", message)
            for claim in spec.get("volumeClaimTemplates", []):
                self.put(CLAIM, f"data-{name}", namespace, labels=claim["metadata"]["labels"])
        ready = spec["replicas"] if self.brokers == "ready" else 0
        workload["status"] = {
            "observedGeneration": workload["metadata"]["generation"],
            "readyReplicas": ready,
            "updatedReplicas": spec["replicas"],
        }

    def _event(self, namespace: str, kind: str, name: str, reason: str, message: str) -> None:
        of = {"kind": kind, "name": name}
        more = {"involvedObject": of, "type": "Warning", "reason": reason, "message": message}
        self.put(EVENT, f"{name}.{reason}", namespace, **more)

    def _stamped(self, body: Body) -> Body:
        number = self._number()
        metadata = {"uid": f"u{number}", "creationTimestamp": "2026-11-26T00:00:00Z", **body["metadata"]}
        metadata["generation"] = metadata.get("generation", 0) + 1
        return {**body, "metadata": {**metadata, "resourceVersion": number, "managedFields": []}}

    def _number(self) -> str:
        self.count += 1
        return str(self.count)


def _place(words: list[str]) -> tuple[Kind, str, str]:
    """Of a path; refuses kinds that are not there as the real one does."""
    version = words[1] if words[0] == "api" else "/".join(words[1:3])
    rest = words[2:] if words[0] == "api" else words[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    kind = KINDS.get((version, rest[0]))
    everywhere = len(rest) == 1  # a list of all namespaces
    if kind is None or (kind.namespaced != bool(namespace) and not everywhere) or len(rest) > 2:
        raise Refused(404, "404 page not found", reason="")
    return kind, namespace, rest[1] if len(rest) == 2 else ""


def _leaves(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Lists are whole, as if all were atomic."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _merge(made: Object, body: Body, manager: str, *, force: bool) -> None:
    identity = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
    applied = {path: value for path, value in _leaves(body) if path not in identity}
    if conflicts := [
        {"reason": "FieldManagerConflict", "field": "." + ".".join(path), "message": f'conflict with "{other}"'}
        for path, value in applied.items()
        for other, has in made.owners.get(path, {}).items()
        if other != manager and has != value and not force
    ]:
        raise Refused(409, f"Apply failed with {len(conflicts)} conflicts", reason="Conflict", causes=conflicts)
    for path, by in list(made.owners.items()):
        if path not in applied and by.pop(manager, None) is not None and not by:
            _drop(made.body, path)
            del made.owners[path]
    if "namespace" in body["metadata"]:
        made.body["metadata"]["namespace"] = body["metadata"]["namespace"]
    for path, value in applied.items():
        _set(made.body, path, value)
        others = {} if force else made.owners.get(path, {})
        made.owners[path] = {**others, manager: value}


def _set(body: Body, path: Keys, value: Any) -> None:
    for word in path[:-1]:
        body = body.setdefault(word, {})
    body[path[-1]] = value


def _drop(body: Body, path: Keys) -> None:
    for word in path[:-1]:
        body = body.get(word, {})
    body.pop(path[-1], None)

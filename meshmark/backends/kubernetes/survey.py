"""What a cluster has of what scenarios may need: meshes, operators, kinds of others, and this user's rights.

Nothing is changed. Which kinds the server has, everybody may ask; whether something runs, its pods tell, by the labels
that its own charts give them, to those alone who may list pods everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from meshmark.backends.kubernetes import rights, state
from meshmark.backends.kubernetes.api import Api, Forbidden
from meshmark.backends.kubernetes.kinds import KAFKA, KAFKA_CLUSTER, MONITORING, POD
from meshmark.errors import Inconclusive

Group = Literal["meshes", "operators"]
EVERYWHERE = "*"
ISTIO_KINDS = ("security.istio.io/v1", "networking.istio.io/v1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Something that whoever runs the cluster installs. `kinds`: API groups with a version, or without where any will
    do. `pods`: of each of its programs, the labels of its pods; empty where these were never looked up."""

    name: str
    group: Group
    kinds: tuple[str, ...]
    pods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


ISTIO = Part(name="Istio", group="meshes", kinds=ISTIO_KINDS, pods={"istiod": {"app": "istiod"}})
ZTUNNEL = {"app": "ztunnel"}
AMBIENT = Part(
    name="ambient mode",
    group="meshes",
    kinds=ISTIO_KINDS,
    pods={"ztunnel": ZTUNNEL, "istio-cni": {"k8s-app": "istio-cni-node"}},
)
WAYPOINTS = Part(name="waypoints", group="meshes", kinds=("gateway.networking.k8s.io/v1",))
LINKERD = Part(
    name="Linkerd",
    group="meshes",
    kinds=("policy.linkerd.io",),
    pods={"proxy injector": {"linkerd.io/control-plane-component": "proxy-injector"}},
)
STRIMZI = Part(
    name="Strimzi",
    group="operators",
    kinds=(KAFKA.api_version,),
    pods={"cluster operator": {"strimzi.io/kind": "cluster-operator"}},
)
MESHES = {"istio": ISTIO, "ambient": AMBIENT, "linkerd": LINKERD}
"""Those that `install` can install, by the name that it takes."""
PARTS = (
    ISTIO,
    AMBIENT,
    WAYPOINTS,
    LINKERD,
    STRIMZI,
    Part(name="Koperator", group="operators", kinds=(KAFKA_CLUSTER.api_version,)),
    Part(name="Prometheus Operator", group="operators", kinds=(f"{MONITORING}/v1",)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Of a part: kinds that are not there, and of each program how many of its pods are ready, and how many there are;
    None: this user may not see them."""

    part: Part
    absent: tuple[str, ...]
    pods: Mapping[str, tuple[int, int] | None]

    @property
    def dead(self) -> tuple[str, ...]:
        """Programs without a pod that is ready, as far as that can be seen."""
        return tuple(program for program, pods in self.pods.items() if pods is not None and not pods[0])

    @property
    def there(self) -> bool:
        """As far as that can be seen."""
        return not self.absent and not self.dead

    @property
    def said(self) -> tuple[str, ...]:
        if self.absent:
            return (f"not installed: no {', '.join(self.absent)}",)
        seen = tuple(
            f"{program}: {pods[0]} of {pods[1]} pods ready" if pods[1] else f"{program} does not run"
            for program, pods in self.pods.items()
            if pods is not None
        )
        return seen if self.pods else ("its kinds are there",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """`lacking`: rights that `run` needs in that namespace, and this user has not."""

    version: str
    namespace: str
    lacking: tuple[str, ...]
    parts: tuple[Found, ...]


def survey(api: Api, namespace: str, more: Sequence[rights.Right] = ()) -> Survey:
    """`more`: rights beside those of every run. Raises ClusterUnreachable, and NoRights where the server does not know
    this user."""
    version, served = api.version(), api.served()
    return Survey(
        version=version,
        namespace=namespace,
        lacking=tuple(map(str, rights.lacking(api, "run", namespace, more))),
        parts=tuple(_found(api, part, served) for part in PARTS),
    )


def look(api: Api, part: Part) -> Found:
    """Raises as `survey` does."""
    return _found(api, part, api.served())


def remains(api: Api, part: Part) -> tuple[str, ...]:
    """What the cluster has already of a mesh, or of another of the same groups: API groups in any version, and pods,
    ready or not. Raises Inconclusive where this user may not see these."""
    groups = {kind.partition("/")[0] for kind in part.kinds}
    alike = [mesh for mesh in MESHES.values() if set(mesh.kinds) & set(part.kinds)]
    pods = {name: _ready(api, labels) for mesh in alike for name, labels in mesh.pods.items()}
    found = [f"API group {group}" for group in sorted(groups & api.served())]
    for name, seen in pods.items():
        if seen is None:
            raise Inconclusive(
                f"whether the cluster of the context {api.context} has {part.name} already, this user may not see",
                hint="Nothing was run. Listing pods in all namespaces would tell.",
            )
        if seen[1]:
            found.append(f"{name}: {seen[0]} of {seen[1]} pods ready")
    return tuple(found)


def _found(api: Api, part: Part, served: frozenset[str]) -> Found:
    absent = tuple(kind for kind in part.kinds if kind not in served)
    return Found(
        part=part,
        absent=absent,
        pods={} if absent else {name: _ready(api, labels) for name, labels in part.pods.items()},
    )


def _ready(api: Api, labels: Mapping[str, str]) -> tuple[int, int] | None:
    try:
        pods = api.find(POD, EVERYWHERE, labels)
    except Forbidden:
        return None
    return sum(not state.problem_of(pod) for pod in pods), len(pods)

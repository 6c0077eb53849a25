"""Does a pod's traffic take the way that its data plane says, by what the pod itself shows? Pure.

A pod that no injector saw, or that Istio's CNI plugin did not redirect, becomes ready all the same, and would be
measured as if it were in the mesh; one whose ports Linkerd is not told of is looked into for HTTP. What passes here
has a proxy; that its traffic is encrypted is for a run's proofs.
"""

from __future__ import annotations

from meshmark.backends.kubernetes import meshes
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.measured import CLIENT, STRANGER
from meshmark.data_plane import DataPlane, Mesh, Place

ISTIO, LINKERD, ZTUNNEL = "istio-proxy", "linkerd-proxy", "ztunnel"
"""Containers of sidecars, and the node's proxy of ambient mode."""
REDIRECTION = "ambient.istio.io/redirection"
"""Annotation that Istio's CNI plugin gives a pod once its traffic goes to ztunnel."""
PROXIES: dict[Mesh, str] = {"istio": ISTIO, "linkerd": LINKERD, "ambient": ZTUNNEL}
"""Of each mesh."""
WHY = {
    ISTIO: "Istio's injector did not see it: is it there, and does it go by the label istio-injection?",
    LINKERD: "Linkerd's injector did not see it: is it there?",
    ZTUNNEL: "Istio's CNI plugin did not redirect it: are istio-cni and ztunnel on its node?",
}


def amiss(data_plane: DataPlane, pod: Body) -> str:
    """Empty where all is right."""
    wanted, found = _wanted(data_plane, pod), _found(pod)
    if lacking := wanted - found:
        [proxy] = lacking
        return f"has no {proxy}: {WHY[proxy]}"
    if others := found - wanted:
        return f"has {' and '.join(sorted(others))}, which {data_plane} has not: the cluster puts it everywhere"
    return meshes.amiss(data_plane, pod["metadata"].get("annotations") or {}) if wanted else ""


def gateway_amiss(gateway: Body) -> str:
    """Of a waypoint; empty where it is there for who is sent through it."""
    conditions = {each["type"]: each for each in (gateway.get("status") or {}).get("conditions") or []}
    programmed = conditions.get("Programmed", {"message": "Istio has not looked at it"})
    return "" if programmed.get("status") == "True" else f"is not programmed: {programmed.get('message', '')}"


def _wanted(plane: DataPlane, pod: Body) -> set[str]:
    name = pod["metadata"]["name"]
    if plane.mesh == "none" or name.startswith(STRANGER):
        return set()
    place: Place = "client" if name.startswith(CLIENT) else "broker"
    return {PROXIES[plane.mesh]} if plane.has_sidecar(place) or plane.has_sidecar("node") else set()


def _found(pod: Body) -> set[str]:
    """A sidecar may be one of the init containers."""
    spec, annotations = pod["spec"], pod["metadata"].get("annotations") or {}
    names = {each["name"] for key in ("initContainers", "containers") for each in spec.get(key) or []}
    return names & {ISTIO, LINKERD} | ({ZTUNNEL} if annotations.get(REDIRECTION) == "enabled" else set())

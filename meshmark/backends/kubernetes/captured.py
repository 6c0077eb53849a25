"""Does a pod's traffic take the way that its data plane says, by what the pod itself shows? Pure.

A pod that no injector saw, or that Istio's CNI plugin did not redirect, becomes ready all the same, and would be
measured as if it were in the mesh. What passes here has a proxy; that its traffic is encrypted is for a run's proofs.
"""

from __future__ import annotations

from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.measured import CLIENT, STRANGER
from meshmark.data_plane import DataPlane, Place

ISTIO, LINKERD, ZTUNNEL = "istio-proxy", "linkerd-proxy", "ztunnel"
"""Containers of sidecars, and the node's proxy of ambient mode."""
PROXIES = {"istio": ISTIO, "linkerd": LINKERD, "ambient": ZTUNNEL}
"""Of each mesh."""
REDIRECTION = "ambient.istio.io/redirection"
"""Annotation that Istio's CNI plugin gives a pod once its traffic goes to ztunnel."""
WHY = {
    ISTIO: "Istio's injector did not see it: is it there, and does it go by the label istio-injection?",
    LINKERD: "Linkerd's injector did not see it: is it there?",
    ZTUNNEL: "Istio's CNI plugin did not redirect it: are istio-cni and ztunnel on its node?",
}


def amiss(data_plane: str, pod: Body) -> str:
    """Empty where all is right. `data_plane` is that of the scenario's objects, other meshes included."""
    wanted, found = _wanted(data_plane, pod), _found(pod)
    if lacking := wanted - found:
        [proxy] = lacking
        return f"has no {proxy}: {WHY[proxy]}"
    if others := found - wanted:
        return f"has {' and '.join(sorted(others))}, which {data_plane} has not: the cluster puts it everywhere"
    return ""


def _wanted(data_plane: str, pod: Body) -> set[str]:
    plane, name = DataPlane(data_plane), pod["metadata"]["name"]
    if plane.mesh == "none" or name.startswith(STRANGER):
        return set()
    place: Place = "client" if name.startswith(CLIENT) else "broker"
    return {PROXIES[plane.mesh]} if plane.has_sidecar(place) or plane.has_sidecar("node") else set()


def _found(pod: Body) -> set[str]:
    """A sidecar may be one of the init containers."""
    spec, annotations = pod["spec"], pod["metadata"].get("annotations") or {}
    names = {each["name"] for key in ("initContainers", "containers") for each in spec.get(key) or []}
    return names & {ISTIO, LINKERD} | ({ZTUNNEL} if annotations.get(REDIRECTION) == "enabled" else set())

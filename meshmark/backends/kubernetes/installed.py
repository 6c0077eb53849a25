"""Kinds that a cluster has once somebody installed what they are of: asked for before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import GATEWAY, KOPERATOR, MONITORING, STRIMZI, Kind, kind_of
from meshmark.backends.kubernetes.manifest import DATA_PLANE, Manifest
from meshmark.errors import ObjectRefused

ISTIO = "Istio, 1.22 or newer, brings them (`istioctl install`, or its Helm charts)."
BRINGS = {
    "networking.istio.io": ISTIO,
    "security.istio.io": ISTIO,
    MONITORING: "The Prometheus Operator brings them (as in kube-prometheus-stack); or leave out --monitors.",
    GATEWAY.group: "The standard channel of the Gateway API brings them.",
    STRIMZI: "Strimzi's operator, 1.2 or newer, brings them (its Helm chart, with watchAnyNamespace=true).",
    KOPERATOR: "Koperator, 0.28 or newer, brings them (the chart of adobe/koperator).",
}
"""API group -> how a cluster gets it."""
LINKERD = "policy.linkerd.io"
"""Linkerd's own API group. No object that is applied is of it."""


def require(api: Api, manifests: Sequence[Manifest], namespace: str) -> None:
    """Raises ObjectRefused with all kinds that the cluster does not have, and what brings them; and where the objects
    are for Linkerd, and it is not there."""
    if manifests[0].body["metadata"]["labels"][DATA_PLANE].startswith("linkerd") and LINKERD not in api.served():
        raise ObjectRefused(
            f"the cluster of the context {api.context} has no Linkerd: no API group {LINKERD}",
            hint="Nothing was changed. `linkerd install` brings it.",
        )
    kinds = dict.fromkeys(kind_of(made.body) for made in manifests)
    absent = [kind for kind in kinds if kind.group in BRINGS and not api.knows(kind, namespace)]
    if absent:
        raise ObjectRefused(
            f"the cluster of the context {api.context} has no kind {', '.join(map(_named, absent))}",
            hint="Nothing was changed. " + " ".join(dict.fromkeys(BRINGS[kind.group] for kind in absent)),
        )


def _named(kind: Kind) -> str:
    return f"{kind.name} ({kind.group})"

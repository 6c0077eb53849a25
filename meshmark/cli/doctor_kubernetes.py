"""`meshmark doctor --backend kubernetes`: is there in the cluster what a plan needs, and if not, how it gets there.

Installing a mesh or an operator takes rights over the whole cluster, which meshmark never asks for: it prints the
commands for the tools that are on PATH, for whoever has them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from meshmark.cli.doctor import Check

if TYPE_CHECKING:
    from meshmark.backends.kubernetes.survey import Found, Survey
    from meshmark.plan import Plan

OLDEST_MINOR = 27
"""Of Kubernetes 1: pods are numbered from 1, and volumes go with their StatefulSet."""
HELM = "helm --kube-context CTX upgrade --install"
HELM_ISTIO = f"{HELM} -n istio-system --create-namespace"
HELM_STRIMZI = f"{HELM} strimzi strimzi/strimzi-kafka-operator"

Ways = dict[str, tuple[str, ...]]
WAYS: dict[str, Ways] = {
    "Istio": {
        "istioctl": ("istioctl --context CTX install",),
        "helm": (f"{HELM_ISTIO} istio-base istio/base", f"{HELM_ISTIO} istiod istio/istiod"),
    },
    "ambient mode": {
        "istioctl": ("istioctl --context CTX install --set profile=ambient",),
        "helm": tuple(
            f"{HELM_ISTIO} {name} istio/{chart} --set profile=ambient"
            for name, chart in (
                ("istio-base", "base"),
                ("istiod", "istiod"),
                ("istio-cni", "cni"),
                ("ztunnel", "ztunnel"),
            )
        ),
    },
    "Linkerd": {
        "linkerd": (
            "linkerd --context CTX install --crds | kubectl --context CTX apply -f -",
            "linkerd --context CTX install | kubectl --context CTX apply -f -",
        )
    },
    "Strimzi": {"helm": (f"{HELM_STRIMZI} -n strimzi --create-namespace --set watchAnyNamespace=true",)},
}
"""Part -> tool -> commands, the first tool first. CTX is the context; helm knows the projects' charts as
`istio` and `strimzi`."""
ELSEWHERE = {
    "waypoints": "The Gateway API's standard channel brings these kinds; ambient-waypoint alone needs them.",
    "Koperator": "The chart of adobe/koperator brings it, 0.28 or newer.",
    "Prometheus Operator": "As in kube-prometheus-stack; --monitors alone needs it.",
}

Which = Callable[[str], str | None]


def checks_of(plan: Plan, *, contexts: Sequence[str], namespace: str | None) -> list[Check]:
    """Of the clusters of contexts that are named, or of one that is confirmed, for all scenarios of the plan. Rights
    are asked for in that namespace, or in the first scenario's."""
    from meshmark.backends.kubernetes.asked import default_namespace, refuse_namespace
    from meshmark.backends.kubernetes.survey import survey
    from meshmark.cli.contexts import whatever

    place = default_namespace(plan.scenarios[0]) if namespace is None else namespace
    refuse_namespace(place)
    apis = whatever(contexts)
    return [
        check if len(apis) == 1 else replace(check, name=f"{api.context}: {check.name}")
        for api in apis
        for check in checks(survey(api, place), plan, api.context)
    ]


def checks(found: Survey, plan: Plan, context: str, which: Which = shutil.which) -> list[Check]:
    """In the order in which they are shown."""
    return [_version(found), _rights(found), *(_part(part, plan, context, which) for part in found.parts)]


def _version(found: Survey) -> Check:
    number = re.match(r"v1\.(\d+)", found.version)
    fine = number is not None and int(number[1]) >= OLDEST_MINOR
    return Check(
        group="cluster",
        name="Kubernetes",
        needed=True,
        status="ok" if fine else "missing",
        found=found.version,
        hint=f"It has to be 1.{OLDEST_MINOR} or newer.",
    )


def _rights(found: Survey) -> Check:
    lacking = len(found.lacking)
    said = f"{lacking} of them are missing in the namespace {found.namespace}: {', '.join(found.lacking)}"
    return Check(
        group="cluster",
        name="rights of run",
        needed=True,
        status="missing" if lacking else "ok",
        found=said if lacking else f"all are there, in the namespace {found.namespace}",
        hint="meshmark/resources/kubernetes/rights.yaml has them; whoever runs the cluster binds it.",
    )


def _part(found: Found, plan: Plan, context: str, which: Which) -> Check:
    name = found.part.name
    needed = name == "Istio" and any(scenario.data_plane.sidecars for scenario in plan.scenarios)
    dead = [program for program, pods in found.pods.items() if pods is not None and not pods[0]]
    hidden = [program for program, pods in found.pods.items() if pods is None]
    lacking = bool(found.absent or dead)
    said = list(_said(found))
    if not lacking and hidden:
        said.append(f"whether {' and '.join(hidden)} runs, this user may not see")
    return Check(
        group=found.part.group,
        name=name,
        needed=needed,
        status=("missing" if needed else "warning") if lacking else "warning" if hidden else "ok",
        found="; ".join(said),
        hint=_way(name, context, which) if lacking else "Listing pods in all namespaces would tell.",
    )


def _said(found: Found) -> Iterator[str]:
    if found.absent:
        yield f"not installed: no {', '.join(found.absent)}"
        return
    for program, pods in found.pods.items():
        if pods is not None:
            yield f"{program}: {pods[0]} of {pods[1]} pods ready" if pods[1] else f"{program} does not run"
    if not found.pods:
        yield "its kinds are there"


def _way(name: str, context: str, which: Which) -> str:
    ways = WAYS.get(name, {})
    tool = next((each for each in ways if which(each)), None)
    if tool is not None:
        return "Install it: " + "; ".join(_of(ways[tool], context))
    if ways:
        first, commands = next(iter(ways.items()))
        return f"{' or '.join(ways)} installs it; none is on PATH. With {first}: " + "; ".join(_of(commands, context))
    return ELSEWHERE[name]


def _of(commands: Sequence[str], context: str) -> Iterator[str]:
    return (command.replace("CTX", context) for command in commands)

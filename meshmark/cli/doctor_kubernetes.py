"""`meshmark doctor --backend kubernetes`: is there in the cluster what a plan needs, and if not, how it gets there.

Installing a mesh or an operator takes rights over the whole cluster, so it is never done by the way: the commands for
the tools that are on PATH are told, for whoever has them; of a mesh, `meshmark install` runs them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from meshmark.cli.doctor import Check

if TYPE_CHECKING:
    from meshmark.backends.kubernetes.install import Which
    from meshmark.backends.kubernetes.survey import Found, Survey
    from meshmark.data_plane import DataPlane
    from meshmark.plan import Plan

OLDEST_MINOR = 27
"""Of Kubernetes 1: pods are numbered from 1, and volumes go with their StatefulSet."""
ELSEWHERE = {
    "waypoints": "The Gateway API's standard channel brings these kinds; ambient-waypoint alone needs them.",
    "Koperator": "The chart of adobe/koperator brings it, 0.28 or newer.",
    "Prometheus Operator": "As in kube-prometheus-stack; --monitors alone needs it.",
}


def checks_of(plan: Plan, *, contexts: Sequence[str], namespace: str | None) -> list[Check]:
    """Of the clusters of contexts that are named, or of one that is confirmed, for all scenarios of the plan. Rights
    are asked for in that namespace, or in the first scenario's."""
    from meshmark.backends.kubernetes import rights
    from meshmark.backends.kubernetes.asked import default_namespace, refuse_namespace
    from meshmark.backends.kubernetes.survey import survey
    from meshmark.cli.contexts import whatever

    place = default_namespace(plan.scenarios[0]) if namespace is None else namespace
    refuse_namespace(place)
    apis = whatever(contexts)
    more = tuple({right: None for scenario in plan.scenarios for right in rights.of(scenario.data_plane)})
    return [
        check if len(apis) == 1 else replace(check, name=f"{api.context}: {check.name}")
        for api in apis
        for check in checks(survey(api, place, more), plan, api.context)
    ]


def checks(found: Survey, plan: Plan, context: str, which: Which = shutil.which) -> list[Check]:
    """In the order in which they are shown."""
    return [_version(found), _rights(found), *(_part(part, plan, context, which) for part in found.parts)]


def _needs(plane: DataPlane) -> Iterator[str]:
    """Names of parts."""
    from meshmark.backends.kubernetes.meshes import has_waypoint
    from meshmark.backends.kubernetes.survey import AMBIENT, ISTIO, LINKERD, WAYPOINTS

    if plane.mesh in ("istio", "ambient"):
        yield ISTIO.name
    if plane.mesh == "ambient":
        yield AMBIENT.name
    if plane.mesh == "linkerd":
        yield LINKERD.name
    if has_waypoint(plane):
        yield WAYPOINTS.name


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
    needed = name in {part for scenario in plan.scenarios for part in _needs(scenario.data_plane)}
    hidden = [program for program, pods in found.pods.items() if pods is None]
    lacking, said = not found.there, list(found.said)
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


def _way(name: str, context: str, which: Which) -> str:
    from meshmark.backends.kubernetes.install import WAYS, text, way
    from meshmark.backends.kubernetes.survey import MESHES, PARTS

    part = next(each for each in PARTS if each.name == name)
    if part.name not in WAYS:
        return ELSEWHERE[name]
    found = way(part, which)
    chosen = found or WAYS[name][0]
    commands = "; ".join(map(text, chosen.of(context)))
    if found is None:
        tools = " or ".join(each.tools[0] for each in WAYS[name])
        return f"{tools} installs it; none is on PATH. With {chosen.tools[0]}: {commands}"
    mesh = next((key for key, each in MESHES.items() if each is part), None)
    ours = f"`meshmark install {mesh} --context {context}` runs: " if mesh else ""
    return f"Install it: {ours}{commands}"

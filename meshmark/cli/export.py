"""`meshmark export`: a scenario as manifests for Kubernetes. It talks to no cluster."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.options import KAFKA, Kafka
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.backends.kubernetes import Target
    from meshmark.plan import Plan, Scenario

EXAMPLES = (
    "\b\nExamples:\n  meshmark export --only istio-mtls -d manifests\n"
    "  meshmark export -f my.yaml --only big -d manifests --storage-class fast --volume-size 500Gi\n"
    "  kubectl apply -k manifests"
)
SIZE = re.compile(r"(?P<number>[1-9]\d{0,8})(?P<unit>Mi|Gi)")


def export(
    directory: Annotated[Path, typer.Option("-d", "--directory", metavar="DIR", help="Where the files go.")],
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="PLAN", help="Take the scenario from it.")
    ] = DEFAULT_PLAN,
    only: Annotated[
        str | None, typer.Option("--only", metavar="SCENARIO", help="The scenario; needed if the plan has several.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", metavar="NAME", help="Default: meshmark-SCENARIO.")
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", metavar="N", min=1, help="Of each broker, the sidecar's apart; default: 4."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Of each broker; default: 12Gi.")
    ] = None,
    heap: Annotated[
        str | None,
        typer.Option("--heap", metavar="SIZE", help="Of each broker; default: the plan's if it says one, else 10Gi."),
    ] = None,
    volume_size: Annotated[
        str | None,
        typer.Option("--volume-size", metavar="SIZE", help="Of each broker; default: room for the plan's logs."),
    ] = None,
    storage_class: Annotated[
        str, typer.Option("--storage-class", metavar="NAME", help="Of the volumes; default: the cluster's default.")
    ] = "",
    image: Annotated[
        str | None, typer.Option("--image", metavar="IMAGE", help="Default: Apache's own, of the lock's version.")
    ] = None,
    kafka: Kafka = KAFKA,
) -> None:
    """Write a scenario as plain manifests with a kustomization, to apply them yourself (docs/how-to/kubernetes.md)."""
    from meshmark.backends import kubernetes
    from meshmark.kafka import distribution

    plan = find(file)
    scenario = _scenario(plan, only)
    kubernetes.refuse_inexpressible(plan, scenario)
    target = kubernetes.target(
        plan,
        scenario,
        kafka_version=distribution.kafka_version(kafka),
        namespace=namespace,
        image=image,
        cpus=cpus,
        memory_bytes=_bytes("--memory", memory),
        heap_bytes=_bytes("--heap", heap),
        volume_bytes=_bytes("--volume-size", volume_size),
        storage_class=storage_class,
    )
    files = kubernetes.texts(kubernetes.manifests(plan, scenario, target))
    kubernetes.write(directory, files)
    emit("\n".join(str(directory / name) for name in files))
    for text in _remarks(scenario, target):
        note(text)


def _scenario(plan: Plan, only: str | None) -> Scenario:
    from meshmark.errors import UsageError
    from meshmark.planfile import select

    names = [scenario.name for scenario in plan.scenarios]
    if only is not None:
        select(plan, [only])  # refuses one that there is not, and says what there is
        names = fnmatch.filter(names, only)  # without the baselines that go along there
    if len(names) > 1:
        raise UsageError("one scenario is exported at a time", hint=f"give one with --only: {', '.join(names)}")
    return plan.scenario(names[0])


def _bytes(option: str, text: str | None) -> int | None:
    from meshmark.backends.kubernetes.asked import GIB, MIB
    from meshmark.errors import UsageError

    if text is None:
        return None
    match = SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text} is not allowed", hint="it takes a size like 512Mi or 12Gi")
    return int(match["number"]) * (GIB if match["unit"] == "Gi" else MIB)


def _remarks(scenario: Scenario, target: Target) -> list[str]:
    """What has to be there before they are applied, and what they are not."""
    from meshmark.backends.kubernetes.manifest import TLS_SECRET
    from meshmark.plan import DataPlane

    found = [
        "export talks to no cluster: nothing was applied or checked against one",
        "needed: a cluster of Kubernetes 1.27 or newer",
    ]
    if scenario.data_plane.sidecars:
        found.append("needed in the cluster: Istio 1.22 or newer, injecting by the label istio-injection")
    if scenario.data_plane is DataPlane.KAFKA_TLS:
        found.append(
            f"needed in the namespace {target.namespace}: the Secret {TLS_SECRET} with key and certificates; "
            "docs/how-to/kubernetes.md says how to make it"
        )
    return found

"""What `up`, `status`, `exec`, `down` and `diff` do in Kubernetes, and how a scenario is asked for there."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import typer

from meshmark.cli.contexts import ONE, connected, whatever
from meshmark.cli.options import KAFKA
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.backends.kubernetes import Manifest, Target
    from meshmark.backends.kubernetes.api import Api
    from meshmark.backends.kubernetes.backend import KubernetesBackend
    from meshmark.backends.kubernetes.lifecycle import Site
    from meshmark.backends.kubernetes.state import State
    from meshmark.plan import Plan, Scenario

    Seen = tuple[State | None, tuple[str, ...]]
    """What is there, and the cluster's warnings."""

DryRun = Literal["none", "client", "server"]
TIMEOUT_S = 600
SHARED = "brokers may share nodes and reserve next to no CPU: figures from there say how they disturb each other"
OPEN_REPLICATION = (
    "port 9091, past the mesh, is open to the whole cluster: who reaches it reaches Kafka in the clear, without an "
    "identity; a NetworkPolicy is yours to add"
)
UNVERIFIED = "unverified"
"""In place of the file of `--kubelet-ca`."""
SIZE = re.compile(r"(?P<number>[1-9]\d{0,8})(?P<unit>Mi|Gi)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Options that tell which scenario, where, and how large. None: as by default."""

    file: str | None = None
    only: str | None = None
    namespace: str | None = None
    cpus: int | None = None
    memory: str | None = None
    heap: str | None = None
    volume_size: str | None = None
    storage_class: str | None = None
    share_nodes: bool | None = None
    image: str | None = None
    monitors: bool | None = None
    monitor_label: list[str] | None = None
    provider: str | None = None
    replication_in_mesh: bool | None = None
    client_image: str | None = None
    client_nodes: str | None = None
    kubelet: bool | None = None
    kubelet_ca: str | None = None
    prometheus: str | None = None
    kafka: str = KAFKA

    def given(self) -> list[str]:
        """Options of Kubernetes alone that were."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in dataclasses.fields(self)
            if field.name not in ("file", "only", "kafka") and getattr(self, field.name) is not None
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a plan is run: a backend's name, and what Kubernetes alone is told."""

    backend: str
    within: Asked
    contexts: tuple[str, ...] = ()
    timeout_s: int | None = None
    evicts: bool = False
    """Are pods to be evicted?"""

    @classmethod
    def of(cls, command: typer.Context, backend: str) -> Place:
        """Of `run`'s options. Raises UsageError where they are Kubernetes' and the backend is another."""
        from meshmark.errors import UsageError

        given = command.params
        names = ({field.name for field in dataclasses.fields(Asked)} & given.keys()) - {"only"}
        place = cls(
            backend=backend,
            within=Asked(**{name: given[name] for name in names}),
            contexts=tuple(given["cluster"] or ()),
            timeout_s=given["timeout"],
        )
        others = {"--context": place.contexts, "--timeout": place.timeout_s}
        said = [*(name for name, value in others.items() if value), *place.within.given()]
        if backend == "kubernetes":
            said = ["--offline"] if given["offline"] else []
        if said:
            raise UsageError(
                f"{', '.join(said)} {'says' if len(said) == 1 else 'say'} nothing to the backend {backend}",
                hint="leave it out, or give --backend " + ("lab" if backend == "kubernetes" else "kubernetes"),
            )
        return place


def resolved(asked: Asked) -> tuple[Scenario, Target, dict[str, tuple[Manifest, ...]]]:
    """The scenario, its place and size, and its objects: by cluster of its topology, or of one without a name. Raises
    UsageError with all that cannot be meant."""
    from meshmark.backends import kubernetes
    from meshmark.planfile import provided

    plan = find(asked.file or DEFAULT_PLAN)
    plan = plan.model_copy(update={"scenarios": (one_scenario(plan, asked.only),)})
    plan = provided(plan, asked.provider, replication_in_mesh=bool(asked.replication_in_mesh))
    [scenario] = plan.scenarios
    kubernetes.refuse_inexpressible(plan, scenario)
    target = target_of(asked, plan, scenario)
    made = {each.cluster: kubernetes.manifests(plan, scenario, each) for each in kubernetes.targets(scenario, target)}
    return scenario, target, made


def target_of(asked: Asked, plan: Plan, scenario: Scenario) -> Target:
    """Where a scenario goes, and how large its brokers are. Raises UsageError with all that cannot be meant."""
    from meshmark.backends import kubernetes
    from meshmark.errors import UsageError
    from meshmark.kafka import distribution

    if scenario.cluster.operator and asked.image:
        raise UsageError("--image is of --provider statefulset", hint="An operator brings its own.")
    return kubernetes.target(
        plan,
        scenario,
        kafka_version=distribution.kafka_version(asked.kafka),
        namespace=asked.namespace,
        image=asked.image,
        cpus=asked.cpus,
        memory_bytes=_bytes("--memory", asked.memory),
        heap_bytes=_bytes("--heap", asked.heap),
        volume_bytes=_bytes("--volume-size", asked.volume_size),
        storage_class=asked.storage_class or "",
        share_nodes=bool(asked.share_nodes),
        monitors=_monitors(asked),
    )


def up(asked: Asked, *, contexts: Sequence[str], dry_run: str, timeout_s: int | None, force: bool) -> None:
    """Applies and waits, or tells what it would apply."""
    from meshmark.errors import UsageError

    if dry_run not in get_args(DryRun):
        raise UsageError(f"--dry-run {dry_run} is not allowed", hint=f"it takes {', '.join(get_args(DryRun))}")
    scenario, target, made = resolved(asked)
    if target.share_nodes:
        note(SHARED)
    if scenario.data_plane.own_replication:
        note(OPEN_REPLICATION)
    if scenario.cluster.operator == "strimzi":
        from meshmark.backends.kubernetes.strimzi import remark

        note(remark(scenario))
    if dry_run == "client":
        _print(scenario, made)
        return
    from meshmark.backends.kubernetes import change, sites
    from meshmark.clock import SystemClock

    places = _sites(scenario, made, contexts)
    if dry_run == "server":
        for each in places:
            _head(each)
            change.apply(each.api, each.wanted, tell=emit, dry_run=True, force=force)
        return
    where = ", ".join(each.api.context for each in places)
    note(f"starting {scenario.name} in the namespace {target.namespace} of {where}")
    states = sites.up(places, tell=note, clock=SystemClock(), timeout_s=timeout_s or TIMEOUT_S, force=force)
    emit("\n\n".join(describe(state, each.api.context) for state, each in zip(states, places, strict=True)))


def diff(asked: Asked, *, contexts: Sequence[str]) -> None:
    """Ends with 1 where anything differs."""
    from meshmark.backends.kubernetes import change

    scenario, _, made = resolved(asked)
    texts = [(each, change.difference(each.api, each.wanted)) for each in _sites(scenario, made, contexts)]
    for each, text in texts:
        if text:
            _head(each)
            emit(text)
    if any(text for _, text in texts):
        raise typer.Exit(1)
    note("nothing differs")


def status(asked: Asked, *, contexts: Sequence[str], output: str) -> None:
    """Ends with 1 where nothing is up, or not all brokers are ready. A cluster that does not answer hides no other."""
    from meshmark.backends.kubernetes import lifecycle, sites
    from meshmark.backends.kubernetes.state import warnings

    namespace, held = place(asked, contexts)
    seen: dict[str, Seen] = {}

    def look(api: Api, labels: Mapping[str, str]) -> None:
        state = lifecycle.status(api, namespace, labels)
        seen[api.context] = state, () if state is None or state.ready else warnings(api, namespace)

    try:
        sites.each(held, look, note)
    finally:
        _show(seen, namespace, output=output, several=len(held) > 1)
    if not all(state and state.ready for state, _ in seen.values()):
        raise typer.Exit(1)


def execute(asked: Asked, *, contexts: Sequence[str], host: str, command: list[str]) -> None:
    """Ends with the command's exit code."""
    from meshmark.backends.kubernetes import lifecycle, sites

    namespace, held = place(asked, contexts)
    api, labels = held[0] if len(held) == 1 else sites.of(held, namespace, host)
    out, err = sys.stdout.buffer, sys.stderr.buffer
    raise typer.Exit(lifecycle.execute(api, namespace, host, command, out, err, labels))


def down(asked: Asked, *, contexts: Sequence[str], timeout_s: int | None) -> None:
    """Returns when all of it is gone. What goes wrong in one cluster keeps nothing up in another."""
    from meshmark.backends.kubernetes import lifecycle, sites
    from meshmark.clock import SystemClock

    namespace, held = place(asked, contexts)

    def end(api: Api, labels: Mapping[str, str]) -> None:
        was_up = lifecycle.down(
            api, namespace, labels, tell=note, clock=SystemClock(), timeout_s=timeout_s or TIMEOUT_S
        )
        of = f" of {api.context}" if len(held) > 1 else ""
        emit(f"the cluster is down{of}" if was_up else f"no cluster was up in the namespace {namespace}{of}")

    sites.each(held, end, note)


def place(asked: Asked, contexts: Sequence[str]) -> tuple[str, list[tuple[Api, dict[str, str]]]]:
    """The namespace that is named, or the scenario's, and in each of the clusters the labels that it has if it holds
    that; none where a namespace alone is named, whatever it holds."""
    from meshmark.backends.kubernetes.asked import default_namespace, refuse_namespace
    from meshmark.backends.kubernetes.manifest import CLUSTER, PLAN, SCENARIO

    if asked.namespace is not None and asked.file is None and asked.only is None:
        refuse_namespace(asked.namespace)
        return asked.namespace, [(api, {}) for api in whatever(contexts)]
    plan = find(asked.file or DEFAULT_PLAN)
    scenario = one_scenario(plan, asked.only)
    namespace = default_namespace(scenario) if asked.namespace is None else asked.namespace
    refuse_namespace(namespace)
    labels = {PLAN: plan.name, SCENARIO: scenario.name}
    apis = connected(contexts, clusters_of(scenario), some=True)
    return namespace, [(api, {**labels, CLUSTER: name} if name else labels) for name, api in apis.items()]


def clusters_of(scenario: Scenario) -> tuple[str, ...]:
    """Of its topology."""
    return tuple(cluster.name for cluster in scenario.cluster.topology.clusters) or ONE


def _sites(scenario: Scenario, made: Mapping[str, tuple[Manifest, ...]], contexts: Sequence[str]) -> list[Site]:
    from meshmark.backends.kubernetes.change import Wanted
    from meshmark.backends.kubernetes.lifecycle import Site

    apis = connected(contexts, tuple(made))
    return [Site(api=apis[name], wanted=Wanted(scenario=scenario, manifests=made[name])) for name in made]


def _head(site: Site) -> None:
    """Of what follows, where there are several."""
    if site.cluster:
        emit(f"# {site.cluster}: {site.api.context}")


def _show(seen: Mapping[str, Seen], namespace: str, *, output: str, several: bool) -> None:
    """By context. As JSON, that of a single one is the document itself."""
    if output == "json":
        found = [
            {
                **({"context": context} if several else {}),
                **({"state": "down"} if state is None else {"state": state_of(state), **dataclasses.asdict(state)}),
                "warnings": told,
            }
            for context, (state, told) in seen.items()
        ]
        emit(json.dumps({"clusters": found} if several else found[0], indent=1) if found else "")
        return
    for context, (state, told) in seen.items():
        of = f" of {context}" if several else ""
        emit(describe(state, context) if state else f"no cluster is up in the namespace {namespace}{of}")
        for text in told:
            note(f"warning: {text}")


def describe(state: State, context: str) -> str:
    """What is there, and how to use it."""
    facts = {
        "state": state_of(state),
        "context": context,
        "namespace": state.namespace,
        "scenario": state.scenario,
        **({"cluster": state.cluster} if state.cluster else {}),
        "data plane": state.data_plane,
        "bootstrap": f"{state.bootstrap_servers}  (from inside the cluster)",
    }
    if state.replication:
        facts["replication"] = f"{state.replication}, by the operator's choice"
    width = max(map(len, facts)) + 1
    lines = [f"{name + ':':{width}} {value}" for name, value in facts.items()]
    rows = [("hosts:", "phase", "ready", "restarts", "node", "zone")]
    rows += [
        (
            f"  {each.name}",
            each.phase,
            "yes" if each.ready else "no",
            str(each.restarts),
            each.node or "-",
            each.zone or "-",
        )
        for each in (*state.brokers, *state.others)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += [" ".join(f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"operator:   {state.operator}"] if state.operator else []
    lines += [f"problem:    {each.name}: {each.problem}" for each in (*state.brokers, *state.others) if each.problem]
    lines += [f"objects:    {', '.join(state.objects) or 'none'}"]
    options = f"--backend kubernetes --context {context} -n {state.namespace}"
    if state.ready:
        lines.append(f"enter one:  meshmark exec {options} {state.brokers[0].name} -- ls /tmp")
    lines.append(f"end it:     meshmark down {options}")
    return "\n".join(lines)


def state_of(state: State) -> str:
    return "up" if state.ready else "not ready"


def _print(scenario: Scenario, made: Mapping[str, tuple[Manifest, ...]]) -> None:
    """As one stream of YAML for each cluster, as `kubectl apply -f -` takes it."""
    from meshmark.backends.kubernetes import yaml_text

    for name, manifests in made.items():
        head = f"# {name}\n" if name else ""
        emit(head + "---\n".join(yaml_text(manifest.body) for manifest in manifests))
    note("no cluster was asked, and nothing was changed")
    if scenario.data_plane.kafka_tls:
        note("`up` makes a Secret with keys and certificates as well, which is not shown")


def one_scenario(plan: Plan, only: str | None) -> Scenario:
    """The one that is named, or the plan's only one."""
    from meshmark.errors import UsageError
    from meshmark.planfile import select

    names = [scenario.name for scenario in plan.scenarios]
    if only is not None:
        select(plan, [only])  # refuses one that there is not, and says what there is
        names = fnmatch.filter(names, only)  # without the baselines that go along there
    if len(names) > 1:
        raise UsageError("it is one scenario at a time", hint=f"give one with --only: {', '.join(names)}")
    return plan.scenario(names[0])


def _monitors(asked: Asked) -> dict[str, str] | None:
    """Their labels; None where none are asked for."""
    from meshmark.errors import UsageError

    labels = dict.fromkeys(asked.monitor_label or ())
    if wrong := [text for text in labels if "=" not in text]:
        raise UsageError(
            f"--monitor-label {wrong[0]} is not allowed", hint="it takes KEY=VALUE, as release=prometheus"
        )
    if labels and not asked.monitors:
        raise UsageError("--monitor-label is of --monitors, which is not given")
    return {key: value for key, _, value in (text.partition("=") for text in labels)} if asked.monitors else None


def _bytes(option: str, text: str | None) -> int | None:
    from meshmark.backends.kubernetes.asked import GIB, MIB
    from meshmark.errors import UsageError

    if text is None:
        return None
    match = SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text} is not allowed", hint="it takes a size like 512Mi or 12Gi")
    return int(match["number"]) * (GIB if match["unit"] == "Gi" else MIB)


def backend(place: Place, plan: Plan) -> KubernetesBackend:
    """To run a plan with. Raises UsageError with what cannot be meant, before the cluster is asked."""
    from meshmark.backends import kubernetes
    from meshmark.backends.kubernetes.backend import KubernetesBackend
    from meshmark.backends.kubernetes.measured import NODES, LoadPods
    from meshmark.backends.kubernetes.metering import Metering
    from meshmark.backends.kubernetes.rights import EVICT
    from meshmark.errors import UsageError

    asked = place.within
    if asked.client_image is None:
        raise UsageError(
            "load runs in pods of an image with meshmark, and none is named",
            hint="--client-image IMAGE; docs/how-to/kubernetes.md has a Dockerfile for it",
        )
    if not re.fullmatch(r"[\w.:/@-]+", asked.client_image):
        raise UsageError(f"{asked.client_image!r} is no name of an image", hint="--client-image takes one")
    if asked.client_nodes is not None and not re.fullmatch(NODES, asked.client_nodes):
        raise UsageError(f"--client-nodes {asked.client_nodes} is not allowed", hint="it takes LABEL=VALUE")
    metering = Metering(
        kubelet=bool(asked.kubelet),
        authority=None if asked.kubelet_ca == UNVERIFIED else asked.kubelet_ca or "",
        prometheus=asked.prometheus or "",
    )
    for scenario in plan.scenarios:
        kubernetes.refuse_inexpressible(plan, scenario)
        target_of(asked, plan, scenario)
    clusters = {scenario.name: clusters_of(scenario) for scenario in plan.scenarios}
    if len(set(clusters.values())) > 1:
        told = "; ".join(f"{name}: {', '.join(of) if any(of) else 'one cluster'}" for name, of in clusters.items())
        raise UsageError(
            f"the scenarios of the plan {plan.name} are in different clusters ({told})",
            hint="A run goes to one set of clusters: take those of the same with --only.",
        )
    if len({scenario.cluster.topology.links for scenario in plan.scenarios}) > 1:
        raise UsageError(
            f"the scenarios of the plan {plan.name} differ in links between the same clusters, and links of clusters "
            "that are there are what they are",
            hint="Take those with the same links with --only, or run the plan in the lab, which makes them.",
        )
    [where] = set(clusters.values())
    metering.refuse_several(len(where))
    if asked.share_nodes:
        note(SHARED)
    load = LoadPods(image=asked.client_image, nodes=asked.client_nodes or "")
    return KubernetesBackend(
        connected(place.contexts, where),
        plan,
        lambda scenario: target_of(asked, plan, scenario),
        load,
        tell=note,
        timeout_s=place.timeout_s or TIMEOUT_S,
        metering=metering,
        more=EVICT if place.evicts else (),
    )
